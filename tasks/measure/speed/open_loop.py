"""Latency under texts that arrive on their own schedule, one worker. Judges nothing.

A closed loop asks the next text only when the one before is answered, so a stall delays the questions instead of
showing in their latencies ("coordinated omission"). Here every latency counts from the scheduled arrival.
Source: G. Tene, How NOT to Measure Latency (2013); for open against closed loops B. Schroeder, A. Wierman and
M. Harchol-Balter, NSDI (2006).
"""

from collections.abc import Sequence

import numpy as np

from serving.predictors import Predictor
from tasks.measure.speed.latency import Clock, percentile_ms
from tasks.records import OpenLoop

TURNS = 4  # stretches of each candidate, each begun with an empty queue
LIMIT_S = 2.0  # of scheduled arrivals of each candidate
FEWEST = 20  # arrivals that support a median
SHARE = 0.5  # of what the slowest candidate answers, where no rate is given


def choose_rate(asked: float | None, throughputs_per_s: Sequence[float]) -> float:
    """Return the arrivals per second of all candidates: the rate asked for, else half of what the slowest answers.

    All get the same, or their latencies would not be comparable; and none is overloaded unless a user asks for it.
    """
    return SHARE * min(throughputs_per_s) if asked is None else asked


def measure_open_loop(
    predictors: Sequence[Predictor], texts: Sequence[str], rate: float, arrivals: int, clock: Clock, seed: int = 0
) -> list[OpenLoop]:
    """Return the open loop of each candidate, in their order, all with the same texts at the same Poisson arrivals.

    The arrivals are cut to what `LIMIT_S` holds; none is measured, and the list is empty, where that leaves fewer than
    a median needs. Stretches are taken in turn, the order reversed every other one, each begun with an empty queue.

    Args:
        rate: arrivals per second.
        arrivals: of each candidate, at most.
        seed: of the arrivals.
    """
    count = min(arrivals, int(rate * LIMIT_S))
    if count < FEWEST:
        return []
    rng = np.random.default_rng(seed)
    rows: list[list[np.ndarray]] = [[] for _ in predictors]
    for number, stretch in enumerate(np.array_split(np.arange(count), TURNS)):
        order = range(len(predictors)) if number % 2 == 0 else reversed(range(len(predictors)))
        due = schedule_arrivals(len(stretch), rate, rng)
        asked = [texts[place % len(texts)] for place in stretch.tolist()]
        for row in order:
            predictors[row].predict(asked[:1])  # not counted: brings its caches back after another model ran
            rows[row].append(serve_arrivals(predictors[row], asked, due, clock))
    return [_summary(stretches, rate) for stretches in rows]


def schedule_arrivals(count: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Return the seconds [count], rising, of a Poisson process's first arrivals, the last of them at count / rate.

    So the rate of a short stretch is the one asked for and not what chance made of it.
    """
    due = np.cumsum(rng.exponential(1 / rate, count))
    scaled: np.ndarray = due * (count / rate / due[-1])
    return scaled


def serve_arrivals(predictor: Predictor, texts: Sequence[str], due: np.ndarray, clock: Clock) -> np.ndarray:
    """Return `[answered, 3]` seconds: latency from the scheduled arrival, of that in service, and when it was answered.

    Args:
        texts: [arrivals], asked one after another, none before it is due.
        due: [arrivals], seconds from now, rising.

    It ends early where the worker falls behind by more than `LIMIT_S`.
    """
    rows: list[tuple[float, float, float]] = []
    begun = clock.now()
    for text, scheduled in zip(texts, due.tolist(), strict=True):
        early = scheduled - (clock.now() - begun)
        if early > 0:
            clock.sleep(early)
        elif -early > LIMIT_S:
            break
        asked = clock.now() - begun
        predictor.predict([text])
        done = clock.now() - begun
        rows.append((done - scheduled, done - asked, done))
    return np.array(rows).reshape(len(rows), 3)


def _summary(stretches: list[np.ndarray], rate: float) -> OpenLoop:
    """Return the figures of all stretches: overloaded where a text takes longer to answer than the next to arrive."""
    latencies, served, _ = np.concatenate(stretches).T
    overloaded = float(served.mean()) * rate >= 1  # a stretch that ended early is: its texts took over `LIMIT_S`
    shown = np.empty(0) if overloaded else latencies
    return OpenLoop(
        arrivals_per_s=rate,
        achieved_per_s=len(latencies) / sum(float(stretch[-1, 2]) for stretch in stretches),
        arrivals=len(latencies),
        overloaded=overloaded,
        latency_p50_ms=percentile_ms(shown, 50),
        latency_p95_ms=percentile_ms(shown, 95),
        latency_p99_ms=percentile_ms(shown, 99),
    )
