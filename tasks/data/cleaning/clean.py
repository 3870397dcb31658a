"""Cleaning: named steps, each a pure function on a table of rows that says what it changed and removed.

Only training rows are cleaned; evaluation rows pass through as they came, since production text is not cleaned either.
Steps against duplicates are in `dedup`, the one against unfit rows is in `filter`. Nothing here
learns from data or judges a label by its text.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import singledispatch
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.normalise import Normalise, normalise_text
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import keep, shorten, training_mask, values, with_values
from tasks.data.similarity import text_key
from tasks.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport

log = logging.getLogger(__name__)

MAX_REMOVED_SHARE = 0.5
MAX_EXAMPLES = 10


@dataclass(frozen=True, config={"extra": "forbid"})
class DropEmpty:
    """Remove rows whose text has fewer than `min_chars` characters (1 to 10 000), outer white space not counted."""

    kind: Literal["drop_empty"] = "drop_empty"
    min_chars: Annotated[int, Field(ge=1, le=10_000)] = 1


@dataclass(frozen=True, config={"extra": "forbid"})
class Conflicts:
    """Where one text has several targets: keep the rows of the `majority` (a tie drops all), or `drop` all of its rows.

    To be listed before the steps against duplicates, which leave one row of each text.
    """

    kind: Literal["conflicts"] = "conflicts"
    policy: Literal["majority", "drop"] = "majority"


def clean(table: "pa.Table", steps: Sequence[Any]) -> "tuple[pa.Table, list[StepReport]]":
    """Return the table with its training rows cleaned by the steps in order, and what each step did.

    Evaluation rows come after the training rows, unchanged.

    Raises:
        DataError: a step would remove more than half of the training rows, or there are none.
    """
    import pyarrow as pa

    mask = training_mask(table)
    rows, rest = keep(table, mask), keep(table, [not training for training in mask])
    if steps and not rows.num_rows:
        raise DataError("cleaning found no training rows: name the `train` split or leave rows to be split")
    reports = []
    for step in steps:
        rows, report = apply(step, rows)
        _refuse_collapse(report)
        reports.append(report)
        counts = report.rows_in, report.rows_out, report.rows_changed
        log.info("clean %s: %d rows in, %d out, %d changed", report.step, *counts)
    return pa.concat_tables([rows, rest]), reports


@singledispatch
def apply(step: Any, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    """Return the rows after one cleaning step, and its report. A new step registers its function here."""
    raise TypeError(f"no cleaning step is registered for {type(step).__name__}")


@apply.register(Normalise)
def _normalise(step: Normalise, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    return _rewrite(step.kind, table, [normalise_text(text, html=step.html) for text in values(table, "text")])


@apply.register(DropEmpty)
def _drop_empty(step: DropEmpty, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    return remove(step.kind, table, [len(text.strip()) >= step.min_chars for text in values(table, "text")])


@apply.register(Conflicts)
def _resolve_conflicts(step: Conflicts, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    keys, targets = [text_key(text) for text in values(table, "text")], values(table, "target")
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for key, target in zip(keys, targets, strict=True):
        votes[key][target] += 1
    winners = {key: _winner(counts, step.policy) for key, counts in votes.items()}
    return remove(step.kind, table, [winners[key] == target for key, target in zip(keys, targets, strict=True)])


def _winner(counts: Counter[str], policy: str) -> str | None:
    """Return the target that the rows of one text may keep; None where all of them go."""
    ranked = counts.most_common(2)
    if len(ranked) > 1 and (policy == "drop" or ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def remove(step: str, table: "pa.Table", mask: Sequence[bool]) -> "tuple[pa.Table, StepReport]":
    """Return the rows for which the mask holds, and the report with the removed texts as examples."""
    removed = (scrub_text(text) for text, kept in zip(values(table, "text"), mask, strict=True) if not kept)
    left = keep(table, mask)
    return left, make_report(step, table.num_rows, left.num_rows, 0, removed)


def _rewrite(step: str, table: "pa.Table", new: Sequence[str]) -> "tuple[pa.Table, StepReport]":
    pairs = [(old, text) for old, text in zip(values(table, "text"), new, strict=True) if old != text]
    examples = (_show_change(scrub_text(old), scrub_text(text)) for old, text in pairs)
    return with_values(table, "text", new), make_report(step, table.num_rows, table.num_rows, len(pairs), examples)


def make_report(step: str, rows_in: int, rows_out: int, rows_changed: int, examples: Iterable[str]) -> "StepReport":
    """Return a step's report with the first ten of the examples, which hold no personal data any more."""
    from tasks.records import StepReport  # tasks.records reads tasks.specs, which reads this module

    shown = tuple(shorten(example, 250) for example in islice(examples, MAX_EXAMPLES))
    return StepReport(step, rows_in, rows_out, rows_changed, shown)


def _show_change(old: str, new: str) -> str:
    return new if old == new else f"{shorten(old)!r} -> {shorten(new)!r}"


def _refuse_collapse(report: "StepReport") -> None:
    removed = report.rows_in - report.rows_out
    if removed > MAX_REMOVED_SHARE * report.rows_in:
        raise DataError(
            f"cleaning step '{report.step}' would remove {removed} of {report.rows_in} training rows, more than "
            f"half is never done: look at the rows ({'; '.join(report.examples[:3])}) or leave the step out"
        )
