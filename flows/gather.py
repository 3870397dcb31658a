"""The rows of a turn: the source's, and the feedback that harvest trusts; texts without labels. Draws no split."""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

from feedback.harvest import Harvest, HarvestedRow, harvest
from feedback.records import PredictionRow
from flows.project import Project
from tasks import collect, guard
from tasks.compress.sequence import READING, reads_texts
from tasks.data.checking.suite import Suite
from tasks.data.checking.validate import describe
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.golden import FEEDBACK_PREFIX
from tasks.data.reading.cells import format_time
from tasks.data.rows import mend_text, values
from tasks.data.snapshot import read_table
from tasks.guard import FeedbackCheck
from tasks.records import Snapshot, Table
from tasks.specs import Lever, Recipe
from tasks.train.methods import reads_unlabelled

log = logging.getLogger(__name__)


class Collecting(Protocol):
    """The stages that collect: plain functions, or the Prefect tasks made from them."""

    collect: Any
    collect_feedback: Any
    collect_texts: Any
    check_feedback: Any


def plain_stages() -> Collecting:
    """Return the stages that collect, without Prefect."""
    parts = {"collect": collect.collect, "collect_feedback": collect.collect_feedback,
             "collect_texts": collect.collect_texts}  # fmt: skip
    return cast(Collecting, SimpleNamespace(**parts, check_feedback=guard.check_feedback))


def gather(
    stages: Collecting, project: Project, suite: Suite, sealed: AbstractSet[str] = frozenset()
) -> tuple[list[Table], FeedbackCheck | None]:
    """Return the source's rows and, where enough of it is trusted and keeps to the suite, harvested feedback.

    Also what the suite says of the feedback; None where there was too little to look at. `sealed` are the ids of
    feedback rows in the sealed golden set: those are always gathered, whatever the suite has come to say since.
    """
    spec = project.spec
    rows = stages.collect(project.store, str(project.root), spec.data)
    if not spec.data.feedback.use:
        return [rows], None
    known = set(values(read_table(Path(rows.uri), rows.digest), "target"))
    found = harvest_for(project, known, sealed)
    log.info("harvest: %d rows trusted, %d quarantined", len(found.rows), len(found.quarantined))
    plain = [as_row(row, spec.feedback.scrub) for row in found.rows]
    kept = {row["id"] for row in plain if row["id"] in sealed}
    further = [name for name in ("time", "group") if getattr(spec.data, name)]  # as the source's rows have them
    columns, checked = (*further, *spec.data.slices), None
    if kept != {row["id"] for row in plain} and len(plain) >= spec.data.feedback.min_rows:
        fresh = stages.collect_feedback(project.store, [row for row in plain if row["id"] not in kept], columns)
        checked = stages.check_feedback(project.store, fresh, suite, tuple(sorted(known)))
        passed = joining(checked)
        kept |= passed if len(passed | kept) >= spec.data.feedback.min_rows else set()
    joined = [row for row in plain if row["id"] in kept]
    return [rows, stages.collect_feedback(project.store, joined, columns)] if joined else [rows], checked


def gather_texts(
    stages: Collecting, project: Project, snapshot: Snapshot, recipe: Recipe, levers: Sequence[Lever] = ()
) -> Table | None:
    """Return the texts without labels that training may read: production's and those that the spec names.

    None where neither the recipe nor a lever asks for them, or where there are none. Production's are those of the
    newest predictions, scrubbed as feedback is; what the model answered is not among them.
    """
    if not ask_texts(recipe, levers):
        return None
    data, scrub = project.spec.data, project.spec.feedback.scrub
    predictions = project.database.window(last_n=data.production_texts) if data.production_texts else []
    produced = [as_text(row, scrub) for row in predictions]
    found: Table | None = stages.collect_texts(project.store, str(project.root), data, produced, snapshot)
    return found


def ask_texts(recipe: Recipe, levers: Sequence[Lever]) -> bool:
    """Return whether a training or a pass of the recipe or of a lever may read texts without labels."""
    if reads_unlabelled(recipe.train) or reads_texts(recipe.compress):
        return True
    return any(
        (lever.train is not None and reads_unlabelled(lever.train))
        or reads_texts(lever.compress or ())
        or (lever.compress_search is not None and not set(READING).isdisjoint(lever.compress_search.passes))
        or (lever.search is not None and not {"adapt", "distil"}.isdisjoint(lever.search.space))
        for lever in levers
    )


def as_text(row: PredictionRow, scrub: bool) -> dict[str, str]:
    """Return a prediction's text under the id and group that its feedback would have, scrubbed if wanted."""
    text = scrub_text(row.text) if scrub else row.text
    return {"id": f"{FEEDBACK_PREFIX}{row.prediction_id}", "text": mend_text(text), "group": mend_text(row.unit or "")}


def joining(checked: FeedbackCheck) -> set[str]:
    """Return the ids of the checked feedback rows that may join the data: none where the batch breaks the suite."""
    for stop in checked.report.stops:
        log.warning("harvest: all %d rows are left out of this iteration: %s", checked.rows.rows, describe(stop))
    if not checked.report.passed:
        return set()
    return set(values(read_table(Path(checked.rows.uri), checked.rows.digest), "id"))


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
