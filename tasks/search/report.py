"""What a search tried, in order, and what each try was worth: plain records. Searches nothing."""

from dataclasses import dataclass
from typing import Literal

from tasks.train.bases.base import Base
from tasks.train.methods import FineTune

State = Literal["complete", "pruned", "failed"]
RECIPE = "recipe"  # where the values of the trial come from that is the recipe as it was
SAMPLER = "sampler"


@dataclass(frozen=True)
class SearchTrial:
    """One trial of a search."""

    number: int  # in its study, from 0
    values: dict[str, str]  # by field of `train`, or `base`, as a person reads them
    origin: str  # recipe: as it was before the search; sampler; or trial and study of an earlier search
    state: State
    score: float | None  # share of right answers on `valid`, less what its cost is worth; None where it did not end
    valid_loss: float | None
    epochs: float  # that were trained; 0 where the fit was in the store
    seconds: float
    message: str = ""  # why it failed or was stopped
    ran_on: str = ""  # host and process


@dataclass(frozen=True)
class SearchReport:
    """One search: its trials in the order they began, and what the best of them is made with."""

    study: str
    trials: tuple[SearchTrial, ...]
    best: int | None  # number of the trial that beat the recipe's own; None where none did
    own_score: float | None  # of the recipe as it was
    best_score: float | None  # of all trials
    minutes: float  # that trials ran, those of an earlier, killed process too
    runner: str
    base: Base  # of the best, or of the recipe where none was better
    train: FineTune

    @property
    def sentence(self) -> str:
        """The search in one sentence."""
        counts = {state: sum(trial.state == state for trial in self.trials) for state in ("pruned", "failed")}
        others = "".join(f", {count} {state}" for state, count in counts.items() if count)
        tried = f"{len(self.trials)} trials in {self.minutes:.1f} min{others}"
        if self.best is None or self.best_score is None:
            return f"search: nothing scored better on valid than the recipe's own values ({tried})"
        own = "" if self.own_score is None else f" after {100 * self.own_score:.2f} %"
        return f"search: trial {self.best} scored {100 * self.best_score:.2f} % on valid{own} ({tried})"
