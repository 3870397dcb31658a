"""What people see of a search over compression passes: its points as a table, its Pareto front as a figure.

Measures and decides nothing.
"""

from flows import figures
from flows.figures import Bubble
from tasks.compress.searching.front import pareto_front
from tasks.compress.searching.report import CompressReport, Point, passes_in_words

HEADERS = (
    "#", "passes", "outcome", "rung", "score on select", "loss (points)", "agrees", "speed", "p99", "size", "memory",
    "took",
)  # fmt: skip
RUNGS = ("as it is", "untrained", "short training", "more training", "runtimes", "cascades")


def point_rows(report: CompressReport) -> list[list[str]]:
    """Return the points of a search as text, in the order they were asked for; see `HEADERS`."""
    return [_point_row(point, report) for point in report.points]


def _point_row(point: Point, report: CompressReport) -> list[str]:
    return [
        str(point.number),
        passes_in_words(point.passes),
        _state(point, report),
        RUNGS[min(point.rung, len(RUNGS) - 1)],
        "-" if point.score is None else f"{100 * point.score:.2f} % of {point.rows}",
        _loss(point),
        "-" if point.agreement is None else f"{100 * point.agreement:.1f} %",
        "-" if point.speedup is None else f"{point.speedup:.1f}x",
        "-" if point.latency_p99_ms is None else f"{point.latency_p99_ms:.2f} ms",
        f"{point.size_bytes / 1e6:.1f} MB" if point.size_bytes else "-",
        f"{point.memory_bytes / 1e6:.0f} MB" if point.memory_bytes else "-",
        f"{point.seconds:.0f} s",
    ]


def _loss(point: Point) -> str:
    if point.loss is None or point.loss_high is None or not point.passes:
        return "-"
    return f"{100 * point.loss + 0.0:+.2f} (to {100 * point.loss_high:+.2f})"  # 0.0: no loss is no negative zero


def _state(point: Point, report: CompressReport) -> str:
    """Return what became of a point: chosen, nearest, on the front; and why it failed, or what it misses."""
    words = [
        word
        for word, holds in (
            ("chosen", point.number == report.chosen),
            ("nearest", point.number == report.nearest),
            ("front", point.number in report.front and point.number != report.chosen),
            (point.state, point.state != "measured"),
        )
        if holds
    ]
    said = "; ".join(part for part in (point.message, *point.misses) if part)
    return ", ".join(words) + (": " if words and said else "") + said


def draw_compression(report: CompressReport) -> str:
    """Return score against time per text of a search's points; hollow: beyond the margin or a limit; area is size."""
    origin = report.points[0]
    drawn = [point for point in report.points if _is_drawn(point)]
    front = pareto_front([(-(point.loss or 0.0), point.speedup or 0.0) for point in drawn])
    bubbles = [_bubble(point, origin, report, at in front) for at, point in enumerate(drawn)]
    if len(bubbles) < 2:
        return ""
    title = "Score against time per text of what the search tried; area is size on disk"
    across = "time per text, before the first pass = 1 (left is faster)"
    return figures.pareto(title, bubbles, across, "score on select, %")


def _is_drawn(point: Point) -> bool:
    return point.speedup is not None and point.loss is not None and point.size_bytes > 0


def _bubble(point: Point, origin: Point, report: CompressReport, on_front: bool) -> Bubble:
    """Return the point's mark: its height is the score on all rows less its loss, so that parts of the rows compare."""
    assert point.speedup is not None and point.loss is not None and origin.score is not None
    chosen, first = point.number == report.chosen, point is origin
    height = 100 * (origin.score - point.loss)
    name = "as it was" if first else f"{point.number} chosen" if chosen else str(point.number)
    return Bubble(
        name, 1 / point.speedup, height, point.size_bytes,
        f"{passes_in_words(point.passes)}: {height:.2f} %, {point.speedup:.1f}x, {point.size_bytes / 1e6:.1f} MB",
        "baseline" if first else "candidate" if chosen else "past",
        on_front, filled=not point.misses,
        named=first or chosen or point.number == report.nearest,
    )  # fmt: skip
