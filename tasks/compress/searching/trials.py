"""The tries of a search: each a sequence of passes that is built, answers rows of `select` and is timed.

What is built, answered and timed with comes as functions (`Tools`); what the minutes do not reach for is left, and what
fails is noted. Decides nothing of what is tried.
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tasks.compress.searching.choose import Bar, loss_of, margin_misses
from tasks.compress.searching.meter import Meter
from tasks.compress.searching.report import Point, State, passes_in_words
from tasks.compress.searching.sequences import Passes
from tasks.errors import ArtifactError, RatchetError, UserError
from tasks.measure.gate.limits import find_limit_flaw, limit_tests, limits_set
from tasks.progress import Stopped, report_progress
from tasks.records import Candidate, Speed
from tasks.specs import Limits

log = logging.getLogger(__name__)

# Of one sequence; what stands in the way of all of them is raised. Libraries that export and quantise raise the last
# two for a graph that they cannot work on.
FAILS = (UserError, ArtifactError, RuntimeError, ValueError)
SAID = 300  # characters of what a library says of its error
CLOSING = 0.1  # the share of the minutes that is kept for the last timing and judging


@dataclass(frozen=True)
class Answers:
    """What a model answers on rows of `select`, in the order in which parts of them are taken."""

    scores: np.ndarray  # [rows], in [0, 1]
    outputs: np.ndarray  # [rows], texts


@dataclass(frozen=True)
class Tools:
    """What a search works with."""

    build: Callable[[Passes], Candidate]  # of no passes: the torch model that all begin with
    answer: Callable[[Candidate, int], Answers]  # on so many rows of select: the first of an order that stays
    time: Callable[[Sequence[Candidate], bool], Sequence[Speed]]  # in turn in one process; True: with more samples
    judge: Callable[[Candidate], tuple[str, ...]]  # what the gate says against it on all of select; empty: nothing


@dataclass(eq=False)
class Trial:
    """One sequence of passes and what is known of it so far."""

    number: int
    passes: Passes
    rung: int
    state: State = "measured"
    message: str = ""
    candidate: Candidate | None = None
    answers: Answers | None = None
    speed: Speed | None = None
    speedup: float | None = None
    seconds: float = 0.0
    objections: tuple[str, ...] = ()  # the gate's

    @property
    def rows(self) -> int:
        """Rows of `select` that it was scored on."""
        return 0 if self.answers is None else len(self.answers.scores)


@dataclass
class Trials:
    """All tries of a search, in the order they were asked for; the first is the model before the first pass."""

    name: str
    tools: Tools
    meter: Meter
    minutes: float
    bar: Bar
    limits: Limits
    known: dict[Passes, Trial] = field(default_factory=dict)
    built: dict[Passes, Candidate] = field(default_factory=dict)
    broken: dict[Passes, str] = field(default_factory=dict)

    @property
    def origin(self) -> Trial:
        """The model before the first pass."""
        return self.known[()]

    def begin(self, rows: int) -> None:
        """Build the model before the first pass and let it answer; what it cannot do ends the search.

        Raises:
            RatchetError: it cannot be built, or does not answer.
        """
        trial = Trial(0, (), 0)
        trial.candidate = self._run("build", (), partial(self.tools.build, ()), trial)
        trial.answers = self._run(f"answer {rows}", (), partial(self.tools.answer, trial.candidate, rows), trial)
        trial.speedup = 1.0
        self.known[()] = trial

    def left_s(self, reserve: float = CLOSING) -> float:
        """Return the seconds that are left beside the share of the minutes that is kept for later."""
        return 60 * self.minutes * (1 - reserve) - self.meter.spent

    def attempt(self, passes: Passes, rung: int, rows: int, reserve: float = CLOSING) -> Trial:
        """Return the try of the passes, built and scored on so many rows if the minutes reach for it.

        Args:
            reserve: the share of the minutes that it may not touch.
        """
        trial = self.known.setdefault(passes, Trial(len(self.known), passes, rung))
        trial.rung = max(trial.rung, rung)
        spent = trial.rows > 0 and self.left_s(0.0) < 0  # what it was scored on so far has to do
        if trial.state == "failed" or trial.rows >= rows or spent:
            return trial
        trial.state, trial.message = "measured", ""
        try:
            if self._build(trial, reserve):
                self._answer(trial, rows)
        except FAILS as error:
            self._fail(trial, error)
        except Stopped as stop:
            trial.state, trial.message = "left", str(stop)
        log.info("compress %s: point %d, %s: %s", self.name, trial.number, passes_in_words(passes), _told(trial))
        report_progress(f"compress {self.name}: {passes_in_words(passes)}", *self._progress())
        return trial

    def _build(self, trial: Trial, reserve: float) -> bool:
        """Return whether the trial's model is there, pass by pass, so that each one's seconds are known."""
        ends = [trial.passes[: end + 1] for end in range(len(trial.passes))]
        broken = next((each for each in ends if each in self.broken), None)
        if broken is not None:
            trial.state, trial.message = "failed", self.broken[broken]
            return False
        need, left = self.meter.estimate(trial.passes, set(self.built)), self.left_s(reserve)
        if need > left:
            trial.state = "left"
            trial.message = f"its passes take about {need:.0f} s, and {max(0.0, left):.0f} s of the minutes are left"
            return False
        for passes in ends:
            if passes not in self.built:
                try:
                    self.built[passes] = self._run("build", passes, partial(self.tools.build, passes), trial)
                except FAILS as error:
                    self.broken[passes] = _reason(error)
                    raise
                self.meter.learn(_step("build", passes), passes)
        trial.candidate = self.built[trial.passes]
        return True

    def _answer(self, trial: Trial, rows: int) -> None:
        assert trial.candidate is not None
        work = partial(self.tools.answer, trial.candidate, rows)
        trial.answers = self._run(f"answer {rows}", trial.passes, work, trial)

    def time(self, trials: Sequence[Trial], thorough: bool = False) -> None:
        """Time the models in turn with the one before the first pass; what does not run in a process of its own fails.

        Those that are timed already are not timed again, unless thoroughly.
        """
        asked = [each for each in trials if each.state == "measured" and each.candidate and each.passes]
        asked = [each for each in asked if thorough or each.speed is None]
        if not asked:
            return
        candidates = [each.candidate for each in (self.origin, *asked) if each.candidate]
        step = f"time {thorough} " + " ".join(_step("", each.passes) for each in asked)
        try:
            speeds = self.meter.run(step, lambda: self.tools.time(candidates, thorough))
        except FAILS as error:
            if len(asked) == 1:
                self._fail(asked[0], error)
            else:
                for each in asked:
                    self.time([each], thorough)
            return
        self.origin.speed = speeds[0]
        for trial, speed in zip(asked, speeds[1:], strict=True):
            trial.speed, trial.speedup = speed, speedup(speed, speeds[0])
            log.info("compress %s: point %d: %.1fx", self.name, trial.number, trial.speedup)

    def judge(self, trial: Trial) -> bool:
        """Return whether the gate's tests on `select` say nothing against the trial's model."""
        assert trial.candidate is not None
        try:
            trial.objections = self._run("judge", trial.passes, partial(self.tools.judge, trial.candidate), trial)
        except FAILS as error:
            self._fail(trial, error)
        return trial.state == "measured" and not trial.objections

    def points(self) -> list[Point]:
        """Return what is known of every try, in their order."""
        return [self.point(trial) for trial in self.known.values()]

    def point(self, trial: Trial) -> Point:
        """Return what is known of a try."""
        made = Point(trial.number, trial.passes, trial.rung, trial.state, trial.message, trial.rows)
        found: dict[str, Any] = {**vars(made), "seconds": round(trial.seconds, 3)}
        if trial.candidate is not None:
            found["size_bytes"] = trial.candidate.size_bytes
        if trial.answers is not None:
            found |= self._compared(trial.answers)
        found["speedup"] = trial.speedup
        if trial.speed is not None:
            found |= {"latency_p99_ms": trial.speed.latency_p99_ms, "memory_bytes": trial.speed.peak_memory_bytes,
                      "cold_start_s": trial.speed.cold_start_s}  # fmt: skip
        point = Point(**found)
        return Point(**{**found, "misses": self._misses(point, trial)})

    def _compared(self, answers: Answers) -> dict[str, float]:
        """Return the score of answers and what they lose against those before the first pass."""
        assert self.origin.answers is not None
        count = len(answers.scores)
        before = self.origin.answers.scores[:count]
        loss = loss_of(answers.scores, before, self.bar)
        same = answers.outputs == self.origin.answers.outputs[:count]
        return {"score": float(answers.scores.mean()), "loss": loss.value, "loss_high": loss.high,
                "chance": loss.chance, "agreement": float(np.mean(same))}  # fmt: skip

    def _misses(self, point: Point, trial: Trial) -> tuple[str, ...]:
        if point.loss is None or not point.passes:
            return ()
        over = [test.detail for test in limit_tests(trial.speed, self.limits) if test.outcome == "fail"]
        flaw = find_limit_flaw(trial.speed, self.limits) if trial.speed and limits_set(self.limits) else None
        return (*margin_misses(point, self.bar), *over, *([flaw] if flaw else ()), *trial.objections)

    def _run(self, what: str, passes: Passes, work: Callable[[], Any], trial: Trial) -> Any:
        step = _step(what, passes)
        try:
            return self.meter.run(step, work)
        finally:
            trial.seconds += self.meter.seconds.get(step, 0.0)

    def _fail(self, trial: Trial, error: Exception) -> None:
        trial.state, trial.message = "failed", _reason(error)
        if not isinstance(error, RatchetError):
            log.warning("compress %s: point %d failed", self.name, trial.number, exc_info=error)

    def _progress(self) -> tuple[int, int]:
        whole = max(1, round(60 * self.minutes))
        return min(round(self.meter.spent), whole - 1), whole


def speedup(speed: Speed, origin: Speed) -> float:
    """Return how many times as fast a model is: the geometric mean over the blocks that were timed in turn."""
    pairs = zip(speed.block_seconds, origin.block_seconds, strict=True)
    return math.exp(float(np.mean([math.log(before / after) for after, before in pairs])))


def _reason(error: Exception) -> str:
    """Return why a sequence failed in one line; what a library says is told with the kind of its error."""
    if isinstance(error, RatchetError):
        return str(error)
    said = " ".join(str(error).split())[:SAID]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _step(what: str, passes: Passes) -> str:
    return f"{what} {json.dumps([asdict(method) for method in passes], sort_keys=True)}"


def _told(trial: Trial) -> str:
    if trial.state != "measured" or trial.answers is None:
        return f"{trial.state}: {trial.message}"
    return f"{100 * trial.answers.scores.mean():.2f} % of {trial.rows} rows in {trial.seconds:.0f} s"
