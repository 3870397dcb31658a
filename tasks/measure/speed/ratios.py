"""The ratio of two models' times per text from interleaved blocks, with its interval. Measures nothing itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 1_000_000  # values resampled at once
NO_SPREAD = 1e-12  # of logarithms: rounding, not noise
WIDEST = math.log(1e9)  # stands for no bound at all


@dataclass(frozen=True)
class Ratio:
    """A ratio of paired measurements with its one-sided lower and upper bounds."""

    value: float
    low: float
    high: float
    blocks: int


def block_ratio(
    candidate: Sequence[float], reference: Sequence[float], alpha: float, resamples: int = 10_000, seed: int = 0
) -> Ratio:
    """Return the geometric mean of candidate / reference over paired blocks, with one-sided bounds at level alpha each.

    Symmetric bootstrap-t over blocks, on the logarithms: what slows both blocks of a pair cancels out, and what
    disturbs single blocks widens the interval, to a billionfold either way at most. It is never narrower than Student's
    interval, which takes over where alpha is smaller than the resamples resolve. The same input gives the same bounds.

    Chosen by simulation, 1000 trials each of 10, 12 and 25 blocks with 1 % noise, for 95 % intervals. Undisturbed it
    covers 95.6 to 96.8 % (BCa 90 to 93 %). Where a load pushes blocks to either side by up to a factor 2, a fifth of
    them: 99 % (plain bootstrap-t 87 to 92, BCa 72 to 81, Student 97 to 99 %); half of them: 95.5 to 97.9 % (88 to 92,
    82 to 91, 95 to 96 %). Where it always slows the same model, by 20 % in the mean, no method keeps its promise: a
    fifth of 25 blocks 91 % (Student 82 %), half of them 93 % (Student 90 %). The price is width where a few of few
    blocks are disturbed: 1.5 times Student's with 25 blocks, some five times with 10 or 12.
    Sources: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 12; P. Hall, Journal of the
    Royal Statistical Society B 50 (1988), 35-45, for the symmetric form; T. DiCiccio and B. Efron, Statistical Science
    11 (1996), 189-228, for the comparison.

    Raises:
        ValueError: fewer than three pairs, different lengths, a value that is not positive and finite, or an alpha
            outside (0, 0.5).
    """
    from scipy.stats import t as student

    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not {alpha}")
    logs = _log_ratios(candidate, reference)
    blocks, centre, spread = len(logs), float(logs.mean()), float(logs.std(ddof=1))
    if spread < NO_SPREAD:
        return Ratio(math.exp(centre), math.exp(centre), math.exp(centre), blocks)
    scores = np.sort(np.abs(_resample_scores(logs, resamples, seed)))
    rank = math.ceil((1 - 2 * alpha) * (resamples + 1))
    critical = max(float(student.ppf(1 - alpha, blocks - 1)), float(scores[min(rank, resamples) - 1]))
    half = min(critical * spread / math.sqrt(blocks), WIDEST)
    return Ratio(math.exp(centre), math.exp(centre - half), math.exp(centre + half), blocks)


def _log_ratios(candidate: Sequence[float], reference: Sequence[float]) -> np.ndarray:
    """Return the logarithms of the ratios [blocks]."""
    first, second = np.asarray(candidate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if len(first) != len(second) or len(first) < 3:
        raise ValueError(f"a ratio needs at least three pairs of blocks, not {len(first)} and {len(second)}")
    if not (np.isfinite(first).all() and np.isfinite(second).all() and (first > 0).all() and (second > 0).all()):
        raise ValueError("timings must be positive finite numbers")
    ratios: np.ndarray = np.log(first) - np.log(second)
    return ratios


def _resample_scores(logs: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the t-statistic of each resample of the logarithms [blocks]; infinite where all drawn are equal."""
    rng, blocks, centre = np.random.default_rng(seed), len(logs), logs.mean()
    scores = np.empty(resamples)
    step = max(1, CHUNK // blocks)
    for start in range(0, resamples, step):
        drawn = logs[rng.integers(0, blocks, (min(step, resamples - start), blocks))]  # [resamples, blocks]
        means, spreads = drawn.mean(axis=1) - centre, drawn.std(axis=1, ddof=1)
        flat = spreads < NO_SPREAD
        scores[start : start + step] = means * math.sqrt(blocks) / np.where(flat, 1.0, spreads)
        scores[start : start + step][flat] = math.inf
    return scores


def noise(ratio: Ratio) -> float:
    """Return the half-width of the ratio's interval in logarithms: about the share by which it may be off."""
    return (math.log(ratio.high) - math.log(ratio.low)) / 2
