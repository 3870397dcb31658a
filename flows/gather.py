"""The rows of a turn: the source's, and the feedback that harvest trusts. Draws no split."""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

from feedback.harvest import Harvest, HarvestedRow, harvest
from flows.project import Project
from tasks.data.golden import FEEDBACK_PREFIX
from tasks.data.rows import mend_text, values
from tasks.data.snapshot import read_table
from tasks.records import Table

log = logging.getLogger(__name__)


class Collecting(Protocol):
    """The stages that collect: the functions of `tasks.build`, or the Prefect tasks made from them."""

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
    return [rows, stages.collect_feedback(project.store, as_plain(found.rows), spec.data.slices)]


def harvest_for(project: Project, known: AbstractSet[str] | None, sealed: AbstractSet[str]) -> Harvest:
    """Return the project's harvest, in which rows of the sealed golden set keep their place."""
    predictions = {name.removeprefix(FEEDBACK_PREFIX) for name in sealed}
    return harvest(project.database, project.spec.feedback.harvest, known, sealed=predictions)


def as_plain(rows: Sequence[HarvestedRow]) -> list[dict[str, str]]:
    """Return harvested rows as plain data, under ids that no source has."""
    return [
        {
            **row.slices,
            "id": f"{FEEDBACK_PREFIX}{row.id}",
            "text": row.text,
            "target": row.target,
            "time": row.occurred_at.astimezone(UTC).isoformat(),
            "group": mend_text(row.unit or ""),
        }
        for row in rows
    ]
