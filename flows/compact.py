"""Running a search over compression passes: what it builds, answers and times with are the cached stages.

What is tried, and which of it is chosen, is `tasks.compress.searching`'s business. Each step is stored by content, and
what it took is noted beside the store, so that a search that was killed goes on where it was, with the minutes left
that it had.
"""

import json
import logging
import time
from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from flows.budget import budget
from flows.judge import measure, screening
from flows.outcome import Contender
from flows.project import Project
from tasks import stages
from tasks.build import compressed, fitted, training_rows
from tasks.compress.searching.choose import Bar
from tasks.compress.searching.halving import Asked, search
from tasks.compress.searching.meter import Meter
from tasks.compress.searching.report import CompressReport
from tasks.compress.searching.sequences import Passes
from tasks.compress.searching.shape import Shape, stored_shape
from tasks.compress.searching.trials import Answers, Tools
from tasks.data.rows import values
from tasks.given import Given, Origin
from tasks.levers import claims_of
from tasks.measure.gate.decide import decide, keep
from tasks.measure.machine import describe_machine
from tasks.measure.quality.scores import read_split, with_scores
from tasks.progress import Stopped, epochs_to
from tasks.records import Candidate, Snapshot, Speed
from tasks.specs import Lever
from tasks.store import cache_key

log = logging.getLogger(__name__)

THOROUGH = 1000  # samples of those that may be chosen, so that p99 can be told
LAYER_ROWS = 128  # of valid, on which each layer is left out


def compact(
    project: Project, best: Contender, lever: Lever, snapshot: Snapshot, given: Given, minutes: float | None = None
) -> CompressReport:
    """Return what a lever's search over passes found for the best recipe so far.

    Args:
        given: what the recipe is built with, and the texts that passes may learn from.
        minutes: what the iteration leaves it, where that is less than its own.

    Raises:
        ModelError: the torch model before the first pass cannot be made.
    """
    spec = lever.compress_search
    assert spec is not None
    allowed = spec.minutes if minutes is None else min(minutes, spec.minutes)
    job = _Job(project, best, lever, snapshot, _origin(project, best, snapshot, given), 60 * allowed)
    valid = values(read_split(snapshot, "valid"), "text")[:LAYER_ROWS]
    journal = Journal.open(project.state / "compress_search" / f"{job.key}.json")
    meter = Meter(Shape(1), job.origin.rows.rows, journal)
    shape = meter.shape = meter.run("shape", lambda: stored_shape(project.store, job.origin.model, valid))
    asked = Asked(
        lever.name, spec, shape, snapshot.rows["select"], job.origin.rows.rows, _bar(project, snapshot), allowed,
        best.recipe.compress, project.spec.gate.limits, describe_machine().instructions,
    )  # fmt: skip
    with epochs_to(job.watch):
        return search(asked, job.tools(), meter)


def _origin(project: Project, best: Contender, snapshot: Snapshot, given: Given) -> Origin:
    """Return the torch model that the recipe makes of the snapshot, and what it was made of."""
    model = fitted(stages, project.store, best.recipe, snapshot, given)
    rows = training_rows(stages, project.store, best.recipe, snapshot, given)
    return Origin(model, rows, snapshot, given.unlabelled)


def _bar(project: Project, snapshot: Snapshot) -> Bar:
    return Bar(project.spec.gate.margin, budget(project)["next_level"], snapshot.rows["golden"])


@dataclass(frozen=True)
class _Job:
    """What all steps of a search share."""

    project: Project
    best: Contender
    lever: Lever
    snapshot: Snapshot
    origin: Origin
    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> str:
        """What stands for all that the seconds of its steps depend on."""
        spec = self.lever.compress_search
        assert spec is not None
        return cache_key("compress", self.origin, self.snapshot, replace(spec, minutes=1.0), self.best.candidate)

    def watch(self, epoch: float, metrics: Mapping[str, float]) -> None:
        """End a training that goes on when the search's minutes are over.

        Raises:
            Stopped: they are.
        """
        if time.monotonic() - self.began > self.seconds:
            raise Stopped(f"stopped after epoch {epoch:g}: the search's minutes were spent")

    def tools(self) -> Tools:
        """Return the steps as functions."""
        return Tools(self._build, self._answer, self._time, self._judge)

    def _build(self, passes: Passes) -> Candidate:
        return compressed(stages, self.project.store, passes, self.origin)

    def _answer(self, candidate: Candidate, rows: int) -> Answers:
        found = stages.screen(self.project.store, candidate, self.snapshot, "select", rows)
        return Answers(np.array(found.scores), np.array(found.outputs, dtype=object))

    def _time(self, candidates: Sequence[Candidate], thorough: bool) -> list[Speed]:
        how = self.project.spec.benchmark
        timing = screening(self.project.spec, ("cost",))
        assert timing is not None
        if thorough:
            timing = replace(timing, samples=max(how.samples, THOROUGH))
        table = stages.benchmark(self.project.store, candidates, self.snapshot, "select", timing)
        return [table.speeds[candidate.digest] for candidate in candidates]

    def _judge(self, candidate: Candidate) -> tuple[str, ...]:
        """Return why a lever that makes the candidate of the best so far would be dropped; empty where it is kept."""
        spec, claims = self.project.spec.gate, claims_of(self.lever)
        timing = screening(self.project.spec, claims)
        cards = measure(stages, self.project, [candidate, self.best.candidate], self.snapshot, "select", timing)
        mine, its = (with_scores(card, self.snapshot.out_of_scope) for card in cards)
        verdict = decide(mine, its, None, claims, spec)
        return () if keep(verdict, claims, spec) else (verdict.reason.rstrip("."),)


class Journal(UserDict[str, float]):
    """Seconds by step, written to a file whenever one is added."""

    def __init__(self, path: Path, known: Mapping[str, float]) -> None:
        self._path = path
        self._save: Callable[[], None] = lambda: None
        super().__init__(known)
        self._save = self._write

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Return what the file holds; nothing where there is none, or one that a crash of the machine cut off."""
        try:
            known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        except ValueError:
            log.warning("%s cannot be read: the search's minutes begin anew", path)
            known = {}
        return cls(path, known)

    def __setitem__(self, step: str, seconds: float) -> None:
        """Note a step's seconds."""
        super().__setitem__(step, seconds)
        self._save()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self.data, sort_keys=True), "utf-8")
        partial.rename(self._path)
