"""What an iteration leaves behind for people and for the next one: the outcome, kept as JSON beside the project.

Knows no Prefect and no MLflow.
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from flows.project import Project
from tasks.data.checking.validate import ValidationReport
from tasks.given import Given
from tasks.guard import FeedbackCheck
from tasks.measure.gate.evidence import Claim
from tasks.measure.profiling.profile import Profile
from tasks.records import (
    Candidate,
    Interval,
    LeverTrial,
    Scorecard,
    Snapshot,
    StepReport,
    Table,
    Verdict,
    from_json,
    to_json,
)
from tasks.specs import Recipe
from tasks.store import CODE, code_digest
from tasks.suspects import SuspectTable

Result = Literal["baseline", "promoted", "review", "rejected", "inconclusive", "unchanged"]
COLOURS: dict[Result, str] = {
    "baseline": "green", "promoted": "green", "review": "green", "rejected": "red", "inconclusive": "yellow",
    "unchanged": "yellow",
}  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """A recipe, the model it made, and what the levers pulled since the champion claim."""

    recipe: Recipe
    candidate: Candidate
    claims: tuple[Claim, ...] = ()
    levers: tuple[str, ...] = ()
    given: Given = field(default_factory=Given)
    snapshot: Snapshot | None = None  # that it was built on; None: the present one


@dataclass(frozen=True)
class Outcome:
    """One iteration: what was tried, what was measured, what was decided."""

    iteration: int
    result: Result
    verdict: Verdict
    snapshot: Snapshot
    started_at: str  # ISO 8601, UTC
    inputs_digest: str = ""  # of all that could make the next iteration come out differently
    trigger: str = "run"  # run, schedule, drift
    version: str = ""  # the registered version, where one was made
    champion_version: str = ""  # at the end
    changed: tuple[str, ...] = ()  # levers kept
    trials: tuple[LeverTrial, ...] = ()
    unpaid: tuple[str, ...] = ()  # levers that the iteration's minutes did not reach for
    cards: dict[str, Scorecard] = field(default_factory=dict)  # baseline, champion, candidate on golden
    paired: dict[str, Interval] = field(default_factory=dict)  # by how much the candidate is better, by metric
    cleaning: tuple[StepReport, ...] = ()
    removed_uri: str = ""  # Parquet: every row that cleaning removed, with its step and reason
    checks: ValidationReport | None = None
    suspects: SuspectTable | None = None  # golden rows whose label a person should look at, where labels are judged
    feedback_rows: int = 0
    feedback_check: FeedbackCheck | None = None  # None where too little feedback was harvested
    drift: str = ""  # what the monitor saw when it asked for this iteration
    profile: Profile | None = None  # where the time of the model that was judged goes
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, and "total"
    report_uri: str = ""


def inputs_digest(project: Project, snapshot: Snapshot, unlabelled: Table | None = None) -> str:
    """Return the SHA-256 of the snapshot, the stages' code, and what the spec says about making and judging models.

    Texts without labels count where some training asks for them.
    """
    spec = project.spec
    parts = [asdict(part) for part in (spec.recipe, spec.gate, spec.benchmark, spec.quality, spec.budget)] + [
        asdict(lever) for lever in spec.levers
    ]
    texts = [unlabelled.digest] if unlabelled else []
    return hashlib.sha256(
        json.dumps([snapshot.digest, [code_digest(stage) for stage in CODE], parts, *texts], sort_keys=True).encode()
    ).hexdigest()


def nothing_changed(project: Project, digest: str, champion_version: str) -> Outcome | None:
    """Return the last iteration if it tried the levers on the same inputs and left the present champion, else None.

    One whose minutes did not reach for all levers says nothing: the next one tries others.
    """
    outcomes = read_outcomes(project)
    if not outcomes or outcomes[-1].result == "baseline" or outcomes[-1].unpaid:
        return None
    last = outcomes[-1]
    return last if (last.inputs_digest, last.champion_version) == (digest, champion_version) else None


def next_number(project: Project) -> int:
    """Return the number of the next iteration, from 1."""
    return max((outcome_number(path) for path in _files(project)), default=0) + 1


def outcome_number(path: Path) -> int:
    """Return the iteration that an outcome file is of."""
    return int(path.stem)


def write_outcome(project: Project, outcome: Outcome) -> None:
    """Keep the outcome: written aside and renamed, so that a reader finds all of it or none."""
    path = project.state / "iterations" / f"{outcome.iteration:04d}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(to_json(outcome), "utf-8")
    partial.rename(path)


def read_outcomes(project: Project) -> list[Outcome]:
    """Return all outcomes, oldest first."""
    return [from_json(Outcome, path.read_text("utf-8")) for path in sorted(_files(project))]


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _files(project: Project) -> list[Path]:
    return list((project.state / "iterations").glob("[0-9]*.json"))
