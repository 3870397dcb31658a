"""Figures as SVG text: intervals, estimates over iterations, a Pareto front, bars. Plain numbers in, text out.

Every figure is 400 units wide, so that it reads on a phone and, two beside each other, on a desk; it scales with its
frame and follows the reader's light or dark scheme. Colours are those of M. Okabe and K. Ito (2008), which colour-blind
readers tell apart; shapes and fillings say the same again. What cannot be drawn (no data, not finite) gives "".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from flows.scales import Scale, scale_of, whole_ticks

WIDTH = 400
LEFT, RIGHT = 46, 14  # margins of plots with a vertical axis
EDGE = 8  # margin of plots without one
ROW = 42
NAME_CHARS = 28

STYLE = """
.fig { --ink: #1b2430; --soft: #566270; --line: #dde3ea; --back: #fff; --blue: #0072b2; --orange: #c25a00;
       --grey: #6b7785; --green: #00795a; display: block; width: 100%; height: auto; background: var(--back); }
.fig text { font: 12px system-ui, sans-serif; fill: var(--ink); stroke: var(--back); stroke-width: 3px;
  stroke-linejoin: round; paint-order: stroke; }
@media (max-width: 480px) { .fig text { font-size: 13px; } }
.fig .soft, .fig .tick { fill: var(--soft); } .fig .tick { font-size: 11px; } .fig .end { text-anchor: end; }
.fig .mid { text-anchor: middle; } .fig .name { font-weight: 600; } .fig .grid { stroke: var(--line); }
.fig .zero { stroke: var(--soft); stroke-dasharray: 4 3; } .fig .trail { fill: none; stroke-width: 1.5; opacity: .6; }
.fig .bar { stroke-width: 3; stroke-linecap: round; opacity: .5; } .fig .bound { stroke: var(--ink); stroke-width: 2; }
.fig .dot { stroke-width: 2; } .fig .share { stroke: none; } .fig .bubble { fill-opacity: .3; stroke-width: 1.5; }
.fig .candidate { stroke: var(--blue); fill: var(--blue); }
.fig .champion { stroke: var(--orange); fill: var(--orange); }
.fig .baseline, .fig .past { stroke: var(--grey); fill: var(--grey); }
.fig .good { stroke: var(--green); fill: var(--green); }
.fig .hollow { fill: var(--back); } .fig .front { fill: none; stroke: var(--green); stroke-width: 1.5; }
@media (prefers-color-scheme: dark) { .fig { --ink: #e6ebf1; --soft: #9aa7b5; --line: #303a46; --back: #171d24;
  --blue: #56b4e9; --orange: #e69f00; --grey: #9aa7b5; --green: #2fc79a; } }
"""


@dataclass(frozen=True)
class Mark:
    """One estimate with its interval."""

    name: str
    value: float
    low: float
    high: float
    at: int = 0  # the iteration, in figures over time
    shown: str = ""  # the numbers as text
    kind: str = "candidate"  # baseline, champion, candidate, past, good: the colour
    filled: bool = True
    bound: float | None = None  # what the lower end must clear
    group: str = ""  # marks of one group are joined, in figures over time


@dataclass(frozen=True)
class Bubble:
    """One model between two figures of merit; `area` in any unit, the same in all bubbles."""

    name: str
    x: float
    y: float
    area: float
    shown: str
    kind: str = "past"
    on_front: bool = False
    filled: bool = True
    named: bool = True  # beside it; else only in its title


def intervals(title: str, marks: Sequence[Mark], axis: str, line: float | None = None, log: bool = False) -> str:
    """Return a figure with one line per estimate: name, numbers, and the interval below them."""
    known = [mark for mark in marks if _drawable(mark)]
    if not known:
        return ""
    ends = [end for mark in known for end in (mark.low, mark.value, mark.high, mark.bound) if end is not None]
    scale = scale_of([*ends, *([] if line is None else [line])], EDGE + 4, WIDTH - EDGE - 4, log)
    bottom = ROW * len(known) + 4
    parts = [*_ground(scale, bottom, axis, signed=line == 0), *_zero(scale, line, bottom)]
    for row, mark in enumerate(known):
        parts += [*_caption(mark.name, mark.shown, ROW * row + 16), *_interval(scale, mark, ROW * row + 30)]
    return _svg(title, bottom + 36, parts)


def bars(title: str, rows: Sequence[tuple[str, float, str]], kind: str = "candidate") -> str:
    """Return a figure with one bar per (name, value from 0, numbers as text), the longest as wide as the figure."""
    known = [row for row in rows if math.isfinite(row[1]) and row[1] >= 0]
    longest = max((value for _, value, _ in known), default=0.0)
    if longest == 0:
        return ""
    parts = []
    for number, (name, value, shown) in enumerate(known):
        width = (WIDTH - 2 * EDGE) * value / longest
        parts += _caption(name, shown, 36 * number + 14)
        parts.append(
            f'<rect class="share {kind}" x="{EDGE}" y="{36 * number + 20}" width="{width:.1f}" height="7" rx="2"/>'
        )
    return _svg(title, 36 * len(known) + 4, parts)


def over_time(
    title: str, panels: Sequence[tuple[str, Sequence[Mark]]], axis: str, line: float | None = None, height: int = 76,
    below: str = "iteration",
) -> str:  # fmt: skip
    """Return a figure with one panel per (name, estimates), all over one axis, `below`, and with one scale."""
    drawn = [(name, [mark for mark in marks if _drawable(mark)]) for name, marks in panels]
    drawn = [(name, sorted(marks, key=lambda mark: mark.at)) for name, marks in drawn if marks]
    everything = [mark for _, marks in drawn for mark in marks]
    if not everything:
        return ""
    first, last = min(mark.at for mark in everything), max(mark.at for mark in everything)
    across = Scale(first - 0.5, last + 0.5, LEFT, WIDTH - RIGHT)
    ends = [end for mark in everything for end in (mark.low, mark.value, mark.high)]
    ends += [] if line is None else [line]
    parts, top = [f'<text class="soft" x="{EDGE}" y="14">{escape(axis)}</text>'], 22
    for name, marks in drawn:
        up = scale_of(ends, top + 20 + height, top + 20)
        parts += [*_panel(name, up, line, top), *_marks_over_time(marks, across, up)]
        top += height + 30
    parts += [_text(across.place(tick), top + 10, str(tick), "tick mid") for tick in whole_ticks(first, last)]
    parts.append(_text(WIDTH - RIGHT, top + 27, below, "soft end"))
    return _svg(title, top + 34, parts)


def pareto(title: str, bubbles: Sequence[Bubble], across: str, up: str) -> str:
    """Return a figure of models between time (to the left is better, logarithmic) and quality, with the front drawn."""
    known = [
        bubble for bubble in bubbles if _finite(bubble.x, bubble.y, bubble.area) and min(bubble.x, bubble.area) > 0
    ]
    if not known:
        return ""
    bottom, largest = 270, max(bubble.area for bubble in known)
    x = scale_of([1.0, *(bubble.x for bubble in known)], LEFT + 14, WIDTH - RIGHT - 14, log=True)
    y = scale_of([bubble.y for bubble in known], bottom - 16, 40)
    parts = [_text(EDGE, 14, up, "soft"), *_ground(x, bottom, across), *_side(y, LEFT)]
    front = sorted((bubble.x, bubble.y) for bubble in known if bubble.on_front)
    parts += [f'<path class="front" d="{_steps([(x.place(a), y.place(b)) for a, b in front])}"/>'] if front else []
    places = []
    for bubble in sorted(known, key=lambda bubble: -bubble.area):
        radius = max(3.0, 15 * math.sqrt(bubble.area / largest))
        places.append((x.place(bubble.x), y.place(bubble.y), radius, bubble))
        kind = bubble.kind + ("" if bubble.filled else " hollow")
        parts.append(
            f'<circle class="bubble {kind}" cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="{radius:.1f}">'
            f"<title>{escape(f'{bubble.name}: {bubble.shown}')}</title></circle>"
        )
    return _svg(title, bottom + 36, [*parts, *_labels(places, bottom)])


def standalone(figure: str) -> str:
    """Return a figure as a file of its own, with its styles and the namespace that SVG readers ask for."""
    head, rest = figure.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{escape(STYLE, quote=False)}</style>{rest}'


def _drawable(mark: Mark) -> bool:
    return _finite(mark.value, mark.low, mark.high, mark.bound or 0.0)


def _finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    shown = escape(title)
    return (f'<svg class="fig" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{shown}">'
            f"<title>{shown}</title>{''.join(parts)}</svg>")  # fmt: skip


def _text(x: float, y: float, text: str, kinds: str = "") -> str:
    return f'<text class="{kinds}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _caption(name: str, shown: str, y: float) -> list[str]:
    """Return the name at the left and the numbers at the right of a line; a long name is cut."""
    short = name if len(name) <= NAME_CHARS else name[: NAME_CHARS - 1] + "…"
    return [_text(EDGE, y, short, "name"), _text(WIDTH - EDGE, y, shown, "soft end")]


def _ground(scale: Scale, bottom: float, axis: str, signed: bool = False) -> list[str]:
    """Return the horizontal axis: grid lines up from it, ticks below, and what it shows."""
    ticks = scale.ticks()
    lines = [_line("grid", scale.place(tick), 4, scale.place(tick), bottom) for tick in ticks]
    texts = [_text(scale.place(tick), bottom + 14, _tick(tick, signed), "tick mid") for tick in ticks]
    return [*lines, *texts, _text(WIDTH - EDGE, bottom + 29, axis, "soft end")]


def _side(scale: Scale, left: float, signed: bool = False) -> list[str]:
    """Return the vertical axis: grid lines to the right of it and ticks beside it."""
    about = max(2, round(abs(scale.end - scale.start) / 36))
    return [
        part
        for tick in scale.ticks(about)
        for part in (
            _line("grid", left, scale.place(tick), WIDTH - RIGHT, scale.place(tick)),
            _text(left - 6, scale.place(tick) + 4, _tick(tick, signed), "tick end"),
        )
    ]


def _tick(value: float, signed: bool) -> str:
    return f"{value:+.4g}" if signed and value else f"{value:.4g}"


def _zero(scale: Scale, line: float | None, bottom: float) -> list[str]:
    return [] if line is None else [_line("zero", scale.place(line), 4, scale.place(line), bottom)]


def _interval(scale: Scale, mark: Mark, y: float) -> list[str]:
    bound = (
        [] if mark.bound is None else [_line("bound", scale.place(mark.bound), y - 6, scale.place(mark.bound), y + 6)]
    )
    bar = _line(f"bar {mark.kind}", scale.place(mark.low), y, scale.place(mark.high), y)
    return [bar, *bound, _dot(mark, scale.place(mark.value), y, 5)]


def _dot(mark: Mark, x: float, y: float, radius: float) -> str:
    hollow = "" if mark.filled else " hollow"
    title = escape(f"{mark.name}: {mark.shown}" if mark.shown else mark.name)
    return (f'<circle class="dot {mark.kind}{hollow}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{title}</title>'
            "</circle>")  # fmt: skip


def _panel(name: str, up: Scale, line: float | None, top: float) -> list[str]:
    zero = [] if line is None else [_line("zero", LEFT, up.place(line), WIDTH - RIGHT, up.place(line))]
    return [_text(LEFT, top + 10, name, "name"), *_side(up, LEFT, signed=line == 0), *zero]


def _marks_over_time(marks: Sequence[Mark], across: Scale, up: Scale) -> list[str]:
    trails = [
        _line(f"trail {one.kind}", across.place(one.at), up.place(one.value), across.place(two.at), up.place(two.value))
        for one, two in pairwise(marks)
        if one.group and one.group == two.group
    ]
    bars = [
        _line(f"bar {mark.kind}", across.place(mark.at), up.place(mark.low), across.place(mark.at), up.place(mark.high))
        for mark in marks
    ]
    return [*trails, *bars, *(_dot(mark, across.place(mark.at), up.place(mark.value), 4) for mark in marks)]


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Return the path of the front: what no known model beats lies on or below it."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    return path + "".join(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])


def _labels(places: Sequence[tuple[float, float, float, Bubble]], bottom: float) -> list[str]:
    """Return the bubbles' names beside them, moved down where one would lie on another or on a bubble.

    A name that finds no place above the axis is left to the bubble's title.
    """
    taken = [(x - radius, x + radius, y, radius + 4) for x, y, radius, _ in places]  # from, to, middle, half height
    parts = []
    for x, y, radius, bubble in sorted(places, key=lambda place: place[1]):
        wide, middle = 6.8 * len(bubble.name), y
        left = x + radius + 3 if x + radius + 3 + wide < WIDTH - EDGE else x - radius - 3 - wide
        while bubble.named and any(abs(middle - other) < half + 4 and left < end and start < left + wide
                  for start, end, other, half in taken):  # fmt: skip
            middle += 2
        if middle > bottom - 4 or not bubble.named:
            continue
        taken.append((left, left + wide, middle, 8))
        parts.append(_text(left, middle + 4, bubble.name, "tick" if bubble.kind == "past" else "name"))
    return parts
