"""The rows of a turn: the source's, and the feedback that harvest trusts. Draws no split."""

import logging
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Protocol

from feedback.harvest import Harvest, HarvestedRow, harvest
from flows.project import Project
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.golden import FEEDBACK_PREFIX
from tasks.data.reading.cells import format_time
from tasks.data.rows import mend_text, values
from tasks.data.snapshot import read_table
from tasks.records import Table

log = logging.getLogger(__name__)


class Collecting(Protocol):
    """The stages that collect: the functions of `tasks.collect`, or the Prefect tasks made from them."""

    collect: Any
    collect_feedback: Any


def gather(stages: Collecting, project: Project, sealed: AbstractSet[str] = frozenset()) -> list[Table]:
    """Return the source's rows and, where enough of it is trusted, harvested feedback.

    `sealed` are the ids of feedback rows in the sealed golden set: while there are any, feedback is always gathered.
    """
    spec = project.spec
    rows = stages.collect(project.store, str(project.root), spec.data)
    if not spec.data.feedback.use:
        return [rows]
    found = harvest_for(project, set(values(read_table(Path(rows.uri), rows.digest), "target")), sealed)
    log.info("harvest: %d rows trusted, %d quarantined", len(found.rows), len(found.quarantined))
    if len(found.rows) < spec.data.feedback.min_rows and not sealed:
        return [rows]
    further = [name for name in ("time", "group") if getattr(spec.data, name)]  # as the source's rows have them
    plain = [as_row(row, spec.feedback.scrub) for row in found.rows]
    return [rows, stages.collect_feedback(project.store, plain, (*further, *spec.data.slices))]


def harvest_for(project: Project, known: AbstractSet[str] | None, sealed: AbstractSet[str]) -> Harvest:
    """Return the project's harvest, in which rows of the sealed golden set keep their place."""
    predictions = {name.removeprefix(FEEDBACK_PREFIX) for name in sealed}
    return harvest(project.database, project.spec.feedback.harvest, known, sealed=predictions)


def as_row(row: HarvestedRow, scrub: bool) -> dict[str, str]:
    """Return a harvested row in the columns of all rows, under an id that no source has, scrubbed if wanted.

    The webhook has not always scrubbed what it stores. A slice that is named like one of the columns does not count.
    """
    text = scrub_text(row.text) if scrub else row.text
    own = {"id": f"{FEEDBACK_PREFIX}{row.id}", "text": text, "target": row.target}
    return {**row.slices, **own, "time": format_time(row.occurred_at), "group": mend_text(row.unit or "")}
