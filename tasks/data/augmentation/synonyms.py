"""Synonyms from a model's own embedding space: a word replaced by one whose input embedding is near.

Nearness is cosine similarity in the encoder's table of word-piece embeddings, so a word that is no single piece stays.
Near words are used alike, which synonyms are and opposites too ("early", "late"): whether a text still has its label is
for `keep_label` to say. It knows stop-words of English only.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.augmentation.augment import (
    Given,
    Made,
    MaxRows,
    Row,
    Share,
    chance,
    choose_within,
    propose,
)
from tasks.data.augmentation.language_models import open_model
from tasks.data.augmentation.vocabulary import find_words, may_replace, whole_words, with_case_of
from tasks.data.named_models import model_fields
from tasks.progress import report_progress

if TYPE_CHECKING:
    import numpy as np

NO_NEIGHBOUR = "no word has a neighbour that is near enough"

_NEIGHBOURS = 5  # of the nearest, among which one is drawn
_LOOKED_AT = 40  # of the nearest: most of the first ones are forms of the word itself
_BLOCK = 512  # words compared with the whole vocabulary at a time


@dataclass(frozen=True, config={"extra": "forbid"})
class Synonyms:
    """A copy of a `share` (0 to 1) of the training rows with up to `per_text` (1 to 20) words replaced by near ones.

    `base` is the encoder in whose embeddings words are compared: `minilm`, a folder or a hub id. Words are near from a
    cosine similarity of `min_similarity` (0 to 1) on.
    """

    kind: Literal["synonyms"] = "synonyms"
    share: Share = 0.3
    per_text: Annotated[int, Field(ge=1, le=20)] = 1
    min_similarity: Annotated[float, Field(gt=0, le=1)] = 0.45
    base: Annotated[str, Field(min_length=1)] = "minilm"
    max_rows: MaxRows = None


@model_fields.register(Synonyms)
def _fields(method: Synonyms) -> tuple[str, ...]:
    return ("base",)


@propose.register(Synonyms)
def _synonyms(method: Synonyms, given: Given) -> Made:
    chosen = choose_within(method, given)
    if not chosen:
        return Made()
    encoder = open_model("augment.synonyms.base", method.base, "AutoModel")
    table = encoder.model.get_input_embeddings().weight.detach().cpu().float().numpy()  # [vocabulary, hidden]
    words = whole_words(encoder.tokenizer.get_vocab(), encoder.tokenizer.all_special_tokens)
    words = {word: index for word, index in words.items() if index < len(table)}
    spans = [find_words(row["text"]) for row in chosen]
    used = {row["text"][start:end] for row, found in zip(chosen, spans, strict=True) for start, end in found}
    near = near_words(used, words, table, method.min_similarity)
    pairs = [
        (row, _replace(method, given, row, [span for span in found if near.get(row["text"][slice(*span)])], near))
        for row, found in zip(chosen, spans, strict=True)
    ]
    made = [(row, text) for row, text in pairs if text != row["text"]]
    left = len(pairs) - len(made)
    return Made(made, {NO_NEIGHBOUR: left} if left else {})


def _replace(
    method: Synonyms, given: Given, row: Row, spans: Sequence[tuple[int, int]], near: Mapping[str, Sequence[str]]
) -> str:
    rng, text = chance(given, row), row["text"]
    drawn = rng.sample(spans, min(method.per_text, len(spans)))
    for start, end in sorted(drawn, reverse=True):
        text = text[:start] + rng.choice(near[text[start:end]]) + text[end:]
    return text


def near_words(
    used: set[str], words: Mapping[str, int], table: "np.ndarray", min_similarity: float
) -> dict[str, list[str]]:
    """Return for each of the used words its nearest ones, at most five, the nearest first.

    Args:
        used: as they stand in texts. One that the vocabulary has in lower case only is looked up so, and its
            neighbours take its case.
        words: the index in the table of each word that may be looked up or proposed.
        table: embeddings, [vocabulary, hidden].
    """
    import numpy as np

    known = sorted(words)
    places = {word: place for place, word in enumerate(known)}
    units = table[[words[word] for word in known]]  # [words, hidden]
    units = units / np.linalg.norm(units, axis=1, keepdims=True).clip(min=1e-12)
    asked = sorted({key for word in used for key in [word if word in places else word.lower()] if key in places})
    found: dict[str, list[str]] = {}
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        similar = units[[places[word] for word in block]] @ units.T  # [block, words]
        nearest = np.argpartition(-similar, min(_LOOKED_AT, len(known) - 1), axis=1)[:, : _LOOKED_AT + 1]
        for word, row, candidates in zip(block, similar, nearest, strict=True):
            ranked = sorted((at for at in candidates if row[at] >= min_similarity), key=lambda at: (-row[at], at))
            found[word] = [known[at] for at in ranked if may_replace(word, known[at])][:_NEIGHBOURS]
        report_progress("augment synonyms", start + len(block), len(asked))
    return {
        word: found[word] if word in found else [with_case_of(word, other) for other in found[word.lower()]]
        for word in used
        if word in found or word.lower() in found
    }
