"""Bringing scorecards and their row scores to the gate. The statistics are in `tasks.measure`."""

from collections.abc import Sequence

import numpy as np

from flows.project import Project
from tasks.build import Measuring
from tasks.measure.gate import Measured
from tasks.measure.quality import read_scores, slice_masks
from tasks.records import Candidate, Scorecard, Snapshot
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
    qualities = [stages.score(project.store, candidate, snapshot, split) for candidate in candidates]
    speeds = {} if timing is None else stages.benchmark(project.store, candidates, snapshot, split, timing).speeds
    return [
        Scorecard(candidate.digest, quality, speeds.get(candidate.digest))
        for candidate, quality in zip(candidates, qualities, strict=True)
    ]


def with_scores(card: Scorecard, snapshot: Snapshot) -> Measured:
    """Return the scorecard with its row scores and slice masks read back.

    Raises:
        ArtifactError: the stored scores are missing or changed.
    """
    table = read_scores(card.quality)
    return Measured(card, np.asarray(table["score"].to_pylist()), slice_masks(table, snapshot.slices))
