"""What a cleaning step did: the rows after it, its report, and every row that it removed with the reason.

The steps themselves are in files of their own; they are dispatched here by the type of their parameters.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import keep, make_rows, shorten, values, with_values

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport

MAX_EXAMPLES = 10
REMOVED = ("step", "id", "reason", "duplicate_of")  # columns of what a step removed


Memory = Callable[[str], Path]  # from what is kept (clean, similarity) to its folder


class Effect(NamedTuple):
    """The rows after a step, its report, and what it removed: a table of the columns `REMOVED`."""

    table: "pa.Table"
    report: "StepReport"
    removed: "pa.Table"


@singledispatch
def effect_of(step: Any, table: "pa.Table", memory: Memory | None = None) -> Effect:
    """Return what one cleaning step does to the rows. A new step that reads several rows registers its function here.

    `memory` gives folders in which a step may keep what single texts come to, for later runs.
    """
    raise TypeError(f"no cleaning step is registered for {type(step).__name__}")


def remove(
    step: str,
    table: "pa.Table",
    mask: Sequence[bool],
    reasons: Sequence[str] = (),
    duplicate_of: Sequence[str] = (),
) -> Effect:
    """Return the effect of keeping the rows for which the mask holds.

    `reasons` says of each row why it goes, `duplicate_of` gives the id of the row that stays in its place ("" where
    there is none); both as long as the table, or empty.
    """
    left = keep(table, mask)
    gone = keep(table, [not kept for kept in mask])
    places = [at for at, kept in enumerate(mask) if not kept]
    why = [reasons[at] for at in places] if reasons else [""] * len(places)
    twins = [duplicate_of[at] for at in places] if duplicate_of else [""] * len(places)
    removed = removals(step, values(gone, "id"), why, twins)
    examples = map(_show_removed, gone.column("text").slice(0, MAX_EXAMPLES).to_pylist(), why, twins)
    report = make_report(step, table.num_rows, left.num_rows, 0, examples, Counter(filter(None, why)))
    return Effect(left, report, removed)


def rewrite(step: str, table: "pa.Table", new: Sequence[str]) -> Effect:
    """Return the effect of giving the rows new texts, from which personal data is gone; only those are shown."""
    changed = [text for old, text in zip(values(table, "text"), new, strict=True) if old != text]
    report = make_report(step, table.num_rows, table.num_rows, len(changed), map(scrub_text, changed))
    return Effect(with_values(table, "text", new), report, removals(step, [], [], []))


def removals(step: str, ids: Sequence[str], reasons: Sequence[str], duplicate_of: Sequence[str]) -> "pa.Table":
    """Return what a step removed as a table."""
    return make_rows(dict(zip(REMOVED, ([step] * len(ids), ids, reasons, duplicate_of), strict=True)))


def make_report(
    step: str, rows_in: int, rows_out: int, rows_changed: int, examples: Iterable[str],
    left_out: "Counter[str] | None" = None,
) -> "StepReport":  # fmt: skip
    """Return a step's report with the first ten of the examples, which hold no personal data any more."""
    from tasks.records import StepReport  # tasks.records reads tasks.specs, which reads this module

    shown = tuple(shorten(example, 250) for example in islice(examples, MAX_EXAMPLES))
    return StepReport(step, rows_in, rows_out, rows_changed, shown, dict(left_out or {}))


def show_change(old: str, new: str) -> str:
    """Return what became of a text, without personal data."""
    old, new = scrub_text(old), scrub_text(new)
    return new if old == new else f"{shorten(old)!r} -> {shorten(new)!r}"


def _show_removed(text: str, reason: str, twin: str) -> str:
    shown = scrub_text(text)
    if twin:
        return f"{shorten(shown)!r} repeats row {twin}"
    return f"{reason}: {shorten(shown)!r}" if reason else shown
