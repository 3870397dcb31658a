"""Two registered versions before the gate, outside an iteration: for a CI job or a doubt. Promotes nothing."""

from dataclasses import asdict
from typing import Any, cast, get_args

from flows.budget import decide_on_golden
from flows.judge import measure
from flows.project import Project, only_one
from flows.reports import budget_line
from tasks import measurements
from tasks.errors import ReviewError
from tasks.measure.gate.evidence import Claim
from tasks.measure.quality.scores import with_scores
from tasks.records import Verdict
from tasks.registry import VersionRecord


def compare(project: Project, candidate: str, reference: str, claims: tuple[str, ...]) -> dict[str, Any]:
    """Return the verdict on the candidate against the reference as plain data, on the candidate's golden rows.

    Raises:
        ReviewError: a name is neither a version nor an alias, both are one model, or a claim is unknown.
        ArtifactError: an artifact or the candidate's snapshot is missing or changed.
    """
    unknown = set(claims) - set(get_args(Claim))
    if unknown:
        raise ReviewError(f"--claim {min(unknown)}: unknown; claim {' or '.join(get_args(Claim))}")
    first, second = (_record(project, name) for name in (candidate, reference))
    if first.candidate.digest == second.candidate.digest:
        raise ReviewError(f"{candidate} and {reference} are one model; name two different versions")
    with only_one(project):
        verdict = _judge(project, first, second, cast("tuple[Claim, ...]", claims))
    return {**asdict(verdict), "budget": budget_line(verdict)}


def _record(project: Project, name: str) -> VersionRecord:
    registry = project.registry
    return registry.read_record(registry.by_alias(name) or registry.version(name))


def _judge(project: Project, first: VersionRecord, second: VersionRecord, claims: tuple[Claim, ...]) -> Verdict:
    snapshot = first.snapshot
    cards = measure(
        measurements, project, [first.candidate, second.candidate], snapshot, "golden", project.spec.benchmark
    )
    judged, against = (with_scores(card, snapshot.out_of_scope) for card in cards)
    return decide_on_golden(project, snapshot, judged, against, None, claims)
