"""Trying levers one after another: each is built on the best so far, judged on `select`, and kept or dropped.

Which levers are tried, and in what order, follows from the effects that earlier iterations found. The best so far is
the teacher that judges what augmentation generates: the best when the augmentation or the data last changed, so that a
lever of another stage changes nothing but its own stage.
"""

import logging
import time
from collections.abc import Sequence

from flows.effects import plan_iteration
from flows.judge import measure
from flows.outcome import Contender
from flows.project import Project
from flows.recipes import difference
from tasks import stages
from tasks.build import build
from tasks.data.augmentation.keep_label import used_teacher
from tasks.levers import CLAIMS, pull, stage_of
from tasks.measure.gate.decide import decide, keep
from tasks.measure.gate.evidence import Claim
from tasks.measure.quality.scores import with_scores
from tasks.measurements import quick
from tasks.progress import purpose, report_progress
from tasks.records import Given, LeverTrial, Snapshot
from tasks.specs import Lever, Recipe

log = logging.getLogger(__name__)


def climb(
    project: Project, champion: Contender, snapshot: Snapshot, levers: Sequence[Lever], new_data: bool
) -> tuple[Contender, list[LeverTrial]]:
    """Return the best contender found from the champion's recipe, and every trial in the order it was made.

    With `new_data`, the first trial is the champion's own recipe on the new snapshot.
    """
    best, trials = champion, list[LeverTrial]()
    if new_data:
        best, trial = _try(project, best, champion.recipe, "new-data", "data", snapshot)
        trials.append(trial)
    plan = plan_iteration(project, levers)
    for name, reason in plan.rested.items():
        log.info("lever %s: %s", name, reason)
    for number, lever in enumerate(plan.order):
        report_progress(f"levers: {lever.name}", number, len(plan.order))
        recipe = pull(lever, best.recipe)
        if recipe == best.recipe:
            log.info("lever %s changes nothing", lever.name)
            continue
        best, trial = _try(project, best, recipe, lever.name, stage_of(lever), snapshot)
        trials.append(trial)
    report_progress("levers: done", len(plan.order), len(plan.order))
    return best, trials


def _try(
    project: Project, best: Contender, recipe: Recipe, name: str, stage: str, snapshot: Snapshot
) -> tuple[Contender, LeverTrial]:
    """Return the better of the two contenders, and the trial of the second."""
    claims: tuple[Claim, ...] = CLAIMS[stage]
    started = time.monotonic()
    teacher = used_teacher(recipe.augment, best.candidate if stage in ("data", "augment") else best.given.teacher)
    given = Given(teacher)
    with purpose(name):
        candidate = build(stages, project.store, recipe, snapshot, given)
    timing = quick(project.spec.benchmark) if "cost" in claims else None
    challenger, defender = measure(stages, project, [candidate, best.candidate], snapshot, "select", timing)
    spec = project.spec.gate
    mine, its = (with_scores(card, snapshot.out_of_scope) for card in (challenger, defender))
    verdict = decide(mine, its, None, claims, spec)
    kept = keep(verdict, claims, spec)
    log.info("lever %s: %s; %s", name, "kept" if kept else "dropped", verdict.reason)
    changes = tuple(f"{field}: {old} -> {new}" for field, old, new in difference(best.recipe, recipe))
    size_ratio = candidate.size_bytes / best.candidate.size_bytes
    seconds = round(time.monotonic() - started, 3)
    trial = LeverTrial(name, stage, kept, verdict, candidate, challenger, size_ratio, seconds, changes)
    if not kept:
        return best, trial
    new_claims = tuple(dict.fromkeys((*best.claims, *claims)))
    levers = (*best.levers, name)
    return Contender(recipe, candidate, new_claims, levers, given), trial
