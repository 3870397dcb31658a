"""Trying levers one after another: each is built on the best so far, judged on `select`, and kept or dropped.

Which levers are tried, and in what order, follows from the effects that earlier iterations found. What a try is given
beside recipe and snapshot is in `flows.given`.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.effects import plan_iteration
from flows.given import given_for, given_for_passes, given_for_trials
from flows.judge import measure, screening
from flows.outcome import Contender
from flows.project import Project
from flows.recipes import difference
from tasks import stages
from tasks.build import build
from tasks.levers import CLAIMS, claims_of, pull, pull_found, pull_passes, stage_of
from tasks.measure.gate.decide import decide, keep
from tasks.measure.gate.evidence import Claim
from tasks.measure.gate.limits import limits_kept
from tasks.measure.quality.scores import with_scores
from tasks.progress import purpose, report_progress
from tasks.records import LeverTrial, Snapshot, Table, Verdict
from tasks.specs import Lever, Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pull:
    """A lever pulled, or the champion's recipe on new data: what it touches and claims, and what recipe it makes."""

    name: str
    stage: str
    claims: tuple[Claim, ...]
    recipe: Recipe


def climb(
    project: Project,
    champion: Contender,
    snapshot: Snapshot,
    levers: Sequence[Lever],
    new_data: bool,
    texts: Table | None = None,
) -> tuple[Contender, list[LeverTrial]]:
    """Return the best contender found from the champion's recipe, and every trial in the order it was made.

    With `new_data`, the first trial is the champion's own recipe on the new snapshot. `texts` are those without labels
    that a training may read.
    """
    best, trials = champion, list[LeverTrial]()
    if new_data:
        best, trial = _try(project, best, Pull("new-data", "data", CLAIMS["data"], champion.recipe), snapshot, texts)
        trials.append(trial)
    plan = plan_iteration(project, levers)
    for name, reason in plan.rested.items():
        log.info("lever %s: %s", name, reason)
    for number, lever in enumerate(plan.order):
        report_progress(f"levers: {lever.name}", number, len(plan.order))
        left = minutes_left(project, trials)
        if left is not None and left <= 0:
            log.info("lever %s: left out: the iteration's minutes are spent", lever.name)
            continue
        look = _search if lever.search else _compact if lever.compress_search else None
        if look is not None:
            minutes = left and min(left, plan.minutes[lever.name])
            best, trial = look(project, best, lever, snapshot, texts, minutes)
            trials.append(trial)
            continue
        recipe = pull(lever, best.recipe)
        if recipe == best.recipe:
            log.info("lever %s changes nothing", lever.name)
            continue
        best, trial = _try(project, best, Pull(lever.name, stage_of(lever), claims_of(lever), recipe), snapshot, texts)
        trials.append(trial)
    report_progress("levers: done", len(plan.order), len(plan.order))
    return best, trials


def minutes_left(project: Project, trials: Sequence[LeverTrial]) -> float | None:
    """Return what these trials leave of the iteration's minutes; None where they are not limited."""
    minutes: float | None = project.spec.budget.minutes
    return None if minutes is None else minutes - sum(trial.seconds or 0.0 for trial in trials) / 60


def unpaid(project: Project, levers: Sequence[Lever], trials: Sequence[LeverTrial]) -> tuple[str, ...]:
    """Return the levers that the iteration's minutes did not reach for, as planned or as it came out."""
    plan, left = plan_iteration(project, levers), minutes_left(project, trials)
    tried = {trial.lever for trial in trials}
    late = () if left is None or left > 0 else (lever.name for lever in plan.order if lever.name not in tried)
    return (*plan.unpaid, *late)


def _search(
    project: Project,
    best: Contender,
    lever: Lever,
    snapshot: Snapshot,
    texts: Table | None,
    minutes: float | None,
) -> tuple[Contender, LeverTrial]:
    """Return the better of the best so far and what a search finds from its recipe, and the trial of that."""
    from flows.search import search

    assert lever.search is not None
    started, best_recipe = time.monotonic(), best.recipe
    with purpose(lever.name):
        given = given_for_trials(project, best, lever.search.space, snapshot, texts)
        found = search(project, best_recipe, lever, snapshot, given, minutes)
    if found.best is None:
        trial = _nothing_found(project, best, Pull(lever.name, "search", (), best_recipe), snapshot, found.sentence)
    else:
        pulled = Pull(lever.name, "search", claims_of(lever), pull_found(found, best_recipe))
        best, trial = _try(project, best, pulled, snapshot, texts)
    return best, replace(trial, seconds=round(time.monotonic() - started, 3), search=found)


def _compact(
    project: Project,
    best: Contender,
    lever: Lever,
    snapshot: Snapshot,
    texts: Table | None,
    minutes: float | None,
) -> tuple[Contender, LeverTrial]:
    """Return the better of the best so far and what a search over passes makes of it, and the trial of that."""
    from flows.compact import compact

    assert lever.compress_search is not None
    started = time.monotonic()
    with purpose(lever.name):
        given = given_for_passes(best, lever.compress_search.passes, texts)
        found = compact(project, best, lever, snapshot, given, minutes)
    recipe = pull_passes(found, best.recipe)
    if recipe == best.recipe:
        pulled = Pull(lever.name, "compress_search", (), recipe)
        trial = _nothing_found(project, best, pulled, snapshot, found.sentence)
    else:
        pulled = Pull(lever.name, "compress_search", claims_of(lever), recipe)
        best, trial = _try(project, best, pulled, snapshot, texts)
    return best, replace(trial, seconds=round(time.monotonic() - started, 3), compression=found)


def _nothing_found(project: Project, best: Contender, pulled: Pull, snapshot: Snapshot, sentence: str) -> LeverTrial:
    """Return the trial of a search that found nothing to judge: the lever changes nothing."""
    [card] = measure(stages, project, [best.candidate], snapshot, "select", None)
    verdict = Verdict("reject", f"{sentence[:1].upper()}{sentence[1:]}.", (), project.spec.gate.alpha)
    return LeverTrial(pulled.name, pulled.stage, False, verdict, best.candidate, card)


def _try(
    project: Project, best: Contender, pulled: Pull, snapshot: Snapshot, texts: Table | None
) -> tuple[Contender, LeverTrial]:
    """Return the better of the two contenders, and the trial of the second."""
    name, stage, claims, recipe = pulled.name, pulled.stage, pulled.claims, pulled.recipe
    started = time.monotonic()
    given = given_for(project, best, recipe, stage, snapshot, texts)
    with purpose(name):
        candidate = build(stages, project.store, recipe, snapshot, given)
    timing = screening(project.spec, claims)
    challenger, defender = measure(stages, project, [candidate, best.candidate], snapshot, "select", timing)
    gate = project.spec.gate  # whose limits golden asks for, whatever the best so far keeps
    spec = replace(gate, limits=limits_kept(defender.speed, gate.limits))
    mine, its = (with_scores(card, snapshot.out_of_scope) for card in (challenger, defender))
    verdict = decide(mine, its, None, claims, spec)
    kept = keep(verdict, claims, spec)
    log.info("lever %s: %s; %s", name, "kept" if kept else "dropped", verdict.reason)
    changes = tuple(f"{field}: {old} -> {new}" for field, old, new in difference(best.recipe, recipe))
    size_ratio = candidate.size_bytes / best.candidate.size_bytes
    seconds = round(time.monotonic() - started, 3)
    trial = LeverTrial(name, stage, kept, verdict, candidate, challenger, size_ratio, seconds, changes, claims)
    if not kept:
        return best, trial
    new_claims = tuple(dict.fromkeys((*best.claims, *claims)))
    levers = (*best.levers, name)
    return Contender(recipe, candidate, new_claims, levers, given, snapshot), trial
