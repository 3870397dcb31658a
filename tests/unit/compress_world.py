"""A made-up world of compressed models for tests of the search: what passes cost, lose and save is a formula."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.compress.searching.choose import Bar
from tasks.compress.searching.halving import Asked, search
from tasks.compress.searching.meter import Meter
from tasks.compress.searching.report import CompressReport, passes_in_words
from tasks.compress.searching.sequences import Passes
from tasks.compress.searching.shape import Shape
from tasks.compress.searching.spec import CompressSearch
from tasks.compress.searching.trials import Answers, Tools
from tasks.errors import ArtifactError, ModelError
from tasks.records import Candidate, Speed
from tests.unit.measured import speed

LAYERS, ROWS = 6, 2000
SECONDS = {"onnx": 8.0, "openvino": 12.0, "int8": 3.0, "int8_static": 10.0, "cascade": 30.0, "shrink": 10.0,
           "factorise": 15.0, "trim_vocabulary": 2.0, "prune": 5.0, "weight_only": 4.0}  # fmt: skip
EPOCH_S = 3.0  # for each layer


@dataclass
class World:
    """The models by the passes that make them, and a clock that building and measuring moves on."""

    now: float = 0.0
    harm: float = 0.0  # that serving in any form does to the mean score
    broken: tuple[str, ...] = ()  # kinds of passes that fail
    silent: tuple[str, ...] = ()  # kinds of passes whose models do not start in a process of their own
    objections: Callable[[Passes], tuple[str, ...]] = lambda passes: ()
    die_after: int = 10**9  # builds, after which the process is killed
    store: dict[Passes, Candidate] = field(default_factory=dict)
    builds: list[Passes] = field(default_factory=list)
    answered: list[tuple[Passes, int]] = field(default_factory=list)
    measured: set[str] = field(default_factory=set)
    _by_uri: dict[str, Passes] = field(default_factory=dict)

    def build(self, passes: Passes) -> Candidate:
        """Return the model, which takes its seconds where it is not in the store."""
        for end in range(len(passes) + 1):
            part = passes[:end]
            if part in self.store:
                continue
            if len(self.builds) >= self.die_after:
                raise KeyboardInterrupt
            self.builds.append(part)
            if part:
                self.now += self._seconds(part)
                if part[-1].kind in self.broken:
                    raise ModelError(f"{part[-1].kind} does not work here")
            name = repr(part)
            self.store[part] = Candidate(name, hashlib.sha256(name.encode()).hexdigest(), "onnx", self.size(part))
            self._by_uri[name] = part
        return self.store[passes]

    def _seconds(self, passes: Passes) -> float:
        last = passes[-1]
        if last.kind in ("distil", "recover"):
            return EPOCH_S * last.epochs * (1 + last.augment) * (depth_of(passes) + 0.5)
        return SECONDS[last.kind]

    def answer(self, candidate: Candidate, rows: int) -> Answers:
        """Return its answers: right on 93 % of the rows before the first pass, on fewer by its loss after."""
        passes = self._by_uri[candidate.uri]
        self._once(f"answer {candidate.uri} {rows}", 0.5)
        self.answered.append((passes, rows))
        order = np.random.default_rng(0).permutation(ROWS)
        scores = np.ones(ROWS)
        scores[order[: round(0.07 * ROWS)]] = 0
        lost = max(0, round(ROWS * self.loss(passes)))
        scores[order[round(0.07 * ROWS) : round(0.07 * ROWS) + lost]] = 0
        outputs = np.where(scores == 1, "right", "wrong").astype(object)
        return Answers(scores[:rows], outputs[:rows])

    def time(self, candidates: Sequence[Candidate], thorough: bool) -> list[Speed]:
        """Return their speeds, all in one session."""
        self._once(f"time {[each.uri for each in candidates]} {thorough}", 2.0 * len(candidates))
        made = []
        for candidate in candidates:
            passes = self._by_uri[candidate.uri]
            if any(method.kind in self.silent for method in passes):
                raise ArtifactError(f"{passes_in_words(passes)}: does not load in a process of its own")
            blocks = tuple(self.seconds_per_text(passes) * (1 + 0.01 * (block % 3)) for block in range(10))
            p99 = 2000 * self.seconds_per_text(tuple(each for each in passes if each.kind != "cascade"))
            made.append(speed(blocks, latency_p99_ms=p99, size_bytes=candidate.size_bytes, cold_start_s=0.5))
        return made

    def judge(self, candidate: Candidate) -> tuple[str, ...]:
        """Return what the world's gate says."""
        return self.objections(self._by_uri[candidate.uri])

    def _once(self, step: str, seconds: float) -> None:
        if step not in self.measured:
            self.now += seconds
            self.measured.add(step)

    def loss(self, passes: Passes) -> float:
        """Return by how much the mean score falls."""
        loss = self.harm if passes else 0.0
        trained = [method for method in passes if method.kind in ("distil", "recover")]
        epochs = sum(method.epochs * (1 + method.augment) for method in trained)
        for method in passes:
            if method.kind == "distil":
                loss += 0.004 / len(method.student) + 0.08 / len(method.student) * math.exp(-epochs / 2.5)
            elif method.kind == "shrink":
                harm = 0.05 * method.layers + 0.1 * method.neurons + 0.08 * method.heads
                loss += harm * math.exp(-epochs)
            elif method.kind == "factorise":
                loss += 0.12 * math.exp(-epochs)
            loss += {"int8": 0.001, "int8_static": 0.006, "openvino": 0.0005}.get(method.kind, 0.0)
            loss += 0.05 * (1 - method.agreement) if method.kind == "cascade" else 0.0
        return loss

    def seconds_per_text(self, passes: Passes) -> float:
        """Return the mean seconds per text at batch 1."""
        seconds = 0.010 * depth_of(passes) / LAYERS
        for method in passes:
            seconds /= {"onnx": 2.0, "int8": 2.5, "int8_static": 2.4, "openvino": 6.0}.get(method.kind, 1.0)
            if method.kind == "factorise":
                seconds *= 0.6
            elif method.kind == "shrink":
                seconds *= 1 - 0.5 * method.neurons - 0.3 * method.heads
            elif method.kind == "cascade" and isinstance(method.stage, tuple):
                seconds = self.seconds_per_text(method.stage) + 0.15 * seconds
            elif method.kind == "cascade":
                seconds = seconds * (0.05 + 2 * (method.agreement - 0.93)) + 15e-6
        return seconds

    def size(self, passes: Passes) -> int:
        """Return the bytes on disk."""
        size = 20e6 + 11e6 * depth_of(passes)
        for method in passes:
            size *= 0.4 if method.kind == "trim_vocabulary" else 0.25 if "int8" in repr(method) else 1.0
            size += 5e6 if method.kind == "cascade" else 0.0
        return int(size)


def depth_of(passes: Passes) -> int:
    """Return the layers left."""
    layers = LAYERS
    for method in passes:
        layers = len(method.student) if method.kind == "distil" else layers
        layers -= method.layers if method.kind == "shrink" else 0
    return layers


def run(
    world: World, minutes: float = 30.0, known: dict[str, float] | None = None, **changes: object
) -> CompressReport:
    """Return the report of a search in the world."""
    shape = Shape(LAYERS)
    spec = changes.pop("spec", CompressSearch())
    asked = Asked("compact", spec, shape, ROWS, 10_000, Bar(0.01, 0.05, 3000), minutes)  # type: ignore[arg-type]
    meter = Meter(shape, 10_000, {} if known is None else known, clock=lambda: world.now)
    return search(replace(asked, **changes), Tools(world.build, world.answer, world.time, world.judge), meter)  # type: ignore[arg-type]
