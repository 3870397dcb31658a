"""What a served model may take at most: the spec's limits as tests on one model's own figures. Compares no models.

A limit is no wish: a candidate beyond one is never promoted, and a figure that is missing keeps none.
"""

import math
from dataclasses import asdict, replace

from tasks.measure.speed.latency import samples_for
from tasks.records import Speed, Test
from tasks.specs import Limits

LIMIT = "within its limit"
PERCENTILES = {"latency_p95_ms": 95, "latency_p99_ms": 99}
NAMES = {
    "latency_p95_ms": ("latency p95", "ms", 1.0),
    "latency_p99_ms": ("latency p99", "ms", 1.0),
    "memory_mb": ("memory", "MB", 1e6),
    "size_mb": ("size", "MB", 1e6),
    "cold_start_s": ("cold start", "s", 1.0),
}
FIGURES = {"memory_mb": "peak_memory_bytes", "size_mb": "size_bytes"}  # of a speed, where they are named otherwise


def limits_set(limits: Limits) -> dict[str, float]:
    """Return the limits that the spec sets, by name."""
    return {name: value for name, value in asdict(limits).items() if value is not None}


def limits_kept(speed: Speed | None, limits: Limits) -> Limits:
    """Return the limits that a model keeps, the others unset: a lever is not asked for what the best so far lacks."""
    over = {test.name for test in limit_tests(speed, limits) if test.outcome == "fail"}
    return replace(limits, **{name: None for name in limits_set(limits) if f"{NAMES[name][0]} is {LIMIT}" in over})


def samples_needed(limits: Limits) -> int:
    """Return how many batch-1 predictions a benchmark must take for the percentiles that are limited; 0: any."""
    return max((samples_for(PERCENTILES[name]) for name in limits_set(limits) if name in PERCENTILES), default=0)


def find_limit_flaw(speed: Speed | None, limits: Limits) -> str | None:
    """Return which limit cannot be judged since its figure is missing, with the mend, or None."""
    for name in limits_set(limits):
        shown = NAMES[name][0]
        if speed is None:
            return f"the candidate was not timed, and gate.limits.{name} is set; benchmark it"
        if (value := _figure(speed, name)) is not None and math.isfinite(value) and value > 0:
            continue
        if name in PERCENTILES:
            return (f"the candidate's {shown} needs {samples_for(PERCENTILES[name])} samples, and it has "
                    f"{speed.samples}; raise benchmark.samples, or take gate.limits.{name} out")  # fmt: skip
        return f"the candidate's {shown} is missing; benchmark it again, or take gate.limits.{name} out"
    return None


def limit_tests(speed: Speed | None, limits: Limits) -> list[Test]:
    """Return one test per limit; its detail says figure and limit. Figures that are missing have none: see above."""
    tests = []
    for name, bound in limits_set(limits).items():
        value = None if speed is None else _figure(speed, name)
        if value is None:
            continue
        shown, unit, _ = NAMES[name]
        kept = value <= bound
        detail = f"{shown} {value:.4g} {unit} is {'within' if kept else 'over'} the limit of {bound:g} {unit}"
        tests.append(Test(f"{shown} is {LIMIT}", value, value, value, bound, "pass" if kept else "fail", 1,
                          detail=detail))  # fmt: skip
    return tests


def shares_over(speed: Speed | None, limits: Limits) -> float:
    """Return by which share of each limit the figures are over it, in all; infinite where one is missing."""
    if find_limit_flaw(speed, limits):
        return math.inf
    return sum(max(0.0, test.estimate / test.bound - 1) for test in limit_tests(speed, limits))


def _figure(speed: Speed, name: str) -> float | None:
    value: float | None = getattr(speed, FIGURES.get(name, name))
    return None if value is None else value / NAMES[name][2]
