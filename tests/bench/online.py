"""The online gate by simulation: how often it finds a winner where there is none, and how soon a true one.

Every history goes through the gate's own functions, many at a time; `tests.bench.gate` prints the figures.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta, norm

from tasks.measure.gate.online import OnlineSpec, OnlineVerdict, capital, effect_terms, judge_online
from tasks.measure.gate.votes import Vote

BASE = 0.80  # share of the champion's units that are content
CHUNK = 50  # histories at a time: small enough for the processor's cache
NAIVE_FROM = 100  # units before the naive test first looks
SETTLE_S = 100.0


@dataclass(frozen=True)
class FalseWinners:
    """How many histories without a winner found one, with continuous peeking."""

    share: float
    upper: float  # one-sided 95 % limit
    naive_share: float  # by a fixed-sample test at the same level, repeated after every unit
    histories: int
    units: int
    seconds: float


@dataclass(frozen=True)
class Wins:
    """How soon a true winner was found."""

    share: float  # of the histories, within the units given
    median_units: float  # infinity where less than half won
    p80_units: float  # by then four fifths won; infinity where fewer did
    fixed_units: float  # that a test of one look, with its sample size fixed before, needs to win in 80 %


def outcomes(rng: np.random.Generator, histories: int, units: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Return outcomes (0 or 1) and arms (true: the candidate's) of fair histories; [histories, units] each."""
    candidate = rng.random((histories, units)) < 0.5
    content = rng.random((histories, units)) < np.where(candidate, BASE + gain, BASE)
    return content.astype(np.float64), candidate


def first_win(drawn: tuple[np.ndarray, np.ndarray], bound: float, alpha: float) -> np.ndarray:
    """Return after how many units the gate first shows a gain above the bound, infinity where never; [histories]."""
    path = capital(effect_terms(*drawn, 0.5), bound, 0.5)
    return _first(path >= 1 / alpha)


def naive_win(drawn: tuple[np.ndarray, np.ndarray], bound: float, alpha: float) -> np.ndarray:
    """Return after how many units a repeated z-test first claims it, infinity where never; [histories]."""
    content, candidate = drawn
    seen = np.arange(1, content.shape[1] + 1)
    ours = np.maximum(np.cumsum(candidate, axis=1), 1)
    theirs = np.maximum(seen - ours, 1)
    right, right_ours = np.cumsum(content, axis=1), np.cumsum(content * candidate, axis=1)
    pooled = right / seen
    error = np.sqrt(pooled * (1 - pooled) * (1 / ours + 1 / theirs))
    claimed = right_ours / ours - (right - right_ours) / theirs - bound > norm.isf(alpha) * error
    claimed[:, :NAIVE_FROM] = False
    return _first(claimed)


def online_false_winner_share(
    rng: np.random.Generator, histories: int = 2000, units: int = 20_000, loss: float = 0.0, alpha: float = 0.05
) -> FalseWinners:
    """Return how often a candidate that is worse by exactly the loss is shown to be above it, asked after every unit.

    Without a loss this is an A/A test of the metric; with one, a guardrail at its margin.
    """
    started, found, naive = time.perf_counter(), [], []
    for _ in range(0, histories, CHUNK):
        drawn = outcomes(rng, CHUNK, units, -loss)
        found.append(np.isfinite(first_win(drawn, -loss, alpha)))
        naive.append(np.isfinite(naive_win(drawn, -loss, alpha)))
    wrong = np.concatenate(found)
    seconds = time.perf_counter() - started
    return FalseWinners(
        float(wrong.mean()), upper(wrong), float(np.concatenate(naive).mean()), len(wrong), units, seconds
    )


def online_win_units(
    rng: np.random.Generator, gain: float = 0.03, histories: int = 400, units: int = 20_000, alpha: float = 0.05
) -> Wins:
    """Return how many units a truly better candidate needs to be shown so."""
    chunks = [first_win(outcomes(rng, CHUNK, units, gain), 0.0, alpha) for _ in range(0, histories, CHUNK)]
    needed = np.concatenate(chunks)
    variance = 2 * (BASE * (1 - BASE) + (BASE + gain) * (1 - BASE - gain))  # of one unit, arms of half the units each
    fixed = variance * ((norm.isf(alpha) + norm.isf(0.2)) / gain) ** 2
    median, p80 = np.quantile(needed, [0.5, 0.8], method="higher")
    return Wins(float(np.isfinite(needed).mean()), float(median), float(p80), float(fixed))


def win_days(units: float, units_per_day: float, spec: OnlineSpec) -> float:
    """Return the days until so many units have settled at an arrival rate, not before the minimum duration."""
    return max(units / units_per_day + spec.settle_s / 86_400, spec.min_duration_s / 86_400)


def online_delivered_thrice(
    rng: np.random.Generator, histories: int = 200, units: int = 1000, gain: float = 0.0, alpha: float = 0.05
) -> FalseWinners:
    """Return the false winners of `judge_online` where units change their minds and each event comes three times.

    Deliveries are shuffled, a third of the units vote again before they settle, and a tenth afterwards, too late.

    Raises:
        AssertionError: a verdict is not what the arrays of settled outcomes give.
    """
    started, found, naive = time.perf_counter(), [], []
    spec = OnlineSpec(alpha=alpha, settle_s=SETTLE_S, min_units=1, min_duration_s=0, max_duration_s=10.0 * units)
    for _ in range(histories):
        drawn = outcomes(rng, 1, units, gain)
        verdict = judge_online(deliveries(rng, drawn[0][0], drawn[1][0]), spec, 5.0 * units + 2 * SETTLE_S)
        _check_verdict(verdict, drawn, spec)
        found.append(verdict.decision == "promote")
        naive.append(bool(np.isfinite(naive_win(drawn, 0.0, alpha))[0]))
    wrong = np.array(found)
    seconds = time.perf_counter() - started
    return FalseWinners(float(wrong.mean()), upper(wrong), float(np.mean(naive)), histories, units, seconds)


def deliveries(rng: np.random.Generator, content: np.ndarray, candidate: np.ndarray) -> list[Vote]:
    """Return the votes by which these outcomes [units] arrive: a unit a second from 0 on, each thrice, shuffled."""
    events = []
    for number, (value, ours) in enumerate(zip(content.tolist(), candidate.tolist(), strict=True)):
        arm = "candidate" if ours else "champion"
        mood = rng.random(3)
        vote = Vote(f"{number}", f"unit {number:06}", arm, float(number), "quality", value)
        if mood[0] < 1 / 3:  # it began with the opposite
            again = replace(vote, event=f"{number} again", at=vote.at + SETTLE_S * (0.1 + 0.8 * mood[1]))
            events += [replace(vote, value=1 - value), again]
        else:
            events.append(vote)
        if mood[2] < 0.1:
            events.append(replace(vote, event=f"{number} late", at=vote.at + 1.5 * SETTLE_S, value=1 - value))
    delivered = [replace(event, at=event.at + delay) for event in events for delay in (0.0, 20.0, 400.0)]
    return [delivered[place] for place in rng.permutation(len(delivered))]


def upper(happened: np.ndarray, level: float = 0.95) -> float:
    """Return the one-sided upper confidence limit of a share (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934)."""
    count, total = int(happened.sum()), len(happened)
    return 1.0 if count == total else float(beta.ppf(level, count + 1, total - count))


def _check_verdict(verdict: OnlineVerdict, drawn: tuple[np.ndarray, np.ndarray], spec: OnlineSpec) -> None:
    """Make sure that the gate, given votes, decides as the arrays do, at the same unit."""
    terms = effect_terms(*drawn, spec.share)
    won = first_win(drawn, 0.0, spec.alpha)[0]
    lost = _first(capital(-terms, 0.0, spec.share) >= 1 / spec.alpha)[0]
    expected = "go on" if won == lost == np.inf else "promote" if won < lost else "roll back"
    if verdict.decision == "not judged":  # a true alarm about a fair split: one history in a thousand at most
        return
    assert verdict.decision == expected, (verdict, won, lost)
    effect = verdict.effects[0]
    judged = effect.units_champion + effect.units_candidate
    assert judged == min(won, lost, terms.shape[1]), (verdict, won, lost)


def _first(happened: np.ndarray) -> np.ndarray:
    """Return the number of the first unit, from 1, at which it happened; infinity where it never did; [histories]."""
    result: np.ndarray = np.where(happened.any(axis=1), happened.argmax(axis=1) + 1.0, np.inf)
    return result
