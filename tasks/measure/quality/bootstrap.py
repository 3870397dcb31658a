"""Paired bootstrap intervals (BCa) of any statistic that is a function of sums over rows. Knows no metric.

Rows that add the same to every sum form one cell, so that a resample is a weight for each cell: a hundred thousand rows
cost no more than their distinct cells do. A row carries the answers of both models, which is what makes it paired.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from tasks.records import Interval

DRAWN_BY_ROW = 12  # a cell of more rows is drawn as one binomial: 100 ns, against 9 ns for each row
CHUNK_BYTES = 2**23
UNDEFINED_SHARE = 0.01  # of the resamples, above which there is no interval
TAIL_RESAMPLES = 10  # a quantile with fewer resamples beyond it is extrapolated
NEGLIGIBLE = 1e-12  # differences of the statistic below it are rounding
MAX_Z = 8.0
NORMAL = NormalDist()


@dataclass(frozen=True)
class Cells:
    """The distinct rows of a sample, and a statistic of the sums over rows."""

    counts: np.ndarray  # [cells], rows of each, from 1 on
    features: Any  # [cells, sums], an array or a SciPy sparse one: what one row of the cell adds to each sum
    statistic: Callable[[np.ndarray], np.ndarray]  # sums [resamples, sums] -> [resamples], NaN where not defined


def bca(cells: Cells, alpha: float, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the statistic on the rows with its bounds at level alpha each; 0.025 gives a 95 % interval.

    The nonparametric bootstrap with bias correction and acceleration; the acceleration is that of the row jackknife.
    Ties count half in the bias correction. Where fewer than ten resamples lie beyond a bound, as for a very small
    alpha, the bound is that of the tenth, stretched as a normal tail is: the most extreme resample of all would be too
    near. The interval always holds the value. Rows on which the statistic cannot vary, such as two models that never
    differ, give an interval of no width, however few they are: it says nothing about rows not seen.
    Source: B. Efron, JASA 82 (1987), 171-185.

    Args:
        cells: the rows and the statistic.
        alpha: level of each bound, in (0, 0.5].
        resamples: at least 100.
        seed: equal seeds give equal intervals.

    Raises:
        ValueError: alpha or resamples are out of range, there are no rows, or the statistic is not defined on the rows,
            on the rows without one of them, or on more than 1 % of the resamples (up to that these are left out).
    """
    from scipy.sparse import csr_array

    _check(cells, alpha, resamples)
    order = np.argsort(-cells.counts, kind="stable")
    counts, features = np.asarray(cells.counts, dtype=np.int64)[order], csr_array(cells.features)[order]
    totals = features.T @ counts.astype(np.float64)  # [sums]
    value = float(_evaluate(cells.statistic, totals[None, :])[0])
    if math.isnan(value):
        raise ValueError("the statistic is not defined on these rows; give it rows of every kind that it needs")
    values = np.sort(_resample(counts, features, cells.statistic, resamples, seed))
    if values[-1] - values[0] <= NEGLIGIBLE:
        return Interval(value, value, value)
    below, upto = np.searchsorted(values, [value - NEGLIGIBLE, value + NEGLIGIBLE])
    half = 0.5 / len(values)  # so that a value beyond all resamples has a finite score
    bias = NORMAL.inv_cdf(min(max(float(below + upto) / 2 / len(values), half), 1 - half))
    bend = _acceleration(counts, features, cells.statistic, totals)
    z = NORMAL.inv_cdf(alpha)
    low, high = (_quantile(values, _corrected(bias, bend, score)) for score in (z, -z))
    return Interval(value, min(low, value), max(high, value))


def _check(cells: Cells, alpha: float, resamples: int) -> None:
    if not 0 < alpha <= 0.5:
        raise ValueError(f"alpha must lie in (0, 0.5], not {alpha}; 0.025 gives a 95 % interval")
    if resamples < 100:
        raise ValueError(f"at least 100 resamples are needed, not {resamples}; 10000 is usual")
    if len(cells.counts) == 0 or np.min(cells.counts) < 1:
        raise ValueError("no rows, or a cell without rows; give at least one row and leave empty cells out")


def _evaluate(statistic: Callable[[np.ndarray], np.ndarray], sums: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistic(sums)


def _resample(
    counts: np.ndarray, features: Any, statistic: Callable[[np.ndarray], np.ndarray], resamples: int, seed: int
) -> np.ndarray:
    """Return the statistic on each resample on which it is defined."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([
        _evaluate(statistic, _draw(rng, counts, stop - start) @ features)
        for start, stop in _chunks(resamples, sum(features.shape))
    ])  # fmt: skip
    undefined = np.isnan(values)
    if undefined.mean() > UNDEFINED_SHARE:
        raise ValueError(f"the statistic is not defined on {undefined.mean():.1%} of the resamples, and at most "
                         f"{UNDEFINED_SHARE:.0%} may be left out; give more rows of the rare kind")  # fmt: skip
    defined: np.ndarray = values[~undefined]
    return defined


def _draw(rng: np.random.Generator, counts: np.ndarray, resamples: int) -> np.ndarray:
    """Return how often each cell is drawn, [resamples, cells], by as many draws of rows as there are; counts fall.

    Large cells and all small ones together are drawn by the multinomial law, then the small ones' rows one by one.
    """
    rows, large = int(counts.sum()), int((counts > DRAWN_BY_ROW).sum())
    owner = np.repeat(np.arange(len(counts) - large), counts[large:])  # [rows of small cells]
    groups = np.append(counts[:large], len(owner)) if len(owner) else counts
    drawn = rng.multinomial(rows, groups / rows, size=resamples)
    if not len(owner):
        return drawn.astype(np.float64)
    weights = np.empty((resamples, len(counts)))
    weights[:, :large] = drawn[:, :large]
    for weight, number in zip(weights, drawn[:, large], strict=True):
        rows_drawn = rng.integers(len(owner), size=number)
        weight[large:] = np.bincount(owner[rows_drawn], minlength=len(counts) - large)
    return weights


def _acceleration(
    counts: np.ndarray, features: Any, statistic: Callable[[np.ndarray], np.ndarray], totals: np.ndarray
) -> float:
    """Return a sixth of the skewness of the jackknife's values, leaving out one row of each cell as often as it has.

    Raises:
        ValueError: without one of the rows the statistic is not defined.
    """
    values = np.concatenate([
        _evaluate(statistic, totals - features[start:stop].toarray())
        for start, stop in _chunks(len(counts), 2 * len(totals))
    ])  # fmt: skip
    if np.isnan(values).any():
        raise ValueError("without one of the rows the statistic is not defined; give more rows of the rare kind")
    gaps = np.average(values, weights=counts) - values
    spread = float(counts @ gaps**2)
    return float(counts @ gaps**3) / (6 * spread**1.5) if spread > 0 else 0.0


def _chunks(number: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) over `number` rows of `width` float64 each, so that memory stays small."""
    size = max(1, CHUNK_BYTES // (8 * width))
    for start in range(0, number, size):
        yield start, min(start + size, number)


def _corrected(bias: float, bend: float, score: float) -> float:
    """Return the normal score of the quantile that BCa takes instead of that of `score`."""
    shift = bias + score
    if bend * shift >= 1:
        return math.copysign(MAX_Z, shift)
    return min(max(bias + shift / (1 - bend * shift), -MAX_Z), MAX_Z)


def _quantile(values: np.ndarray, score: float) -> float:
    """Return the quantile of the values at a normal score, stretched as a normal tail where too few lie beyond it."""
    outermost = -NORMAL.inv_cdf(TAIL_RESAMPLES / len(values))
    inner = min(max(score, -outermost), outermost)
    bound = float(np.quantile(values, NORMAL.cdf(inner)))
    if inner == score:
        return bound
    centre = float(np.median(values))
    return centre + (bound - centre) * score / inner
