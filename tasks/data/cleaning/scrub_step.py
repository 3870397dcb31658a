"""The cleaning step that replaces personal data in training rows: what `scrub` finds, and names where asked."""

from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from tasks.data.cleaning.clean import apply, make_report
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import values, with_values

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport


@dataclass(frozen=True, config={"extra": "forbid"})
class Scrub:
    """Replace personal data with `<EMAIL>`, `<PHONE>`, `<IBAN>`, `<CARD>`, `<IP>`, secret URLs with `<URL>`."""

    kind: Literal["scrub"] = "scrub"


@apply.register(Scrub)
def _scrub(step: Scrub, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    old = values(table, "text")
    new = [scrub_text(text) for text in old]
    changed = [text for before, text in zip(old, new, strict=True) if before != text]
    return with_values(table, "text", new), make_report(
        step.kind, table.num_rows, table.num_rows, len(changed), changed
    )
