"""Names of people in texts, found by a token-classification model that the user names and replaced by `<NAME>`.

Any such model with safetensors and a fast tokenizer does; its quality is the model's own. Nothing is loaded or asked
for unless a recipe says so, and what is told by form (`scrub`) is replaced before.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ModelError

if TYPE_CHECKING:
    from transformers import BatchEncoding

Span = tuple[int, int]  # first character, one past the last

NAME = "<NAME>"
BATCH_TEXTS = 32
WINDOW_TOKENS = 512
OVERLAP_TOKENS = 32  # a name at a window's edge is whole in the next one

_PLACEHOLDER = re.compile(r"<[A-Z]+>")
_PREFIX = re.compile(r"^[BIELSU]-")
_WITHIN_A_NAME = re.compile(r"[ .'\u2019-]{0,2}")
_ADVICE = (
    "give a folder with config.json, model.safetensors and tokenizer.json, or a hub id that this machine can reach"
)


@dataclass(frozen=True)
class Recogniser:
    """A loaded model, its tokenizer, and which of its labels mean a person."""

    model: Any
    tokenizer: Any
    person: tuple[int, ...]
    window: int  # tokens


def replace_names(texts: Sequence[str], name: str, labels: Sequence[str], min_score: float) -> list[str]:
    """Return the texts with the names of people that the model `name` finds replaced by `<NAME>`.

    A word is one where the model gives its pieces on average at least the probability `min_score` (0 to 1) of the
    labels, whatever their prefix (`B-PER`, `I-PER`); words beside each other are one name.

    Raises:
        ModelError: the model cannot be loaded, or recognises no people.
    """
    recogniser = load_recogniser(name, labels)
    distinct = sorted(set(texts), key=lambda text: (len(text), text))  # alike in length, and in the same order always
    new: dict[str, str] = {}
    for start in range(0, len(distinct), BATCH_TEXTS):
        batch = distinct[start : start + BATCH_TEXTS]
        for text, spans in zip(batch, find_names(recogniser, batch, min_score), strict=True):
            new[text] = _replace(text, spans)
    return [new[text] for text in texts]


def load_recogniser(name: str, labels: Sequence[str]) -> Recogniser:
    """Return the model with the labels that mean a person.

    Raises:
        ModelError: there is no such folder, it holds no safetensors, fast tokenizer or token classifier, or none of its
            labels is one of `labels`.
    """
    _check_folder(name)
    tokenizer, model = _load(name)
    known = {int(number): str(label) for number, label in model.config.id2label.items()}
    wanted = {label.upper() for label in labels}
    person = tuple(number for number, label in known.items() if _PREFIX.sub("", label.upper()) in wanted)
    if not person:
        raise ModelError(
            f"scrub.names: {name!r} has none of the labels {', '.join(labels)} of a person, but "
            f"{', '.join(known.values())}; name its own in name_labels"
        )
    longest = int(getattr(model.config, "max_position_embeddings", WINDOW_TOKENS))
    return Recogniser(model, tokenizer, person, min(WINDOW_TOKENS, longest, int(tokenizer.model_max_length)))


def find_names(recogniser: Recogniser, texts: Sequence[str], min_score: float) -> list[list[Span]]:
    """Return where names of people stand in each text; one longer than the model reads goes through it in windows."""
    encoded = recogniser.tokenizer(
        list(texts), truncation=True, max_length=recogniser.window, padding=True, return_tensors="pt",
        stride=min(OVERLAP_TOKENS, recogniser.window // 4), return_overflowing_tokens=True,
        return_offsets_mapping=True, return_special_tokens_mask=True,
    )  # fmt: skip
    sources = encoded.pop("overflow_to_sample_mapping").tolist()
    scores = _score(recogniser, encoded)
    pieces: list[dict[tuple[int, Span], float]] = [{} for _ in texts]  # of each text: word and place of a piece, score
    for window, source in enumerate(sources):
        offsets = encoded["offset_mapping"][window].tolist()
        for word, (first, last), score in zip(encoded.word_ids(window), offsets, scores[window], strict=True):
            if word is not None and any(map(str.isalnum, texts[source][first:last])):
                key = word, (first, last)
                pieces[source][key] = max(score, pieces[source].get(key, 0.0))
    return [list(_join(text, _words(found), min_score)) for text, found in zip(texts, pieces, strict=True)]


def _score(recogniser: Recogniser, encoded: "BatchEncoding") -> list[list[float]]:
    """Return the probability that each token of each window belongs to a person's name."""
    import torch

    inputs = {key: encoded[key] for key in recogniser.tokenizer.model_input_names if key in encoded}
    found: list[list[float]] = []
    with torch.inference_mode():
        for start in range(0, len(encoded["input_ids"]), BATCH_TEXTS):
            part = {key: tensor[start : start + BATCH_TEXTS] for key, tensor in inputs.items()}
            logits = recogniser.model(**part).logits.float()  # windows x tokens x labels
            found += logits.softmax(-1)[..., list(recogniser.person)].sum(-1).tolist()
    return found


def _words(pieces: dict[tuple[int, Span], float]) -> list[tuple[Span, float]]:
    """Return where each word stands, in order, and the mean score of its pieces."""
    words: dict[int, list[tuple[Span, float]]] = defaultdict(list)
    for (word, span), score in pieces.items():
        words[word].append((span, score))
    return sorted(
        (
            (min(span[0] for span, _ in group), max(span[1] for span, _ in group)),
            sum(score for _, score in group) / len(group),
        )
        for group in words.values()
    )


def _join(text: str, words: Iterable[tuple[Span, float]], min_score: float) -> Iterator[Span]:
    """Yield where names stand: words that score enough, joined to those beside them, placeholders left alone."""
    taken = [match.span() for match in _PLACEHOLDER.finditer(text)]
    first = last = -1
    for (start, end), score in words:
        if score < min_score or any(start < stop and begin < end for begin, stop in taken):
            continue
        if last >= 0 and _WITHIN_A_NAME.fullmatch(text, last, max(last, start)):
            last = end
            continue
        if last >= 0:
            yield first, last
        first, last = start, end
    if last >= 0:
        yield first, last


def _replace(text: str, spans: Iterable[Span]) -> str:
    done, at = [], 0
    for first, last in spans:
        lead = len(text[first:last]) - len(text[first:last].lstrip())  # some tokenizers count the space before
        done += [text[at : first + lead], NAME]
        at = last
    return "".join(done) + text[at:]


def _check_folder(name: str) -> None:
    folder = Path(name).expanduser()
    if folder.is_dir():
        files = [path.name for path in folder.iterdir()]
        if not any(file.endswith(".safetensors") for file in files):
            found = "only pickled weights" if any(file.endswith((".bin", ".pt")) for file in files) else "no weights"
            raise ModelError(f"scrub.names: {name} holds {found}, which are never loaded; save it as safetensors")
    elif name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(f"scrub.names: there is no folder {name}; {_ADVICE}")


def _load(name: str) -> tuple[Any, Any]:
    """Return the tokenizer and the model, ready to predict."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    place = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    try:
        kinds = [str(kind) for kind in AutoConfig.from_pretrained(place).architectures or ["a bare encoder"]]
        if not any(kind.endswith("ForTokenClassification") for kind in kinds):
            raise ModelError(f"scrub.names: {name!r} is {', '.join(kinds)}, no token classifier; name a model for NER")
        tokenizer = AutoTokenizer.from_pretrained(place)
        model, loading = AutoModelForTokenClassification.from_pretrained(
            place, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"scrub.names: cannot load {name!r} ({first_line}); {_ADVICE}") from error
    if loading["missing_keys"]:
        raise ModelError(
            f"scrub.names: {name!r} lacks the weights {', '.join(sorted(loading['missing_keys'])[:3])}; save it whole"
        )
    if not tokenizer.is_fast or len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ModelError(f"scrub.names: {name!r} has no fast tokenizer; put tokenizer.json beside its config")
    return tokenizer, model.eval()
