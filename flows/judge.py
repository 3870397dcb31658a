"""From candidates to scorecards, and what two of them say of each other. The measuring is in `tasks.measure`."""

from collections.abc import Sequence

from flows.project import Project
from flows.spec import Spec
from tasks.measure.gate.evidence import Claim, Measured, find_rows_flaw
from tasks.measure.gate.limits import limits_set, samples_needed
from tasks.measure.quality.metrics import compare_metrics
from tasks.measurements import Measuring, quick
from tasks.records import Candidate, Interval, Scorecard, Snapshot
from tasks.specs import BenchmarkSpec


def measure(
    stages: Measuring,
    project: Project,
    candidates: Sequence[Candidate],
    snapshot: Snapshot,
    split: str,
    timing: BenchmarkSpec | None,
) -> list[Scorecard]:
    """Return one scorecard per candidate on the rows of a split; timed together where `timing` says how."""
    how = project.spec.quality
    qualities = [stages.score(project.store, candidate, snapshot, split, how) for candidate in candidates]
    speeds = {} if timing is None else stages.benchmark(project.store, candidates, snapshot, split, timing).speeds
    return [
        Scorecard(candidate.digest, quality, speeds.get(candidate.digest))
        for candidate, quality in zip(candidates, qualities, strict=True)
    ]


def screening(spec: Spec, claims: Sequence[Claim]) -> BenchmarkSpec | None:
    """Return how a lever's model is timed on `select`; None where neither its claim nor a limit asks for a clock."""
    limits = spec.gate.limits
    if "cost" not in claims and not limits_set(limits):
        return None
    return quick(spec.benchmark, samples_needed(limits))


def paired(candidate: Measured, champion: Measured) -> dict[str, Interval]:
    """Return by how much the candidate is better in every metric, where both can be told on the same rows."""
    if candidate.answers is None or champion.answers is None or find_rows_flaw("champion", champion, candidate):
        return {}
    return compare_metrics(candidate.answers, champion.answers)
