"""The clocks that timings are read from, and the percentiles that a sample of latencies supports. Times nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BEYOND = 10  # samples that must lie beyond a percentile for it to be quoted


@dataclass(frozen=True)
class Clock:
    """Where time is read and spent; tests give their own."""

    now: Callable[[], float] = time.perf_counter  # seconds
    cpu: Callable[[], float] = time.process_time  # CPU seconds of this process, all its threads
    sleep: Callable[[float], None] = time.sleep


def samples_for(percent: int) -> int:
    """Return how many samples a percentile needs: ten must lie beyond it."""
    return -(-100 * BEYOND // (100 - percent))


def percentile_ms(seconds: np.ndarray, percent: int) -> float | None:
    """Return a percentile of latencies [calls] in milliseconds; None where fewer than ten samples lie beyond it.

    So the median needs 20 samples, p95 200 and p99 1000.
    """
    if len(seconds) < samples_for(percent):
        return None
    return 1000 * float(np.percentile(seconds, percent))
