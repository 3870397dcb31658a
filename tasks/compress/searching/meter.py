"""What the steps of a search took, and what further ones will take: measured seconds by kind of pass. Runs none.

Seconds are kept by step, so that a search that was killed and goes on counts what it spent before: it leaves out the
same sequences as one that was not killed.
"""

import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from tasks.compress.methods import Cascade, CompressPass, DistilInto, Recover
from tasks.compress.searching.sequences import Passes, depth
from tasks.compress.searching.shape import Shape
from tasks.compress.sequence import TRAINING

T = TypeVar("T")

GUESSES = {  # seconds of a pass that was not measured yet, on two cores
    "onnx": 15.0, "openvino": 20.0, "tensorrt": 60.0, "int8": 5.0, "int8_static": 20.0, "weight_only": 10.0,
    "trim_vocabulary": 5.0, "prune": 10.0, "shrink": 15.0, "factorise": 30.0, "window": 5.0, "cascade": 40.0,
    "stage": 10.0,
}  # fmt: skip
ROWS_PER_S = 600.0  # that training takes through one layer, before it was measured
AROUND = 0.5  # what embeddings, head and data cost a training, in layers
SPARE = 1.15  # by which an estimate is raised


@dataclass
class Meter:
    """The seconds of a search, in which every step is measured once."""

    shape: Shape
    rows: int  # of train
    seconds: MutableMapping[str, float] = field(default_factory=dict)  # by step; kept between processes
    clock: Callable[[], float] = time.monotonic
    spent: float = 0.0
    _rates: dict[str, list[float]] = field(default_factory=dict)  # seconds for each unit of work, by kind

    def run(self, step: str, work: Callable[[], T]) -> T:
        """Return what the work gives; its seconds count, or those that the step took when it was first done."""
        started = self.clock()
        try:
            made = work()
        except Exception:  # not where the process is ended: then the step was not done
            self._count(step, started)
            raise
        self._count(step, started)
        return made

    def _count(self, step: str, started: float) -> None:
        self.spent += self.seconds.setdefault(step, round(self.clock() - started, 3))

    def learn(self, step: str, passes: Passes) -> None:
        """Note that the step was the last of the passes."""
        kind, units = self._work(passes)
        self._rates.setdefault(kind, []).append(self.seconds[step] / units)

    def estimate(self, passes: Passes, built: set[Passes]) -> float:
        """Return the seconds that building the passes will take, of which some beginnings are built already."""
        ends = [passes[: end + 1] for end in range(len(passes))]
        return SPARE * sum(self._estimate_last(each) for each in ends if each not in built)

    def _estimate_last(self, passes: Passes) -> float:
        kind, units = self._work(passes)
        known = self._rates.get(kind)
        if known:
            return units * median(known)
        return units * self.rows / ROWS_PER_S if kind == "training" else GUESSES[kind]

    def _work(self, passes: Passes) -> tuple[str, float]:
        """Return the kind and the amount of work of the last pass: of a training, epochs times layers."""
        last: CompressPass = passes[-1]
        if isinstance(last, Cascade) and isinstance(last.stage, tuple):
            return "stage", 1.0  # which was built before
        if last.kind not in TRAINING:
            return last.kind, 1.0
        assert isinstance(last, DistilInto | Recover)
        return "training", last.epochs * (1 + last.augment) * (depth(passes, self.shape) + AROUND)
