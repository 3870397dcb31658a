"""Cleaning: named steps, each a pure function on a table of rows that says what it changed and removed.

Only training rows are cleaned; evaluation rows pass through as they came, since production text is not cleaned either.
Neighbouring steps that look at one text at a time run as one pass. What single steps do is in files of their own.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.effects import Memory, effect_of, removals
from tasks.data.cleaning.row_steps import Looked, look, reads_one_text, run_steps
from tasks.data.rows import training_mask
from tasks.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport

log = logging.getLogger(__name__)

MAX_REMOVED_SHARE = 0.5


@dataclass(frozen=True, config={"extra": "forbid"})
class DropEmpty:
    """Remove rows whose text has fewer than `min_chars` characters (1 to 10 000), outer white space not counted."""

    kind: Literal["drop_empty"] = "drop_empty"
    min_chars: Annotated[int, Field(ge=1, le=10_000)] = 1


class Cleaned(NamedTuple):
    """The rows after all steps, what each step did, and every removed row with its step and reason."""

    table: "pa.Table"
    reports: "list[StepReport]"
    removed: "pa.Table"


def clean(
    table: "pa.Table", steps: Sequence[Any], memory: Memory | None = None, max_removed: float = MAX_REMOVED_SHARE
) -> Cleaned:
    """Return the table with its training rows cleaned by the steps in order, and what each step did.

    Evaluation rows come after the training rows, unchanged. `memory` gives folders that keep what single texts came to.

    Raises:
        DataError: a step would remove more than the share `max_removed` of the training rows, or there are none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    training = training_mask(table)
    rows = table if pc.all(training).as_py() else table.filter(training)  # a copy less of a million rows
    rest = table.filter(pc.invert(training))
    del table
    if steps and not rows.num_rows:
        raise DataError("cleaning found no training rows: name the `train` split or leave rows to be split")
    reports, removed = [], [removals("", [], [], [])]
    for group in _groups(steps):
        alone = reads_one_text(group[0])
        for step, effect in zip(group, run_steps(group, rows, memory) if alone else [effect_of(group[0], rows, memory)],
                                strict=True):  # fmt: skip
            report = replace(effect.report, parameters=_parameters(step))
            _refuse_collapse(report, max_removed)
            counts = report.rows_in, report.rows_out, report.rows_changed
            log.info("clean %s: %d rows in, %d out, %d changed", report.step, *counts)
            reports.append(report)
            removed.append(effect.removed)
        rows = effect.table
        del effect
        pa.default_memory_pool().release_unused()
    return Cleaned(pa.concat_tables([rows, rest]), reports, pa.concat_tables(removed))


def apply(step: Any, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    """Return the rows after one cleaning step, whichever rows they are, and its report."""
    effect = run_steps([step], table)[0] if reads_one_text(step) else effect_of(step, table, None)
    return effect.table, replace(effect.report, parameters=_parameters(step))


def _groups(steps: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield runs of steps that look at one text at a time, which cost one pass, and every other step by itself."""
    for alone, run in groupby(steps, key=reads_one_text):
        together = list(run)
        yield from [together] if alone else [[step] for step in together]


def _parameters(step: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(step).items() if name != "kind"}


@look.register(DropEmpty)
def _drop_empty(step: DropEmpty, texts: Sequence[str]) -> Looked:
    return texts, ["" if len(text.strip()) >= step.min_chars else "too short" for text in texts]


def _refuse_collapse(report: "StepReport", max_removed: float) -> None:
    removed = report.rows_in - report.rows_out
    if removed > max_removed * report.rows_in:
        raise DataError(
            f"cleaning step '{report.step}' would remove {removed} of {report.rows_in} training rows, more than "
            f"{max_removed:.0%}: look at the rows ({'; '.join(report.examples[:3])}); leave the step out, or, if they "
            "should really go, raise `recipe.max_removed`"
        )
