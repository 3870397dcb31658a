"""What a search over compression passes tried, and what each try measured: plain records. Searches nothing."""

from dataclasses import dataclass, field
from typing import Literal

from tasks.compress.methods import CompressPass

State = Literal["measured", "failed", "left"]  # left: the minutes were spent before it was built


@dataclass(frozen=True)
class Point:
    """One sequence of passes, and what its model measured in the runtime that will serve it."""

    number: int  # in the order they were asked for, from 0
    passes: tuple[CompressPass, ...]
    rung: int  # of the halving, from 0: how far it came
    state: State
    message: str = ""  # why it failed, or what keeps it from being chosen
    rows: int = 0  # of select that it was scored on
    score: float | None = None  # mean on these rows
    loss: float | None = None  # the mean score of the model before the first pass on the same rows, less this
    loss_high: float | None = None  # upper end of the loss's one-sided interval at the gate's level
    speedup: float | None = None  # seconds per text of the model before the first pass over its own, both at batch 1
    latency_p99_ms: float | None = None
    size_bytes: int = 0
    memory_bytes: int = 0
    seconds: float = 0.0  # that building and measuring took
    misses: tuple[str, ...] = ()  # the limits and margins that it does not keep, each with its numbers


@dataclass(frozen=True)
class CompressReport:
    """One search: its points, those that none of the others beats in score, speed and size, and the choice."""

    points: tuple[Point, ...]
    front: tuple[int, ...]  # numbers of the Pareto front, the fastest first
    chosen: int | None  # None: nothing kept margin and limits, so nothing is promoted
    nearest: int | None  # the one that came nearest, where none was chosen
    minutes: float
    sentence: str
    machine: tuple[str, ...] = field(default_factory=tuple)  # instructions of the CPU that figures depend on
