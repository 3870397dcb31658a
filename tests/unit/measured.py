"""Scorecards and row scores for the tests of the gate, the records and the reports."""

from dataclasses import replace

import numpy as np

from tasks.measure.gate.evidence import Measured
from tasks.measure.quality.metrics import Answers
from tasks.records import Machine, Quality, Scorecard, SliceScore, Speed

MACHINE = Machine("EPYC", ("avx2", "avx512_vnni"), 2, 2, {"onnxruntime": "1.23"})
STEADY = tuple(0.010 + 0.0001 * (block % 3) for block in range(12))  # seconds per text


def quality(scores=(1.0, 0.0), **changes):
    """Return a quality record of the scores."""
    mean = float(np.mean(scores))
    made = Quality("accuracy", "golden", len(scores), "rows-1", mean, max(0.0, mean - 0.1), min(1.0, mean + 0.1),
                   {"channel=chat": SliceScore(len(scores), mean)}, "scores.parquet", "0" * 64)  # fmt: skip
    return replace(made, **changes)


def speed(block_seconds=STEADY, **changes):
    """Return a speed record of the blocks' seconds per text."""
    made = Speed("session-1", 100.0, 400.0, 32, 9.5, 12.0, None, 500, tuple(block_seconds), 90_000_000, 23_000_000,
                 MACHINE)  # fmt: skip
    return replace(made, **changes)


def answers(scores, targets=None, outputs=None):
    """Return answers with the scores: two labels in turn, the other one where a row is not right."""
    scores = np.asarray(scores, dtype=np.float64)
    one, other = np.array([["no", "yes"], ["yes", "no"]], dtype=object)[:, np.arange(len(scores)) % 2]
    targets = one if targets is None else targets
    outputs = np.where(scores == 1, targets, other) if outputs is None else outputs
    return Answers(targets, outputs, scores, np.full(len(scores), 0.8), 1 - scores, brier=np.full(len(scores), 0.1))


def measured(scores, name="candidate", factor=None, slices=None, answered=None, **changes):
    """Return a model's measurement; `factor` is its time per text against `STEADY`, None where it was not timed."""
    timing = None if factor is None else speed([factor * seconds for seconds in STEADY])
    card = Scorecard(name, quality(scores, **changes), timing)
    scores = np.asarray(scores, dtype=np.float64)
    return Measured(card, scores, slices or {}, answers=answered or answers(scores))


def paired_scores(rows, right, gained, lost):
    """Return scores of candidate and reference: `right` rows both have right, then those only one of them has."""
    candidate, reference = np.zeros(rows), np.zeros(rows)
    candidate[: right + gained] = 1
    reference[:right] = 1
    reference[right + gained : right + gained + lost] = 1
    return candidate, reference
