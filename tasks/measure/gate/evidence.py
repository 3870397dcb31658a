"""What the gate judges by, and what makes it useless: rows, metrics, slices or timings that do not compare.

Fails closed: `find_flaw` says what is missing, not a number, or was measured on other rows, in another way or on
another machine, and what to do about it. Judges nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

import numpy as np

from tasks.measure.quality.metrics import Answers, check_computable
from tasks.measure.speed.ratios import WIDEST, block_ratio, noise
from tasks.measure.statistics import check_scores
from tasks.records import Scorecard
from tasks.specs import Family, GateSpec

Claim = Literal["quality", "cost"]
MIN_ROWS = 30  # below, the intervals' coverage is not known to hold


@dataclass(frozen=True)
class Measured:
    """A scorecard with the row scores it stands on."""

    card: Scorecard
    scores: np.ndarray  # [rows], in [0, 1]
    slices: dict[str, np.ndarray]  # name -> [rows] bool
    families: dict[str, Family] = field(default_factory=dict)  # of the slices; those not named are columns'
    robust: dict[str, np.ndarray] = field(default_factory=dict)  # kind -> [perturbed rows], in [0, 1]
    answers: Answers | None = None  # None where only the mean of the row scores is known


def find_flaw(
    candidate: Measured, champion: Measured, baseline: Measured | None, claims: Sequence[Claim], spec: GateSpec
) -> str | None:
    """Return what makes the comparison impossible, with its mend, or None."""
    if not claims:
        return "the candidate claims no improvement"
    for name, other in [("candidate", candidate), ("champion", champion), ("baseline", baseline)]:
        flaw = None if other is None else find_rows_flaw(name, other, candidate)
        if flaw:
            return flaw
    return (
        _set_flaw(candidate, champion, spec)
        or _guard_flaw(candidate, champion, spec)
        or _slice_flaw(candidate, champion)
        or _speed_flaw(candidate.card, champion.card, claims)
    )


def find_noise(candidate: Scorecard, champion: Scorecard, spec: GateSpec) -> str | None:
    """Return why the timings, though they compare, are too noisy to judge by, with the mend, or None.

    An interval that even twice as wide lies beyond all that the gate asks for is judged however wide it is: a cascade's
    time depends on how many texts of a block its first stage answers.
    """
    if candidate.speed is None or champion.speed is None:
        return None
    ratio = block_ratio(candidate.speed.block_seconds, champion.speed.block_seconds, 0.025, spec.resamples)
    spread = noise(ratio)
    low, high = (ratio.value * math.exp(sign * min(2 * spread, WIDEST)) for sign in (-1, 1))
    if spread <= math.log1p(spec.max_noise) or high < 1 - spec.min_gain or low > 1 + spec.cost_margin:
        return None
    return (
        f"the timings are too noisy (their ratio is known to {100 * math.expm1(spread):.0f} %, gate.max_noise is "
        f"{100 * spec.max_noise:.0f} %); raise benchmark.samples and benchmark.blocks, or use a quieter machine"
    )


def find_rows_flaw(name: str, other: Measured, candidate: Measured) -> str | None:
    """Return why the other model's row scores do not pair with the candidate's, or None."""
    try:
        check_scores(other.scores)
        for scores in other.robust.values():
            check_scores(scores)
    except ValueError as error:
        return f"the {name}'s quality cannot be used ({error}); measure it again"
    mine, its = candidate.card.quality, other.card.quality
    if its.metric != mine.metric:
        return f"{name} and candidate were scored by different metrics ({its.metric} and {mine.metric})"
    if _unequal_targets(candidate.answers, other.answers):
        return f"{name} and candidate were scored against unequal labels of the same rows; score both on one snapshot"
    if its.rows_digest != mine.rows_digest or len(other.scores) != len(candidate.scores):
        return f"{name} and candidate were scored on different rows; score both on one snapshot"
    if its.measured_by != mine.measured_by:
        return f"{name} and candidate were scored by different versions of code or spec; score both again"
    if any(len(mask) != len(other.scores) for mask in other.slices.values()):
        return f"the {name}'s slices are of other rows than its scores"
    return None


def _unequal_targets(mine: Answers | None, its: Answers | None) -> bool:
    if mine is None or its is None or len(mine.targets) != len(its.targets):
        return False
    return not np.array_equal(mine.targets, its.targets)


def _set_flaw(candidate: Measured, champion: Measured, spec: GateSpec) -> str | None:
    """Return why this set of rows can tell nothing about any model."""
    rows, split = len(candidate.scores), candidate.card.quality.split
    if rows < MIN_ROWS:
        return (
            f"{split} has {rows} rows; a verdict needs at least {MIN_ROWS}, and {_rows_for(spec)} to show that a "
            f"loss stays below the margin {spec.margin:g}; add rows to {split}"
        )
    same = len(np.unique(np.concatenate([candidate.scores, champion.scores]))) == 1
    if same and split == "golden":  # other sets only screen: there such rows still tell that nothing was lost
        return (
            f"every {split} row of candidate and champion scores {candidate.scores[0]:g}, so that the rows cannot tell "
            "models apart; add harder rows, or check the target column"
        )
    return None


def _rows_for(spec: GateSpec) -> int:
    """Return how few rows could show non-inferiority at all: none differ, and z^2 / (n + z^2) is below the margin."""
    z = NormalDist().inv_cdf(1 - spec.alpha)
    return math.ceil(z * z * (1 - spec.margin) / spec.margin)


def _guard_flaw(candidate: Measured, champion: Measured, spec: GateSpec) -> str | None:
    for name, model in [("candidate", candidate), ("champion", champion)]:
        for metric in spec.guards:
            if model.answers is None:
                return f"the {name}'s {metric} is missing; score it again, or take it out of gate.guards"
            try:
                check_computable(metric, model.answers)
            except ValueError as error:
                return f"the {name}'s {metric} is missing ({error}); mend that or take it out of gate.guards"
    return None


def _slice_flaw(candidate: Measured, champion: Measured) -> str | None:
    empty = [name for model in (candidate, champion) for name, mask in model.slices.items() if not mask.any()]
    if empty:
        return f"slice {empty[0]!r} is empty; take it out of data.slices or add rows"
    if set(candidate.slices) != set(champion.slices):
        return "candidate and champion have different slices; score both again"
    kinds = {kind: len(scores) for kind, scores in candidate.robust.items()}
    if kinds != {kind: len(scores) for kind, scores in champion.robust.items()}:
        return "candidate and champion were not scored on the same perturbed rows; score both again"
    for name, mask in candidate.slices.items():
        if mask.all() and candidate.families.get(name, "column") == "column":
            return f"slice {name!r} holds every row, so that it is no slice; name another column in data.slices"
    return None


def _speed_flaw(candidate: Scorecard, champion: Scorecard, claims: Sequence[Claim]) -> str | None:
    mine, its = candidate.speed, champion.speed
    if mine is None and its is None and "cost" not in claims:
        return None  # a claim of quality, screened without a clock
    if mine is None or its is None:
        return "the speed of candidate or champion is missing; benchmark both"
    if mine.machine != its.machine or mine.session != its.session:
        return "candidate and champion were not timed together on one machine; benchmark both in one run"
    try:
        block_ratio(mine.block_seconds, its.block_seconds, 0.05, resamples=1)
    except ValueError as error:
        return f"the timings cannot be used ({error}); benchmark both again"
    return None
