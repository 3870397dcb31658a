"""What a search over compression passes tried, and what each try measured: plain records. Searches nothing."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from tasks.compress.methods import CompressPass

TOLD = {  # what is said of a pass even where it is as usual
    "openvino": ("precision",), "tensorrt": ("precision",), "distil": ("student",), "cascade": ("agreement",),
    "weight_only": ("bits",), "factorise": ("keep",),
}  # fmt: skip
State = Literal["measured", "failed", "left"]  # left: the minutes did not reach for it


@dataclass(frozen=True)
class Point:
    """One sequence of passes, and what its model measured in the runtime that will serve it."""

    number: int  # in the order they were asked for, from 0, which is the model before the first pass
    passes: tuple[CompressPass, ...]
    rung: int  # of the halving, from 0: how far it came
    state: State
    message: str = ""  # why it failed, or what keeps it from being chosen
    rows: int = 0  # of select that it was scored on
    score: float | None = None  # mean on these rows
    loss: float | None = None  # the mean score of the model before the first pass on the same rows, less this
    loss_high: float | None = None  # upper end of the loss's one-sided interval at the gate's level
    agreement: float | None = None  # share of these rows that it answers as the model before the first pass does
    chance: float | None = None  # that golden's rows show its loss to be below the margin, as far as these rows tell
    speedup: float | None = None  # seconds per text of the model before the first pass over its own, both at batch 1
    latency_p99_ms: float | None = None
    size_bytes: int = 0
    memory_bytes: int = 0
    cold_start_s: float | None = None
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
    layers: tuple[float, ...] = ()  # share of answers that change where one layer is left out, from the bottom up
    machine: tuple[str, ...] = field(default_factory=tuple)  # instructions of the CPU that figures depend on

    @property
    def passes(self) -> tuple[CompressPass, ...] | None:
        """The passes of the chosen point; None where there is none."""
        return next((point.passes for point in self.points if point.number == self.chosen), None)


def passes_in_words(passes: Sequence[CompressPass]) -> str:
    """Return passes as a person reads them, what is as usual left out: `distil (student 0 5), onnx, int8`."""
    return ", ".join(map(_in_words, passes)) or "as it was"


def _in_words(method: Any) -> str:
    usual = {each.name: each.default for each in fields(method) if each.default is not MISSING}
    set_here = {name: getattr(method, name) for name in usual if name != "kind"}
    told = TOLD.get(method.kind, ())
    shown = [f"{name} {_value(value)}" for name, value in set_here.items() if value != usual[name] or name in told]
    return f"{method.kind} ({', '.join(shown)})" if shown else str(method.kind)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        if value and is_dataclass(value[0]):
            return f"[{passes_in_words(value)}]"
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
