"""The cleaning step that replaces personal data in training rows: what `scrub` finds, and names where asked."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.clean import apply, make_report
from tasks.data.cleaning.names import replace_names
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import values, with_values

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport


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


@apply.register(Scrub)
def _scrub(step: Scrub, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    old = values(table, "text")
    new = [scrub_text(text) for text in old]
    if step.names:
        new = replace_names(new, step.names, step.name_labels, step.name_score)
    changed = [text for before, text in zip(old, new, strict=True) if before != text]
    return with_values(table, "text", new), make_report(
        step.kind, table.num_rows, table.num_rows, len(changed), changed
    )
