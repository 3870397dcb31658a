"""From live votes to one settled outcome per unit, in the order in which units settle. Judges nothing, reads no clock.

`Vote.at` is when the vote was received, by one clock, so that no vote turns up later with a time that is already past.
A unit (a user, a session) opens with its first vote and settles `settle_s` seconds later; the last vote up to then
counts. From then on its outcome is fixed: a later change of mind cannot rewrite what the test has already seen, which
an always-valid test does not survive. So in the order of settling the units are a sequence to which the next one only
adds, and under the null hypothesis the test's terms are a martingale difference sequence.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Arm = Literal["champion", "candidate"]
ARMS = ("champion", "candidate")


@dataclass(frozen=True)
class Vote:
    """What one unit said about one metric while it was served by one arm."""

    event: str  # the id it was delivered with
    unit: str
    arm: Arm
    at: float  # seconds since the epoch, when it was received
    metric: str
    value: float  # in [0, 1], 1 is best


@dataclass(frozen=True)
class Series:
    """The units that voted on one metric, in the order in which they settled; three arrays [units]."""

    outcomes: np.ndarray  # in [0, 1]
    candidate: np.ndarray  # bool: whether the unit was the candidate's
    at: np.ndarray  # seconds since the epoch, ascending


@dataclass(frozen=True)
class Settled:
    """The series of each metric, and the count of what is not in them."""

    series: dict[str, Series]
    begun: float | None  # seconds since the epoch, of the first vote; None where there is none
    duplicates: int  # deliveries of an event that was there already
    late: int  # votes of a unit that had settled, not used
    contaminated: int  # units that voted in both arms before they settled, set aside
    waiting: int  # units that have not settled yet


@dataclass
class _Unit:
    """What a unit has said so far; changes while votes are read, and never leaves this module."""

    settles: float
    arms: set[str] = field(default_factory=set)
    values: dict[str, float] = field(default_factory=dict)


def find_flaw(votes: Sequence[Vote]) -> str | None:
    """Return what makes the first unusable vote unusable, or None where all can be used."""
    for vote in votes:
        if not vote.event or not vote.unit:
            return f"a vote of event {vote.event!r} and unit {vote.unit!r} has no event or no unit; send both"
        if vote.arm not in ARMS:
            return f"event {vote.event!r} names the arm {vote.arm!r}; send champion or candidate"
        if not math.isfinite(vote.at):
            return f"event {vote.event!r} was received at {vote.at}; send seconds since the epoch"
        if not 0 <= vote.value <= 1:
            return f"event {vote.event!r} says {vote.value} of {vote.metric!r}; send a value in [0, 1]"
    return None


def settle(votes: Iterable[Vote], metrics: Sequence[str], settle_s: float, now: float) -> Settled:
    """Return the units that settled before `now`, by metric; votes of other metrics or after `now` are not read.

    An event counts once for each metric, as it was first received. The last of a unit's votes on a metric counts, by
    `at` and then by the event's id; units that settle at one time are ordered by their id. A unit that voted in both
    arms before it settled is set aside; once it has settled, a vote in the other arm is late like any other.
    """
    read = sorted(_key(vote) for vote in votes if vote.metric in metrics and vote.at <= now)
    seen: set[tuple[str, str]] = set()
    units: dict[str, _Unit] = {}
    late = 0
    for at, event, unit, arm, metric, value in read:
        if (event, metric) in seen:
            continue
        seen.add((event, metric))
        known = units.setdefault(unit, _Unit(at + settle_s))
        if at > known.settles:
            late += 1
            continue
        known.arms.add(arm)
        known.values[metric] = value
    mixed = sum(len(known.arms) > 1 for known in units.values())
    # A vote can still come at the very moment of settling, so a unit is in only after it.
    ready = sorted((known.settles, unit) for unit, known in units.items() if known.settles < now)
    entered = [units[unit] for _, unit in ready if len(units[unit].arms) == 1]
    series = {metric: _series(metric, entered) for metric in metrics}
    begun = read[0][0] if read else None
    return Settled(series, begun, len(read) - len(seen), late, mixed, len(units) - len(ready))


def until(series: Series, stop: float) -> Series:
    """Return the units of the series that had settled by `stop`, in seconds since the epoch."""
    kept = series.at <= stop
    return Series(series.outcomes[kept], series.candidate[kept], series.at[kept])


def _key(vote: Vote) -> tuple[float, str, str, str, str, float]:
    return vote.at, vote.event, vote.unit, vote.arm, vote.metric, vote.value


def _series(metric: str, units: Iterable[_Unit]) -> Series:
    voted = [unit for unit in units if metric in unit.values]
    return Series(
        np.array([unit.values[metric] for unit in voted], dtype=np.float64),
        np.array(["candidate" in unit.arms for unit in voted], dtype=bool),
        np.array([unit.settles for unit in voted], dtype=np.float64),
    )
