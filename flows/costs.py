"""What the models of an outcome cost to run, as tables of text: one line per figure, one column per model.

Measures nothing; what was not measured is left out.
"""

from collections.abc import Callable

from flows.outcome import Outcome
from flows.reports import roles_in
from tasks.records import OpenLoop, Speed
from tasks.registry import CHAMPION

FIGURES: dict[str, tuple[Callable[[Speed], float | None], str]] = {
    "cold start: process to first answer": (lambda speed: speed.cold_start_s, "{:.2f} s"),
    "of that, loading": (lambda speed: speed.load_s, "{:.2f} s"),
    "tokens at batch 1": (lambda speed: speed.tokens_b1_per_s, "{:.0f}/s"),
    "texts in batches": (lambda speed: speed.throughput_batch_per_s, "{:.0f}/s"),
    "CPU in use": (lambda speed: _percent(speed.cpu_utilisation), "{:.0f} %"),
    "GPU in use": (lambda speed: _percent(speed.gpu_utilisation), "{:.0f} %"),
    "energy for 1000 texts": (lambda speed: speed.energy_j_per_1000, "{:.1f} J"),
    "cost of a million texts": (lambda speed: speed.cost_per_million, "{:.2f}"),
}


def speed_rows(outcome: Outcome) -> list[list[str]]:
    """Return one row per figure that any model has: its name, then every model's value."""
    speeds = _speeds(outcome)
    rows = []
    for name, (read, form) in FIGURES.items():
        found = [None if speed is None else read(speed) for speed in speeds.values()]
        if any(value is not None for value in found):
            rows.append([name, *("-" if value is None else form.format(value) for value in found)])
    return rows


def grid_rows(outcome: Outcome) -> list[list[str]]:
    """Return per batch size and length of text: texts per second of every model, candidate / champion."""
    grids = {
        role: {(point.batch_size, point.length): point for point in speed.grid} if speed else {}
        for role, speed in _speeds(outcome).items()
    }
    rows = []
    for place in dict.fromkeys(place for grid in grids.values() for place in grid):
        known = {role: grid[place] for role, grid in grids.items() if place in grid}
        tokens = next(iter(known.values())).tokens_per_text
        both = "candidate" in known and CHAMPION in known
        faster = f"{known['candidate'].texts_per_s / known[CHAMPION].texts_per_s:.2f}x" if both else "-"
        cells = (f"{known[role].texts_per_s:.0f}/s" if role in known else "-" for role in grids)
        rows.append([str(place[0]), f"{place[1]} ({tokens:.0f} tokens)", *cells, faster])
    return rows


def open_loop_rows(outcome: Outcome) -> list[list[str]]:
    """Return per model how it answers texts that arrive on their own schedule."""
    return [
        [role, f"{loop.arrivals_per_s:.1f}/s", f"{loop.achieved_per_s:.1f}/s", _latencies(loop)]
        for role, speed in _speeds(outcome).items()
        if speed and (loop := speed.open_loop)
    ]


def _speeds(outcome: Outcome) -> dict[str, Speed | None]:
    return {role: outcome.cards[role].speed for role in roles_in(outcome)}


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _latencies(loop: OpenLoop) -> str:
    if loop.overloaded:
        return "overloaded: the queue grows, so that no latency means anything"
    found = (loop.latency_p50_ms, loop.latency_p95_ms, loop.latency_p99_ms)
    return " / ".join("-" if value is None else f"{value:.1f}" for value in found) + " ms"
