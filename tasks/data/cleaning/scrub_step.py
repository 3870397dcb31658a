"""The cleaning step that replaces personal data in training rows: what `scrub` finds, and names where asked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.effects import Effect, Memory, effect_of, rewrite
from tasks.data.cleaning.names import replace_names
from tasks.data.cleaning.row_steps import Looked, look, reads_one_text
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.named_models import model_fields
from tasks.data.rows import values

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, config={"extra": "forbid"})
class Scrub:
    """Replace personal data with `<EMAIL>`, `<PHONE>`, `<IBAN>`, `<CARD>`, `<IP>`, secret URLs with `<URL>`.

    `names` is a folder or hub id of a token-classification model; names of people that it finds become `<NAME>`, where
    the probability of one of `name_labels` (with any prefix) is at least `name_score` (0 to 1).
    """

    kind: Literal["scrub"] = "scrub"
    names: str = ""
    name_labels: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = ("PER", "PERSON")
    name_score: Annotated[float, Field(gt=0, le=1)] = 0.5


@model_fields.register(Scrub)
def _name_models(step: Scrub) -> tuple[str, ...]:
    return ("names",) if step.names else ()


@reads_one_text.register(Scrub)
def _reads_one_text(step: Scrub) -> bool:
    return not step.names  # a recogniser reads texts in batches, in this process


@look.register(Scrub)
def _look(step: Scrub, texts: Sequence[str]) -> Looked:
    return [scrub_text(text) for text in texts], [""] * len(texts)


@effect_of.register(Scrub)
def _scrub(step: Scrub, table: "pa.Table", memory: Memory | None = None) -> Effect:
    plain = [scrub_text(text) for text in values(table, "text")]
    return rewrite(step.kind, table, replace_names(plain, step.names, step.name_labels, step.name_score))
