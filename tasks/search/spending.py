"""Which levers an iteration's minutes go to: those that gained most per minute, and a share for new ones. Tries none.

The rule is that of a bandit whose pulls cost and whose budget is limited (Tran-Thanh et al. 2012, "Knapsack based
optimal policies for budget-limited multi-armed bandits", KUBE): levers are taken in the order of the upper confidence
bound of their gain (Auer et al. 2002, UCB1) per minute, as long as their minutes fit. Levers never tried, whose bound
is infinite, would take everything: while others are known to gain, they have a share of their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

EXPLORE = 1 / 3  # the share of the minutes that levers never tried have to themselves
SHORTEST = 1 / 60  # minutes that a try counts as at least
LEAST = 0.1  # the share of a search's own minutes below which it is not worth beginning


@dataclass(frozen=True)
class Cost:
    """What is known of one lever's gain and cost."""

    lever: str
    claims: tuple[str, ...]  # gains compare only between levers that claim the same
    gains: tuple[float, ...] = ()  # of its tries; none: it was never tried
    minutes: float | None = None  # that it takes; None: unknown
    divisible: bool = False  # a search, which may be cut short


@dataclass(frozen=True)
class Spending:
    """The minutes that each chosen lever is expected to take or may take, and why others are left out."""

    minutes: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def spend(costs: Sequence[Cost], minutes: float) -> Spending:
    """Return which levers the minutes go to; no more than there are.

    First levers never tried, in their order, up to their share; then tried ones by bound per minute; then what is left
    again to those never tried. A lever of unknown cost counts as the median of the others, and one that is longer than
    all minutes is left out, but a search, which is cut; one without minutes of its own takes what the others leave.
    """
    usual = median([each.minutes for each in costs if each.minutes is not None and not each.divisible] or [SHORTEST])
    new = [each for each in costs if not each.gains]
    known = sorted((each for each in costs if each.gains), key=lambda each: -_bound(each, costs) / _length(each, usual))
    given: dict[str, float] = {}
    share = EXPLORE * minutes if known else minutes
    for purse, group in ((share, new), (minutes, known), (minutes, new)):
        for each in sorted(group, key=lambda each: each.divisible and each.minutes is None):
            left = min(purse, minutes) - sum(given.values())
            fits = _fitting(each, _length(each, usual), left)
            if each.lever not in given and fits is not None:
                given[each.lever] = fits
    return Spending(given, {each.lever: _why(each, usual, minutes) for each in costs if each.lever not in given})


def _fitting(cost: Cost, length: float, left: float) -> float | None:
    """Return how many of the minutes left go to a lever; None where it does not fit."""
    if length <= left:
        return max(length, left if cost.divisible and cost.minutes is None else 0.0)
    return left if cost.divisible and left > 0 and left >= LEAST * length else None


def _length(cost: Cost, usual: float) -> float:
    return max(SHORTEST, usual if cost.minutes is None else cost.minutes)


def _bound(cost: Cost, costs: Sequence[Cost]) -> float:
    """Return the upper confidence bound of a lever's gain, as a share of the largest gain of what claims the same."""
    alike = [gain for each in costs if each.claims == cost.claims for gain in each.gains]
    largest = max((abs(gain) for gain in alike), default=0.0) or 1.0
    pulls = sum(len(each.gains) for each in costs)
    mean = sum(cost.gains) / len(cost.gains) / largest
    return max(0.0, mean + math.sqrt(2 * math.log(max(1, pulls)) / len(cost.gains)))


def _why(cost: Cost, usual: float, minutes: float) -> str:
    return (f"left out: about {_length(cost, usual):.1f} min do not fit into what the iteration's {minutes:g} min "
            "leave after levers that gain more per minute or were never tried; raise budget.minutes")  # fmt: skip
