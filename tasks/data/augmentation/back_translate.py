"""Back-translation: a text put into another language and back by two models, which words it differently.

Sennrich, Haddow and Birch 2016, "Improving neural machine translation models with monolingual data", here as a
paraphrase. Models that need to be told the languages by a token or a prefix are not told; name pairs that translate one
way each, as the Marian models do. Whether a text still has its label is for `keep_label` to say.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.augmentation.augment import (
    Given,
    Made,
    MaxRows,
    Row,
    Share,
    choose_within,
    propose,
)
from tasks.data.augmentation.language_models import LanguageModel, longest_input, open_model, running
from tasks.data.named_models import model_fields
from tasks.data.rows import mend_text
from tasks.progress import report_progress

TOO_LONG = "the text has more tokens than max_tokens"
WORDLESS = "the translation is empty"
RAMBLING = "the translation is far longer than the text"
LOST = "a placeholder was lost in translation"

_MAX_LENGTH_RATIO = 3  # a longer translation, in characters, repeats itself
_TOKEN_SLACK = 8  # tokens that even the shortest text may gain
_LENGTH_SLACK = 40  # characters that even the shortest text may gain
_PLACEHOLDERS = ("<EMAIL>", "<PHONE>", "<IBAN>", "<CARD>", "<IP>", "<URL>")


@dataclass(frozen=True, config={"extra": "forbid"})
class BackTranslate:
    """A copy of a `share` (0 to 1) of the training rows, translated by the model `forward` and back by `backward`.

    Both are sequence-to-sequence models: folders or hub ids. The translation is the best of a search with `beams`
    (1 to 16). Texts of more than `max_tokens` (8 to 1024) are left out; no translation is longer.
    """

    forward: Annotated[str, Field(min_length=1)]
    backward: Annotated[str, Field(min_length=1)]
    kind: Literal["back_translate"] = "back_translate"
    share: Share = 0.3
    beams: Annotated[int, Field(ge=1, le=16)] = 4
    max_tokens: Annotated[int, Field(ge=8, le=1024)] = 128
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    max_rows: MaxRows = None


@model_fields.register(BackTranslate)
def _fields(method: BackTranslate) -> tuple[str, ...]:
    return ("forward", "backward")


class _Translation(NamedTuple):
    """A text on its way, or why it is given up."""

    text: str
    flaw: str = ""


@propose.register(BackTranslate)
def _back_translate(method: BackTranslate, given: Given) -> Made:
    chosen = choose_within(method, given)
    found = [_Translation(row["text"]) for row in chosen]
    for field in ("forward", "backward"):  # one after the other, so that one of them is in memory at a time
        found = _translate(method, field, found)
    left_out: Counter[str] = Counter()
    pairs: list[tuple[Row, str]] = []
    for row, (text, flaw) in zip(chosen, found, strict=True):
        flaw = flaw or _find_flaw(row["text"], text)
        if flaw:
            left_out[flaw] += 1
        else:
            pairs.append((row, text))
    return Made(pairs, left_out)


def _translate(method: BackTranslate, field: str, texts: Sequence[_Translation]) -> list[_Translation]:
    """Return the translations by the model that a field names; what was given up stays so."""
    name, where = getattr(method, field), f"augment.back_translate.{field}"
    if all(entry.flaw for entry in texts):
        return list(texts)
    model = open_model(where, name, "AutoModelForSeq2SeqLM")
    limit = longest_input(model, method.max_tokens)
    done = [entry if entry.flaw else _measure(model, entry.text, limit) for entry in texts]
    todo = sorted((at for at, entry in enumerate(done) if not entry.flaw), key=lambda at: len(done[at].text))
    with running(where, name):
        for start in range(0, len(todo), method.batch_size):
            block = todo[start : start + method.batch_size]  # texts of like length
            for at, new in zip(block, _generate(model, [done[at].text for at in block], limit, method), strict=True):
                done[at] = _Translation(new, "" if new else WORDLESS)
            report_progress(f"augment back_translate {field}", start + len(block), len(todo))
    return done


def _measure(model: LanguageModel, text: str, limit: int) -> _Translation:
    return _Translation(text, TOO_LONG if len(model.tokenizer(text)["input_ids"]) > limit else "")


def _generate(model: LanguageModel, texts: Sequence[str], limit: int, method: BackTranslate) -> list[str]:
    batch = model.tokenizer(list(texts), padding=True, return_tensors="pt")
    inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}  # [batch, tokens]
    longest = min(limit - 1, 2 * inputs["input_ids"].shape[1] + _TOKEN_SLACK)  # the start token is one of `limit`
    made = model.model.generate(**inputs, num_beams=method.beams, do_sample=False, max_new_tokens=longest)
    found = model.tokenizer.batch_decode(made, skip_special_tokens=True)
    return [mend_text(" ".join(text.split())) for text in found]


def _find_flaw(before: str, after: str) -> str:
    """Return why a translation is not used; empty where it is."""
    if len(after) > _MAX_LENGTH_RATIO * len(before) + _LENGTH_SLACK:
        return RAMBLING
    return LOST if any(before.count(mark) != after.count(mark) for mark in _PLACEHOLDERS) else ""
