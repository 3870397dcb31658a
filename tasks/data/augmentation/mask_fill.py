"""Substitution by a masked language model: a word hidden, and one of those put there that the model finds likely.

Wu et al. 2019, "Conditional BERT contextual augmentation", without the condition on the label: whether a text still has
its label is for `keep_label` to say. The embedded MiniLM cannot do it: it has no head that predicts words.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

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
from tasks.data.augmentation.language_models import LanguageModel, longest_input, open_model, running
from tasks.data.augmentation.vocabulary import find_words, same_lemma, whole_words, with_case_of
from tasks.data.named_models import model_fields
from tasks.errors import ModelError
from tasks.progress import report_progress

if TYPE_CHECKING:
    import torch

FIELD = "augment.mask_fill.model"
NO_WORD = "no word can be hidden"
NO_OTHER = "the model proposes no other word"

_MAX_TOKENS = 256
_LOOKED_AT = 8  # times `top_k`: many proposals are pieces, stop-words or forms of the word itself


@dataclass(frozen=True, config={"extra": "forbid"})
class MaskFill:
    """Up to `per_text` (1 to 10) copies each of a `share` (0 to 1) of the training rows, one word replaced in each.

    The new word is drawn among the `top_k` (1 to 100) likeliest that `model` proposes, a masked language model: a
    folder or a hub id. `batch_size` (1 to 1024) texts are asked about at a time.
    """

    model: Annotated[str, Field(min_length=1)]
    kind: Literal["mask_fill"] = "mask_fill"
    share: Share = 0.3
    per_text: Annotated[int, Field(ge=1, le=10)] = 1
    top_k: Annotated[int, Field(ge=1, le=100)] = 5
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    max_rows: MaxRows = None


@model_fields.register(MaskFill)
def _fields(method: MaskFill) -> tuple[str, ...]:
    return ("model",)


class _Gap(NamedTuple):
    """A row's text with one word to hide, and a number in [0, 1) that draws the new one."""

    row: Row
    start: int
    end: int
    draw: float


@propose.register(MaskFill)
def _mask_fill(method: MaskFill, given: Given) -> Made:
    chosen = choose_within(method, given, method.per_text)
    gaps = [gap for row in chosen for gap in _hide(method, given, row)]
    wordless = len(chosen) - len({gap.row["id"] for gap in gaps})
    if not gaps:
        return Made(left_out={NO_WORD: wordless} if wordless else {})
    model = open_model(FIELD, method.model, "AutoModelForMaskedLM")
    if model.tokenizer.mask_token is None:
        raise ModelError(f"{FIELD}: the tokenizer of {method.model!r} has no mask token; name a masked language model")
    words = {index: word for word, index in _vocabulary(model).items()}
    texts: dict[int, str] = {}
    order = sorted(range(len(gaps)), key=lambda at: len(gaps[at].row["text"]))  # texts of a batch are of like length
    with running(FIELD, method.model):
        for start in range(0, len(order), method.batch_size):
            block = order[start : start + method.batch_size]
            texts |= zip(block, _fill(model, [gaps[at] for at in block], words, method.top_k), strict=True)
            report_progress("augment mask_fill", start + len(block), len(order))
    pairs = [(gap.row, texts[at]) for at, gap in enumerate(gaps) if texts[at]]
    reasons = {NO_WORD: wordless, NO_OTHER: len(gaps) - len(pairs)}
    return Made(pairs, {reason: count for reason, count in reasons.items() if count})


def _vocabulary(model: LanguageModel) -> dict[str, int]:
    return whole_words(model.tokenizer.get_vocab(), model.tokenizer.all_special_tokens)


def _hide(method: MaskFill, given: Given, row: Row) -> Iterator[_Gap]:
    rng = chance(given, row)
    spans = find_words(row["text"])
    for start, end in rng.sample(spans, min(method.per_text, len(spans))):
        yield _Gap(row, start, end, rng.random())


def _fill(model: LanguageModel, gaps: Sequence[_Gap], words: dict[int, str], top_k: int) -> list[str]:
    """Return the texts with the gaps filled; empty where nothing fits."""
    mask = model.tokenizer.mask_token
    masked = [f"{gap.row['text'][: gap.start]}{mask}{gap.row['text'][gap.end :]}" for gap in gaps]
    limit = longest_input(model, _MAX_TOKENS)
    batch = model.tokenizer(masked, padding=True, truncation=True, max_length=limit, return_tensors="pt")
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    hidden: torch.Tensor = batch["input_ids"] == model.tokenizer.mask_token_id  # [batch, tokens]
    logits: torch.Tensor = model.model(**batch).logits  # [batch, tokens, vocabulary]
    texts = []
    for at, gap in enumerate(gaps):
        if int(hidden[at].sum()) != 1:  # cut off with the end of a long text, or the text itself has a mask token
            texts.append("")
            continue
        scores = logits[at, hidden[at].nonzero()[0, 0]]  # [vocabulary]
        likely = scores.topk(min(_LOOKED_AT * top_k, len(scores))).indices.tolist()
        texts.append(_put(gap, [words[index] for index in likely if index in words], top_k))
    return texts


def _put(gap: _Gap, proposed: Sequence[str], top_k: int) -> str:
    """Return the text with one of the first `top_k` proposals that are no form of the hidden word."""
    text = gap.row["text"]
    word = text[gap.start : gap.end]
    others = [with_case_of(word, other.lower()) for other in proposed if not same_lemma(word, other)][:top_k]
    if not others:
        return ""
    return text[: gap.start] + others[int(gap.draw * len(others))] + text[gap.end :]
