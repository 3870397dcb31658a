"""The effect ledger: for every lever ever tried, what it changed in quality, speed and size, and what came of it.

Read from the stored outcomes of the iterations; it writes and measures nothing of its own. Effects are those on
`select`, against the best recipe at the time of the trial.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flows.outcome import Outcome, next_number, read_outcomes
from flows.project import Project
from tasks.compress.searching.report import CompressReport
from tasks.errors import ReviewError
from tasks.levers import CLAIMS, Plan, Try, plan_levers
from tasks.measure.gate.comparisons import COST_GAIN, COST_KEPT, QUALITY_KEPT
from tasks.measure.gate.evidence import Claim
from tasks.records import Decision, Interval, LeverTrial, Test
from tasks.search.report import SearchReport
from tasks.specs import Lever


@dataclass(frozen=True)
class Effect:
    """What one trial of a lever was worth."""

    iteration: int
    started_at: str  # of the iteration: ISO 8601, UTC
    lever: str
    stage: str
    kept: bool
    changes: tuple[str, ...]  # of the recipe, field by field
    quality: Interval | None  # difference of mean scores, in [-1, 1]; None where the gate could not judge
    time_ratio: Interval | None  # seconds per text, to the best before; None where it was not timed
    size_ratio: float | None  # of the artifact, to the best before
    decision: Decision
    reason: str
    seconds: float | None  # that the trial took
    claims: tuple[Claim, ...]  # what it was judged for
    search: SearchReport | None = None  # what a search tried before
    compression: CompressReport | None = None  # what a search over passes tried before


def effects_of(outcomes: Sequence[Outcome]) -> list[Effect]:
    """Return the effect of every trial of every lever, oldest first."""
    return [_effect(outcome, trial) for outcome in outcomes for trial in outcome.trials]


def _effect(outcome: Outcome, trial: LeverTrial) -> Effect:
    tests = {test.name: test for test in trial.verdict.tests}
    return Effect(
        outcome.iteration, outcome.started_at, trial.lever, trial.stage, trial.kept, trial.changes,
        _interval(tests.get(QUALITY_KEPT)), _interval(tests.get(COST_GAIN) or tests.get(COST_KEPT)),
        trial.size_ratio, trial.verdict.decision, trial.verdict.reason, trial.seconds,
        trial.claims or CLAIMS[trial.stage],
        trial.search, trial.compression,
    )  # fmt: skip


def _interval(test: Test | None) -> Interval | None:
    return Interval(test.estimate, test.low, test.high) if test else None


def lever_effects(project: Project, lever: str) -> list[dict[str, Any]]:
    """Return what each trial of a lever was worth, oldest first, as plain data.

    Raises:
        ReviewError: no iteration ever tried a lever of that name.
    """
    effects = effects_of(read_outcomes(project))
    found = [asdict(effect) for effect in effects if effect.lever == lever]
    if not found:
        tried = ", ".join(sorted({effect.lever for effect in effects}))
        raise ReviewError(f"no iteration tried a lever {lever!r}; tried: {tried or 'none yet'}")
    return found


def plan_iteration(project: Project, levers: Sequence[Lever]) -> Plan:
    """Return which levers the iteration that runs now tries, in order, and which rest, from all iterations before."""
    tries = tries_of(effects_of(read_outcomes(project)))
    return plan_levers(levers, tries, next_number(project), project.spec.budget.minutes)


def tries_of(effects: Sequence[Effect]) -> list[Try]:
    """Return the effects as the search reads them; trials that the gate could not judge say nothing about a lever."""
    return [
        Try(effect.lever, effect.iteration, gain, _worse(effect), effect.seconds)
        for effect in effects
        if (gain := _gain(effect)) is not None
    ]


def _found_nothing(effect: Effect) -> bool:
    """Return whether it was a search that found nothing to judge."""
    if effect.compression is not None:
        return effect.compression.chosen is None
    return effect.search is not None and effect.search.best is None


def _gain(effect: Effect) -> float | None:
    """Return the gain in what the trial was judged for; None where it was not measured."""
    if _found_nothing(effect):
        return 0.0
    if "cost" in effect.claims:
        return -math.log(effect.time_ratio.value) if effect.time_ratio else None
    return effect.quality.value if effect.quality else None


def _worse(effect: Effect) -> bool:
    """Return whether the trial was rejected or its quality lies below that of the best before, interval and all."""
    if _found_nothing(effect):
        return False  # which is no loss
    return effect.decision == "reject" or (effect.quality is not None and effect.quality.high < 0)
