"""The search for a better base and `train` section: which values are tried next, and what was learned from them.

The study is kept in a database by Optuna (Akiba et al. 2019), so that a killed search goes on and the next one starts
from what earlier ones learned. Values come from the tree-structured Parzen estimator (Bergstra et al. 2011), a trial
that is clearly worse on its way is stopped by successive halving (Li et al. 2020, ASHA). Trains nothing itself.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.errors import ModelError
from tasks.search.past import earlier_best, learn_from_past, open_storage, seconds_spent
from tasks.search.report import RECIPE, SAMPLER
from tasks.search.space import Plain, Range, Search, Space, change, is_whole, made_of, own_value, plain, with_own
from tasks.search.trial import Asked, Ended, Job, run_trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

RANDOM_TRIALS = 6  # drawn evenly before the sampler has enough to go by
WARM_TRIALS = 4  # best values of earlier searches that a new one begins with
REPEATS = 30  # draws in a row that were tried already, after which the space counts as searched
PATIENCE, SEEDS_APART = 4, 100_003  # such draws until chance draws; between the seeds of draws for one trial
FIRST_RUNG, HALVING = 25, 2  # a trial is judged at a quarter and at half of its own epochs: the better half goes on
TIE = 1e-6  # what separates equal scores by the loss: less than one of a million rows


def open_study(url: str, name: str, create: bool = False) -> "optuna.Study":
    """Return a study in the database, made there where it may be.

    A trial is judged by the share of its own epochs: a learning rate that falls over twelve of them has come less far
    after one than a rate that falls over three.

    Raises:
        ModelError: the database cannot be opened.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=HALVING)
    try:
        storage = open_storage(url, create)
        if not create:
            return optuna.load_study(study_name=name, storage=storage, pruner=pruner)
        return optuna.create_study(
            study_name=name, storage=storage, pruner=pruner, direction="maximize", load_if_exists=True
        )
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise ModelError(
            f"search: the database of studies cannot be opened ({reason}); mend it and run again"
        ) from error


@dataclass
class Searching:
    """A search under way: asks for trials, takes how they ended."""

    spec: Search
    job: Job
    space: Space  # with the recipe's own values in it
    study: "optuna.Study"
    lever: str
    family: str  # what earlier studies of the lever are named after
    minutes: float | None  # of the spec, or less
    _running: dict[int, Asked] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _before: float = 0.0  # seconds that trials ran in earlier processes

    @property
    def done(self) -> int:
        """Trials that count: they ended, whichever way."""
        return len(self.counted())

    @property
    def minutes_spent(self) -> float:
        """Minutes in which trials ran, those of an earlier, killed process too."""
        return (self._before + time.monotonic() - self._began) / 60

    def counted(self) -> "list[FrozenTrial]":
        """Return the trials of this search that ended, but no repeat and none that a killed process left."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _counts(trial)]

    def ask(self) -> Asked | None:
        """Return the next trial; None where the budget or the space is spent, or one that runs has to end first."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        counted = [trial for trial in trials if _counts(trial)]
        if self._spent(len(counted)) or self._waits(len(counted)):
            return None
        tried = {trial.user_attrs["asked"]["made_of"] for trial in counted}
        tried |= {made_of(asked.base, asked.train) for asked in self._running.values()}
        for repeat in range(REPEATS):
            self._enqueue_next(trials)
            self.study.sampler = _sampler(self.spec.seed + len(counted) + len(self._running), repeat)
            trial = self.study.ask()
            asked = self._asked(trial, {name: self._suggest(trial, name) for name in self.space})
            if "again" in trial.user_attrs or trial.user_attrs["asked"]["made_of"] not in tried:
                self._running[asked.number] = asked
                return asked
            trial.set_user_attr("repeats", True)
            self.study.tell(trial, state=TrialState.FAIL)
            trials = self.study.get_trials(deepcopy=False)
        log.info("search %s: every value of the space was tried", self.lever)
        return None

    def _asked(self, trial: "optuna.Trial", values: dict[str, Any]) -> Asked:
        origin = trial.user_attrs.get("origin", SAMPLER)
        base, method = self.job.recipe.base, self.job.recipe.train
        if origin != RECIPE:
            base, method = change(base, method, values)
        own = {name: plain(own_value(name, base, method)) for name in self.space}
        trial.set_user_attr("asked", {"origin": origin, "made_of": made_of(base, method), "values": own})
        left = math.inf if self.minutes is None else self.minutes - self.minutes_spent
        return Asked(trial.number, trial._trial_id, base, method, origin == RECIPE, time.time() + 60 * left)

    def tell(self, asked: Asked, ended: Ended) -> None:
        """Note how a trial ended."""
        from optuna.trial import Trial, TrialState

        del self._running[asked.number]
        trial = Trial(self.study, asked.trial_id)
        known: dict[str, Any] = {name: getattr(ended, name) for name in ("seconds", "epochs", "message", "ran_on")}
        if ended.state != "complete":
            log.info("search %s: trial %d %s: %s", self.lever, asked.number, ended.state, ended.message)
            trial.set_user_attr("ended", known)
            self.study.tell(trial, state=TrialState.PRUNED if ended.state == "pruned" else TrialState.FAIL)
            return
        score, loss = self._score(ended.notes), ended.notes.get("valid_loss", math.inf)
        worse = loss / (1 + loss) if math.isfinite(loss) else 1.0
        trial.set_user_attr("ended", known | {"score": score, "valid_loss": loss if math.isfinite(loss) else None})
        self.study.tell(trial, score - TIE * worse)
        log.info("search %s: trial %d scored %.4f in %.0f s", self.lever, asked.number, score, ended.seconds)
        learn_from_past(self.study, self.family, trial.number, self._spaces())

    def _spaces(self) -> "dict[str, BaseDistribution]":
        return {name: distribution(name, given) for name, given in self.space.items()}

    def _score(self, notes: dict[str, float]) -> float:
        """Return the share of right answers on `valid`, less `trade` for each time that the cost was doubled.

        The cost is that of the recipe as it was, or of the first trial that ended where that one failed.
        """
        score, cost = notes["valid_score"], notes.get("multiply_adds_per_token")
        if not self.spec.trade or not cost:
            return score
        own = self.study.user_attrs.get("cost")
        if own is None:
            self.study.set_user_attr("cost", cost)
        return score - self.spec.trade * math.log2(cost / (own or cost))

    def _spent(self, done: int) -> bool:
        if self.spec.trials is not None and done + len(self._running) >= self.spec.trials:
            return True
        return self.minutes is not None and self.minutes_spent >= self.minutes

    def _waits(self, done: int) -> bool:
        """Return whether costs can be compared to none yet: the first trial has to end before others begin."""
        return bool(self.spec.trade and self._running and not done)

    def _enqueue_next(self, trials: "Sequence[FrozenTrial]") -> None:
        """Queue the values that no trial had yet: those of one that was killed, the recipe's, an earlier best's."""
        from optuna.trial import TrialState

        if any(trial.state == TrialState.WAITING for trial in trials):
            return  # queued by a process that was killed then
        again = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            if "dead" in trial.user_attrs and trial.number not in again and len(trial.params) == len(self.space):
                origin = trial.user_attrs.get("asked", {}).get("origin", SAMPLER)
                self.study.enqueue_trial(trial.params, {"origin": origin, "again": trial.number})
                return
        known = {trial.user_attrs.get("origin") for trial in trials if len(trial.params) == len(self.space)}
        first = next(((params, origin) for params, origin in self._first() if origin not in known), None)
        if first is not None:
            self.study.enqueue_trial(first[0], {"origin": first[1]})

    def _first(self) -> list[tuple[dict[str, Plain], str]]:
        """Return values to begin with, and where they come from."""
        warm = self.study.user_attrs.get("warm", [])
        own = {name: self._place(name) for name in self.space}
        return [(own, RECIPE), *((own | params, origin) for params, origin in warm)]

    def _place(self, name: str) -> Plain:
        """Return the recipe's own value as the study knows it: the nearest one where it lies outside of the range."""
        own, given = own_value(name, self.job.recipe.base, self.job.recipe.train), self.space[name]
        if not isinstance(given, Range):
            return plain(own)
        placed = min(max(own, given.low), given.high)
        return int(placed) if is_whole(name) else float(placed)

    def _suggest(self, trial: "optuna.Trial", name: str) -> Any:
        given = self.space[name]
        if not isinstance(given, Range):
            chosen = trial.suggest_categorical(name, [plain(value) for value in given])
            return next(value for value in given if plain(value) == chosen)
        if is_whole(name):
            return trial.suggest_int(name, int(given.low), int(given.high), log=given.log)
        return trial.suggest_float(name, given.low, given.high, log=given.log)


def begin(spec: Search, job: Job, space: Space, lever: str, family: str, minutes: float | None = None) -> Searching:
    """Return the search, new or gone on with from where a killed process left it.

    Args:
        job: its study's name begins with that of the family, and ends with what stands for all that it depends on.
        family: what earlier studies of the same lever are named after.
        minutes: at most so many, where the iteration has less time left than the spec gives the search.
    """
    from optuna.trial import Trial, TrialState

    study = open_study(job.url, job.study, create=True)
    whole = with_own(space, job.recipe.base, job.recipe.train)
    limits = [each for each in (spec.minutes, minutes) if each is not None]
    search = Searching(spec, job, whole, study, lever, family, min(limits, default=None))
    for left in study.get_trials(states=(TrialState.RUNNING,)):
        Trial(study, left._trial_id).set_user_attr("dead", True)
        study.tell(left.number, state=TrialState.FAIL)
        log.info("search %s: trial %d was left by a killed process and is run again", lever, left.number)
    if "warm" not in study.user_attrs:
        study.set_user_attr("warm", earlier_best(study, family, search._spaces(), WARM_TRIALS))
    search._before = seconds_spent(search.counted())
    return search


def run_in_turn(search: Searching, run: Callable[[Job, Asked], Ended] = run_trial) -> None:
    """Run the search's trials one after another in this process."""
    while (asked := search.ask()) is not None:
        search.tell(asked, run(search.job, asked))


def distribution(name: str, given: Range | tuple[Any, ...]) -> "BaseDistribution":
    """Return what Optuna draws a value of a field from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(given, Range):
        return CategoricalDistribution([plain(value) for value in given])
    if is_whole(name):
        return IntDistribution(int(given.low), int(given.high), log=given.log)
    return FloatDistribution(given.low, given.high, log=given.log)


def _sampler(seed: int, repeat: int) -> "optuna.samplers.BaseSampler":
    """Return a sampler for one draw: seeded by how many were before, so that a search that goes on repeats none.

    Where the estimator draws again and again what was tried, as it does where few values are left, chance draws.
    """
    from optuna.samplers import RandomSampler, TPESampler

    seed += SEEDS_APART * repeat
    if repeat >= PATIENCE:
        return RandomSampler(seed)
    return TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)


def _counts(trial: "FrozenTrial") -> bool:
    return trial.state.is_finished() and not {"dead", "repeats", "prior"} & set(trial.user_attrs)
