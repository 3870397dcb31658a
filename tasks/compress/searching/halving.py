"""The search over sequences of compression passes: successive halving (Jamieson and Talwalkar 2016), cheap ones first.

Rung 0 serves the model as it is in every way the spec allows, asks without any training what each change of its shape
would cost, and puts a cascade in front of the best of these. Later rungs train many shapes shortly, give the better
third more training and more rows, try the best in other runtimes, and put cascades in front; what is clearly faster
than the best but loses too much alone answers between the two. At the end those that may be chosen are timed together,
and the gate's tests on `select` have a say. Knows no model: see `Tools`.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.compress.methods import Cascade
from tasks.compress.searching.choose import GOOD, Bar, is_served, order_of_choice, promise, shortfall
from tasks.compress.searching.front import pareto_front
from tasks.compress.searching.meter import Meter
from tasks.compress.searching.report import CompressReport, Point, passes_in_words
from tasks.compress.searching.sequences import (
    LONG,
    Passes,
    cascaded,
    longer,
    parts_of,
    probes,
    stacked,
    starts,
    tails,
    variants,
    without_cascade,
)
from tasks.compress.searching.shape import Shape
from tasks.compress.searching.spec import CompressSearch
from tasks.compress.searching.trials import CLOSING, Tools, Trial, Trials
from tasks.compress.sequence import TRAINING
from tasks.measure.gate.limits import shares_over
from tasks.progress import report_progress
from tasks.specs import Limits

log = logging.getLogger(__name__)

PART, LEAST_ROWS = 4, 200  # the first rungs are scored on a quarter of the rows, and on no fewer than this
KEPT = 3  # one in so many goes on to the next rung
TRAININGS = 2  # how often the survivors are trained on
TRAINING_RESERVE = 0.3  # the share of the minutes that trainings leave to the rungs after them
VARIED, FRONTED, TIMED, JUDGED = 2, 3, 6, 4  # how many of the best are varied, get cascades, are timed again, judged
STACKED = 2  # how often three stages are tried
CLEARLY = 2.5  # times as fast the middle one has to be: of what n-grams leave it answers about half, and all costs it
PLAIN, PROBED, SHORTLY, MORE, SERVED, CASCADES = range(6)  # the rungs


@dataclass(frozen=True)
class Asked:
    """What a search is about."""

    name: str  # of the lever
    spec: CompressSearch
    shape: Shape
    rows: int  # of select
    train_rows: int
    bar: Bar
    minutes: float  # of the spec, or what the iteration leaves
    own: Passes = ()  # those of the recipe so far
    limits: Limits = field(default_factory=Limits)
    machine: tuple[str, ...] = ()


def search(asked: Asked, tools: Tools, meter: Meter | None = None) -> CompressReport:
    """Return what the search tried and chose.

    Raises:
        RatchetError: the model before the first pass does not answer, or what stands in the way of every sequence.
    """
    meter = meter or Meter(asked.shape, asked.train_rows)
    trials = Trials(asked.name, tools, meter, asked.minutes, asked.bar, asked.limits)
    trials.begin(asked.rows)
    climbing = _Rungs(asked, trials)
    climbing.serve_plainly()
    climbing.probe()
    climbing.cascade_early()
    climbing.train()
    climbing.vary()
    climbing.cascade()
    climbing.stack()
    return _close(asked, trials)


@dataclass
class _Rungs:
    """The rungs of one search."""

    asked: Asked
    trials: Trials

    @property
    def part(self) -> int:
        """How many rows the first rungs are scored on."""
        return min(self.asked.rows, max(LEAST_ROWS, self.asked.rows // PART))

    def serve_plainly(self) -> None:
        """Serve the model as it is in every way, and as the recipe serves it so far."""
        own = [self.asked.own] if self.asked.own and parts_of(self.asked.own)[1] else []
        self._rung(dict.fromkeys([*tails(self.asked.spec), *own]), PLAIN, self.part)

    def probe(self) -> None:
        """Ask what each change of the shape costs in answers, untrained and in PyTorch, which needs no export."""
        for passes in probes(self.asked.spec, self.asked.shape):
            self.trials.attempt(passes, PROBED, self.part, TRAINING_RESERVE)

    def cascade_early(self) -> None:
        """Put a cascade in front of the best so far, so that there is something fast whatever trainings take."""
        for point in self._best()[:1]:
            self._rung(cascaded(self.asked.spec, without_cascade(point.passes))[:1], CASCADES, self.part)

    def train(self) -> None:
        """Train shapes shortly, and the better ones of them more."""
        tail = self._tail()
        if not tail:
            return
        agreements = {trial.passes: self.trials.point(trial).agreement or 0.0
                      for trial in self.trials.known.values() if trial.answers}  # fmt: skip
        first = [(*shaping, *tail) for shaping in starts(self.asked.spec, self.asked.shape, agreements)]
        alive = self._rung(first, SHORTLY, self.part, TRAINING_RESERVE)
        for number in range(TRAININGS):
            alive = self._rung([trial.passes for trial in self._survivors(alive)], MORE, self.asked.rows)
            tired = [each for each in alive if each in self._likely()]  # good enough: more training is not needed
            more = [self._longer(each, LONG * 2**number) for each in alive if each not in tired]
            alive = self._rung([passes for passes in more if passes], MORE, self.asked.rows, TRAINING_RESERVE)
            if not alive:
                return

    def vary(self) -> None:
        """Serve the best shapes in the other ways too."""
        for point in self._single()[:VARIED]:
            shaping, tail = parts_of(point.passes)
            others = [(*shaping, *other) for other in variants(self.asked.spec, tail)]
            self._rung([point.passes, *others], SERVED, self.asked.rows)

    def cascade(self) -> None:
        """Put cascades in front of the best served models."""
        plain = self._single()
        fronts = [cascaded(self.asked.spec, point.passes) for point in plain[:FRONTED]]
        in_turn = [passes for group in zip(*fronts, strict=True) for passes in group]  # the likeliest of each first
        self._rung([*(point.passes for point in plain[:FRONTED]), *in_turn], CASCADES, self.asked.rows)

    def stack(self) -> None:
        """Put what is clearly faster than the fastest that keeps the margin, but loses too much alone, before it.

        It answers what it is sure of, and n-grams what they are; behind it the model as it is may lose less in all.
        """
        plain = self._single()
        kept = [each for each in plain if (each.loss or 0.0) <= self.asked.bar.margin]
        rests = [*kept[:1], *(each for each in kept[1:] if not parts_of(each.passes)[0])][:STACKED]
        middle = next((each for each in plain if each not in kept and rests and _is_trained(each)
                       and (each.speedup or 0.0) >= CLEARLY * (kept[0].speedup or 0.0)), None)  # fmt: skip
        if middle is None:
            return
        front = next((method for point in order_of_choice(self.trials.points()) for method in point.passes
                      if isinstance(method, Cascade)), Cascade())  # fmt: skip
        made = [each for rest in rests
                for each in stacked(self.asked.spec, rest.passes, middle.passes, front.agreement)]  # fmt: skip
        self._rung(made, CASCADES, self.asked.rows)

    def _rung(self, sequences: Sequence[Passes] | dict[Passes, None], rung: int, rows: int,
              reserve: float = CLOSING) -> list[Trial]:  # fmt: skip
        """Return the tries of the sequences that came to be measured, timed in turn."""
        tried = [self.trials.attempt(passes, rung, rows, reserve) for passes in sequences]
        self.trials.time(tried)
        return [trial for trial in tried if is_served(self.trials.point(trial))]

    def _survivors(self, alive: Sequence[Trial]) -> list[Trial]:
        """Return the better third: those on the front of loss and speed first, then what promises most."""
        points = [self.trials.point(trial) for trial in alive]
        front = pareto_front([(-(point.loss or 0.0), point.speedup or 0.0) for point in points])
        ranked = sorted(range(len(alive)), key=lambda each: (each not in front, -promise(points[each], self.asked.bar)))
        return [alive[each] for each in ranked[: math.ceil(len(alive) / KEPT)]]

    def _longer(self, trial: Trial, epochs: int) -> Passes | None:
        shaping, tail = parts_of(trial.passes)
        trained = longer(self.asked.spec, shaping, epochs)
        return None if trained is None else (*trained, *tail)

    def _likely(self) -> list[Trial]:
        """Return the tries that the gate is likely to pass as they are."""
        chosen = {point.number for point in order_of_choice(self.trials.points()) if likely(point)}
        return [trial for trial in self.trials.known.values() if trial.number in chosen]

    def _tail(self) -> Passes:
        """Return the way of serving that the model as it is does best in; nothing where none works."""
        plain = [point for point in self._best() if not parts_of(point.passes)[0]]
        return parts_of(without_cascade(plain[0].passes))[1] if plain else ()

    def _single(self) -> list[Point]:
        """Return the best served points that are no cascades, in their order."""
        return [point for point in self._best() if without_cascade(point.passes) == point.passes]

    def _best(self) -> list[Point]:
        """Return the served points: those that keep the margin by speed, then the others by what they promise."""
        served = [point for point in self.trials.points() if is_served(point)]
        kept = [point for point in served if (point.loss or 0.0) <= self.asked.bar.margin]
        others = [point for point in served if point not in kept]
        return [
            *sorted(kept, key=lambda point: -(point.speedup or 0.0)),
            *sorted(others, key=lambda point: -promise(point, self.asked.bar)),
        ]


def _is_trained(point: Point) -> bool:
    return any(method.kind in TRAINING for method in point.passes)


def likely(point: Point) -> bool:
    """Return whether the gate is likely to pass the point."""
    return (point.chance or 0.0) >= GOOD


def _close(asked: Asked, trials: Trials) -> CompressReport:
    """Return the report, after those that may be chosen were scored on all rows, timed together and judged."""
    by_number = {trial.number: trial for trial in trials.known.values()}
    best = [by_number[point.number] for point in order_of_choice(trials.points())[:TIMED]]
    for trial in best:
        trials.attempt(trial.passes, trial.rung, asked.rows, reserve=0.0)
    trials.time(best, thorough=True)
    chosen = _choose(trials, {trial.number for trial in best})
    points = trials.points()
    served = [point for point in points if is_served(point)]
    merits = [(-(point.loss or 0.0), point.speedup or 0.0, -float(point.size_bytes)) for point in served]
    front = sorted((served[at] for at in pareto_front(merits)), key=lambda point: -(point.speedup or 0.0))
    near = None if chosen is not None else _nearest(served, by_number, asked)
    minutes = round(trials.meter.spent / 60, 3)
    report_progress(f"compress {asked.name}", 1, 1)
    sentence = _sentence(points, chosen, near, minutes)
    log.info("compress %s: %s", asked.name, sentence)
    return CompressReport(tuple(points), tuple(point.number for point in front), chosen, near, minutes, sentence,
                          asked.shape.drops, asked.machine)  # fmt: skip


def _choose(trials: Trials, timed: set[int]) -> int | None:
    """Return the number of the first point, best first, that the gate's tests on `select` say nothing against."""
    by_number = {trial.number: trial for trial in trials.known.values()}
    for point in [each for each in order_of_choice(trials.points()) if each.number in timed][:JUDGED]:
        if trials.judge(by_number[point.number]):
            return point.number
    return None


def _nearest(served: Sequence[Point], trials: dict[int, Trial], asked: Asked) -> int | None:
    """Return the number of the point that came nearest to being chosen, the faster one of equals."""

    def far(point: Point) -> tuple[float, float]:
        return (shortfall(point, asked.bar, shares_over(trials[point.number].speed, asked.limits)),
                -(point.speedup or 0.0))  # fmt: skip

    missed = [point for point in served if point.misses] or served  # the others were not judged
    return min(missed, key=far).number if missed else None


def _sentence(points: Sequence[Point], chosen: int | None, near: int | None, minutes: float) -> str:
    """Return the search in one sentence."""
    counts = {state: sum(point.state == state for point in points) for state in ("failed", "left")}
    tried = f"{len(points) - 1} sequences in {minutes:.1f} min"
    tried += "".join(f", {count} {state}" for state, count in counts.items() if count)
    by_number = {point.number: point for point in points}
    if chosen is not None:
        found = by_number[chosen]
        return (f"search: {passes_in_words(found.passes)}: {found.speedup:.1f}x as fast, "
                f"{_lost(found)}, {found.size_bytes / 1e6:.1f} MB ({tried})")  # fmt: skip
    if near is None:
        why = next((point.message for point in points if point.state != "measured"), "there is nothing to try")
        return f"search: no sequence came to be measured ({tried}); the first one: {why}"
    found = by_number[near]
    misses = "; ".join(found.misses) or "it was not judged"
    return (f"search: nothing kept margin and limits, so nothing is proposed; the nearest, "
            f"{passes_in_words(found.passes)}: {misses} ({tried})")  # fmt: skip


def _lost(point: Point) -> str:
    assert point.loss is not None and point.loss_high is not None
    return f"{-100 * point.loss:+.2f} points on {point.rows} rows ({-100 * point.loss_high:+.2f} at worst)"
