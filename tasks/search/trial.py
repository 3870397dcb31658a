"""One trial of a search: a recipe fitted, its epochs reported to the study, stopped where the study says so.

Runs in any process that reaches store and study. It suggests no values and tells the study no result: that is
`tasks.search.study`.
"""

import math
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import tasks.build
from tasks.build import fitted
from tasks.errors import UserError
from tasks.given import Given
from tasks.progress import Stopped, epochs_to
from tasks.records import Candidate, Snapshot
from tasks.search.report import State
from tasks.specs import Recipe
from tasks.store import Store
from tasks.train.bases.base import Base
from tasks.train.methods import FineTune, teacher_methods

if TYPE_CHECKING:
    import optuna

Fit = Callable[[Store, Recipe, Snapshot, Given], Candidate]

_one_at_a_time = threading.Lock()  # trainings in threads of one process draw from one generator of random numbers
WHOLE = 100  # hundredths of its own epochs, the step in which a trial reports


def fit_recipe(store: Store, recipe: Recipe, snapshot: Snapshot, given: Given) -> Candidate:
    """Return the torch model that the recipe makes of the snapshot, from the store where it is there already."""
    return fitted(tasks.build, store, recipe, snapshot, given)


@dataclass(frozen=True)
class Job:
    """What all trials of a search share."""

    url: str  # of the database of studies
    study: str
    store: Store
    recipe: Recipe  # that the search starts from
    snapshot: Snapshot
    given: Given = field(default_factory=Given)
    prune: bool = True
    threads: int = 0  # of one training; 0: as many as the library takes
    fit: Fit = fit_recipe


@dataclass(frozen=True)
class Asked:
    """A trial to run."""

    number: int
    trial_id: int  # in the database of studies
    base: Base
    train: FineTune
    whole: bool = False  # it is never stopped: others are compared to it
    deadline: float = math.inf  # seconds since 1970, after which its next epoch is its last


@dataclass(frozen=True)
class Ended:
    """How a trial ended."""

    state: State
    seconds: float
    epochs: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)  # of the fitted model
    message: str = ""
    ran_on: str = ""


def run_trial(job: Job, asked: Asked) -> Ended:
    """Return how the trial ended: complete with the model's notes, stopped early, or failed by a mistake in the recipe.

    Raises:
        RatchetError: what stands in the way of every trial, such as a full disk.
    """
    watch, started = _Watch(job, asked), time.monotonic()
    ran_on = f"{socket.gethostname()}:{os.getpid()}"

    def ended(state: State, notes: dict[str, float] | None = None, message: str = "") -> Ended:
        return Ended(state, round(time.monotonic() - started, 3), watch.epochs, notes or {}, message, ran_on)

    recipe = replace(job.recipe, base=asked.base, train=asked.train)
    with _one_at_a_time:
        _use_threads(job.threads)
        try:
            for method in teacher_methods(asked.train):  # whose epochs are not the trial's
                job.fit(job.store, replace(recipe, train=method), job.snapshot, job.given)
            with epochs_to(watch.listen):
                made = job.fit(job.store, recipe, job.snapshot, job.given)
        except Stopped as stop:
            return ended("pruned", message=str(stop))
        except UserError as error:
            return ended("failed", message=str(error))
    if "valid_score" not in made.notes:
        return ended("failed", message="the model has no score on valid: valid has no rows")
    return ended("complete", made.notes)


def run_apart(job: Job, asked: Asked) -> Ended:
    """Return how the trial ended, run in a process of its own, where it shares no random numbers with another."""
    context = multiprocessing.get_context("spawn")
    started = time.monotonic()
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        try:
            return pool.submit(run_trial, job, asked).result()
        except BrokenProcessPool:
            return Ended("failed", round(time.monotonic() - started, 3), message=DIED)


DIED = "its process died, as it does where the machine's memory runs out; lower train.batch_size or search.parallel"


def end_with_parent() -> None:
    """Let this process end when the one that started it is killed, which cannot end it itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def wait() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()


class _Watch:
    """What hears of a training's epochs: it reports them to the study and stops the training."""

    def __init__(self, job: Job, asked: Asked) -> None:
        self._job, self._asked = job, asked
        self._best, self._step = -math.inf, 0
        self.epochs = 0.0
        self._trial: Any = None

    def listen(self, epoch: float, metrics: Mapping[str, float]) -> None:
        """Take an epoch's metrics.

        Raises:
            Stopped: the trial is to end here.
        """
        self.epochs = float(epoch)
        score = metrics.get("valid_score", math.nan)
        last = self.epochs >= self._asked.train.epochs
        step = math.floor(WHOLE * min(1.0, self.epochs / self._asked.train.epochs))
        if not math.isfinite(score) or step <= self._step:
            return
        self._best, self._step = max(self._best, score), step
        self._open().report(self._best, step)
        if self._asked.whole or last:
            return
        if self._job.prune and self._open().should_prune():
            raise Stopped(f"stopped after epoch {self.epochs:g}: {100 * self._best:.1f} % is clearly worse")
        if time.time() > self._asked.deadline:
            raise Stopped(f"stopped after epoch {self.epochs:g}: the search's minutes were spent")

    def _open(self) -> "optuna.trial.Trial":
        """Return the trial in the database, opened where it is first needed."""
        if self._trial is None:
            from optuna.trial import Trial

            from tasks.search.study import open_study

            self._trial = Trial(open_study(self._job.url, self._job.study), self._asked.trial_id)
        trial: optuna.trial.Trial = self._trial
        return trial


def _use_threads(number: int) -> None:
    """Let trainings of this process compute on so many threads; 0 leaves it as it is."""
    if not number:
        return
    os.environ["OMP_NUM_THREADS"] = str(number)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
