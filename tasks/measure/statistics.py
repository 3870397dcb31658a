"""The intervals that the gate decides by: paired differences of row scores and ratios of paired timings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """An estimate with its one-sided lower and upper bounds, and the standard error and rows behind them."""

    value: float
    low: float
    high: float
    deviation: float  # of one row
    rows: int
    error: float  # standard error, on the scale the bounds are made on
    centre: float  # likewise

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of "not above the bound", on the scale of the centre."""
        return (
            1 - NormalDist().cdf((self.centre - bound) / self.error) if self.error > 0 else float(self.centre <= bound)
        )


def mean_interval(scores: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of the mean of scores in [0, 1].

    Wilson's score interval, with the scores' mean in the place of a proportion: for scores between 0 and 1 the variance
    is at most that of a proportion of the same mean, so it is never too narrow for that reason.
    Source: E. B. Wilson, JASA 22 (1927).

    Raises:
        ValueError: there are no scores, or one is outside [0, 1] or not a number.
    """
    check_scores(scores)
    rows, mean = len(scores), float(scores.mean())
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (mean + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(mean * (1 - mean) / rows + z * z / (4 * rows * rows))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(candidate: np.ndarray, reference: np.ndarray, alpha: float) -> Estimate:
    """Return the mean of candidate minus reference on the same rows, with one-sided bounds at level alpha each.

    Wald's interval after adding two pseudo-rows, half a count to each cell of the 2x2 table, here in its form for any
    scores in [0, 1]: differences of +1 and -1 with weight 1/2 each and of 0 with weight 1. No discordant row
    at all still gives an interval of positive width. The lower bound is too high for a candidate that loses rows and
    never wins one: with 400 rows, a true loss of 0.01 and alpha 0.05 it misses in 9 % of cases.
    Source: A. Agresti and Y. Min, Statistics in Medicine 24 (2005), 729-740.

    Raises:
        ValueError: the arrays differ in length, are empty, or hold what is no score.
    """
    check_scores(candidate)
    check_scores(reference)
    if len(candidate) != len(reference):
        raise ValueError(f"paired scores must have equal length, not {len(candidate)} and {len(reference)}")
    differences = candidate - reference
    weight = len(differences) + 2
    centre = float(differences.sum()) / weight
    variance = (float((differences**2).sum()) + 1) / weight - centre**2
    half = NormalDist().inv_cdf(1 - alpha) * math.sqrt(variance / weight)
    return Estimate(float(differences.mean()), centre - half, centre + half, math.sqrt(variance), len(differences),
                    math.sqrt(variance / weight), centre)  # fmt: skip


def paired_ratio(candidate: Sequence[float], reference: Sequence[float], alpha: float) -> Estimate:
    """Return the ratio candidate / reference of paired positive measurements, with one-sided bounds at level alpha.

    The geometric mean of the ratios of interleaved blocks, with Student's interval on their logarithms: what slows both
    blocks of a pair cancels out, and what disturbs single blocks widens the interval.

    Raises:
        ValueError: fewer than three pairs, different lengths, or a value that is not positive and finite.
    """
    from scipy.stats import t as student

    first, second = np.asarray(candidate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if len(first) != len(second) or len(first) < 3:
        raise ValueError(f"a ratio needs at least three pairs of blocks, not {len(first)} and {len(second)}")
    if not (np.isfinite(first).all() and np.isfinite(second).all() and (first > 0).all() and (second > 0).all()):
        raise ValueError("timings must be positive finite numbers")
    logs = np.log(first / second)
    centre = float(logs.mean())
    deviation = float(logs.std(ddof=1))
    half = float(student.ppf(1 - alpha, len(logs) - 1)) * deviation / math.sqrt(len(logs))
    return Estimate(math.exp(centre), math.exp(centre - half), math.exp(centre + half), deviation, len(logs),
                    deviation / math.sqrt(len(logs)), centre)  # fmt: skip


def rows_needed(estimate: Estimate, bound: float, alpha: float) -> int | None:
    """Return how many further rows would put the bound outside the interval if the estimate holds, or None if none can.

    The usual formula n = (z_alpha s / distance)^2 of a one-sided test of a mean.
    """
    distance = abs(estimate.value - bound)
    if distance < 1e-9:
        return None
    z = NormalDist().inv_cdf(1 - alpha)
    return max(1, math.ceil((z * estimate.deviation / distance) ** 2) - estimate.rows)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses Holm's step-down procedure rejects at family-wise level alpha.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def check_scores(scores: np.ndarray) -> None:
    """Raise ValueError unless there is at least one score and every one is a number in [0, 1]."""
    if len(scores) == 0:
        raise ValueError("no scores")
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        raise ValueError("every row score must be a number in [0, 1]")
