"""Which point of a search is proposed to the gate: the fastest that is likely to pass it. Promotes nothing.

The gate on golden wants the loss's interval below the margin, not only the estimate. What a point's rows on `select`
say of its chance there decides the order; where limits or the margin are not kept, nothing is proposed at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tasks.compress.searching.report import Point

GOOD = 1 / 2  # the chance on golden from which on the faster point is taken before the surer one
AS_FAST = 0.75  # of the fastest one's speed, from which on the surer one is taken
ABSURD = 3.0  # margins, beyond which the upper end of a loss says that the rows cannot tell


@dataclass(frozen=True)
class Bar:
    """What the gate will ask for on golden."""

    margin: float  # the loss of mean score that counts as none
    level: float  # of the next look
    golden_rows: int


@dataclass(frozen=True)
class Loss:
    """What a model loses against the one before the first pass, on the same rows."""

    value: float
    high: float  # upper end of the one-sided interval at the gate's level
    chance: float  # that golden shows it to be below the margin


def loss_of(scores: np.ndarray, origin: np.ndarray, bar: Bar) -> Loss:
    """Return the loss of the scores [rows] against the origin's [rows].

    The chance is that of an estimate on golden whose lower end clears the margin, both sets being drawn alike: normal,
    with the variance of the rows that came out differently, of which there is one more than was seen.
    """
    from tasks.measure.statistics import paired_difference

    found = paired_difference(scores, origin, bar.level)
    spread = (found.won + found.lost + 1) / found.rows - found.value**2
    golden = math.sqrt(spread / max(1, bar.golden_rows))
    room = bar.margin + found.value - NormalDist().inv_cdf(1 - bar.level) * golden
    chance = NormalDist().cdf(room / math.sqrt(spread / found.rows + golden**2))
    return Loss(-found.value, -found.low, chance)


def margin_misses(point: Point, bar: Bar) -> tuple[str, ...]:
    """Return how the point misses the margin, with its numbers; empty where it keeps it."""
    assert point.loss is not None and point.loss_high is not None
    if point.loss > bar.margin:
        over = 100 * (point.loss - bar.margin)
        return (f"loses {100 * point.loss:.2f} points, {over:.2f} more than the margin of {100 * bar.margin:g}",)
    if point.loss_high > ABSURD * bar.margin:
        return (f"its loss may be as high as {100 * point.loss_high:.1f} points: {point.rows} rows cannot tell",)
    return ()


def order_of_choice(points: Sequence[Point]) -> list[Point]:
    """Return the points that may be proposed, best first: those with a good chance by speed, the others by chance.

    Of those about as fast as the fastest, the surest comes first.
    """
    kept = [point for point in points if is_served(point) and not point.misses]
    likely = [point for point in kept if (point.chance or 0.0) >= GOOD]
    others = [point for point in kept if point not in likely]
    enough = AS_FAST * max((point.speedup or 0.0 for point in likely), default=0.0)
    fastest = [point for point in likely if (point.speedup or 0.0) >= enough]
    slower = [point for point in likely if point not in fastest]
    return [
        *sorted(fastest, key=lambda point: (-(point.chance or 0.0), point.size_bytes, point.number)),
        *sorted(slower, key=lambda point: (-(point.speedup or 0.0), point.size_bytes, point.number)),
        *sorted(others, key=lambda point: (-(point.chance or 0.0), -(point.speedup or 0.0), point.number)),
    ]


def is_served(point: Point) -> bool:
    """Return whether the point is a model in the form that serves, measured in score and speed."""
    return bool(point.passes) and point.state == "measured" and point.speedup is not None and point.loss is not None


def shortfall(point: Point, bar: Bar, over: float) -> float:
    """Return how far a point is from being chosen, in margins of loss and shares of limits; the least comes nearest.

    Args:
        over: by which shares it is over the limits, in all.
    """
    assert point.loss is not None and point.loss_high is not None
    doubt = max(0.0, point.loss_high - ABSURD * bar.margin) / bar.margin
    return max(0.0, point.loss - bar.margin) / bar.margin + doubt + over


def promise(point: Point, bar: Bar) -> float:
    """Return what speaks for training a point on: its doublings of speed, less a margin of loss beyond it for each."""
    assert point.speedup is not None and point.loss is not None
    return math.log2(point.speedup) - max(0.0, point.loss - bar.margin) / bar.margin
