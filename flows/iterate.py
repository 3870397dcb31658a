"""The iteration: collect -> snapshot -> check -> levers one by one -> benchmark -> gate -> promote.

Wiring only: the work is in `tasks`, the climb in `flows.climb`, the promotion in `flows.promotion`.
"""

from contextlib import suppress
from dataclasses import replace

from prefect import flow

import tasks.build
from flows.budget import decide_on_golden
from flows.climb import climb, unpaid
from flows.diary import Diary
from flows.gather import gather, gather_texts
from flows.golden import holds, keep_sealed, read_standing
from flows.judge import measure, paired
from flows.monitor import last_watch
from flows.outcome import Contender, Outcome, inputs_digest, next_number, nothing_changed, utc_now, write_outcome
from flows.project import Project, check_space, only_one, open_project
from flows.promotion import finish_promotions, offer, set_baseline
from flows.publish import publish
from flows.suite import project_suite
from tasks import stages
from tasks.build import build, training_rows
from tasks.data.checking.validate import refuse
from tasks.errors import RatchetError
from tasks.given import Given
from tasks.measure.gate.limits import limit_tests
from tasks.measure.profiling.profile import Profile, is_profiled
from tasks.measure.quality.scores import check_costs, with_scores
from tasks.progress import collect_seconds, purpose, timed, trainings_to
from tasks.records import Scorecard, Snapshot, Verdict, to_json
from tasks.registry import BASELINE, CHAMPION, VersionRecord
from tasks.store import storage_named
from tasks.suspects import SuspectTable, label_step


@flow(name="iterate", flow_run_name="iterate-{trigger}", log_prints=False)
def iterate(spec: str = "ratchet.yaml", trigger: str = "schedule") -> str:
    """Run one iteration of the project that the spec describes; returns its `Outcome` as JSON.

    Raises:
        RatchetError: the spec, the data or an outside system stands in the way; the champion is unharmed.
    """
    project = open_project(spec)
    check_space(project)
    with storage_named(str(project.state)), only_one(project), collect_seconds() as seconds:
        with timed("total"):
            finish_promotions(project)
            diary = Diary.open(project, next_number(project), trigger)
            try:
                with trainings_to(diary.training_run):
                    outcome = publish(project, diary, turn(project, diary))
            except BaseException:
                with suppress(RatchetError):  # what went wrong says more than that this could not be noted
                    diary.close("FAILED")
                raise
            diary.close("FINISHED")
        outcome = replace(outcome, seconds={name: round(value, 3) for name, value in seconds.items()})
        write_outcome(project, outcome)
    return to_json(outcome)


def turn(project: Project, diary: Diary) -> Outcome:
    """Return the outcome of one turn of the loop."""
    spec, outcome = project.spec, see(project, diary)
    snapshot = outcome.snapshot
    diary.log_snapshot(snapshot)
    reigning = project.registry.by_alias(CHAMPION)
    if reigning is None:
        return first(project, diary, outcome)
    record = project.registry.read_record(reigning)
    texts = gather_texts(stages, project, snapshot, record.recipe, spec.levers)
    outcome = replace(outcome, champion_version=reigning.number, inputs_digest=inputs_digest(project, snapshot, texts))
    last = nothing_changed(project, outcome.inputs_digest, reigning.number)
    if last is not None:
        reason = f"Nothing changed since iteration {last.iteration}."
        return replace(outcome, verdict=Verdict("reject", reason, (), spec.gate.alpha))
    champion = Contender(record.recipe, record.candidate, given=record.given, snapshot=record.snapshot)
    new_data = snapshot.digest != record.snapshot.digest
    learn_only = diary.trigger == "drift" and new_data  # drift wants an answer soon: learn, do not search
    levers = () if learn_only else spec.levers
    best, trials = climb(project, champion, snapshot, levers, new_data, texts)
    diary.log_trials(trials)
    outcome = replace(outcome, trials=tuple(trials), changed=best.levers, unpaid=unpaid(project, levers, trials))
    if best.candidate.digest == champion.candidate.digest:
        reason = "No lever improved the champion on select." if trials else "No lever that does not rest changes it."
        return replace(outcome, verdict=Verdict("reject", reason, (), spec.gate.alpha))
    return final(project, diary, outcome, best)


def see(project: Project, diary: Diary) -> Outcome:
    """Return the outcome as it begins: the data of this turn, split, checked and golden sealed, nothing tried yet.

    Raises:
        DataError: the data breaks its suite; its Data Docs are in MLflow.
        GoldenError: sealed rows are gone or edited.
    """
    spec, store, suite, standing = project.spec, project.store, project_suite(project), read_standing(project)
    sources, feedback = gather(stages, project, suite, standing.feedback)
    snapshot = stages.snapshot(store, sources, spec.data, holds(project, standing))
    check_costs(spec.quality, snapshot)
    checks = stages.check(store, snapshot, suite)
    diary.log_checks(checks, feedback.report if feedback else None)
    refuse(checks)
    outcome = Outcome(
        iteration=diary.iteration,
        result="unchanged",
        verdict=Verdict("reject", ""),
        snapshot=snapshot,
        started_at=utc_now(),
        trigger=diary.trigger,
        checks=checks,
        suspects=suspects(project, snapshot),
        feedback_rows=sum(source.rows for source in sources[1:]),
        feedback_check=feedback,
        drift=watch.report.reason if diary.trigger == "drift" and (watch := last_watch(project)) else "",
    )
    keep_sealed(project, snapshot, sources, standing)  # after the checks: bad rows are never sealed
    return outcome


def suspects(project: Project, snapshot: Snapshot) -> SuspectTable | None:
    """Return the golden rows whose label looks wrong, where the spec cleans labels."""
    spec = project.spec
    step = label_step([*spec.recipe.clean, *(step for lever in spec.levers for step in lever.clean or ())])
    if step is None:
        return None
    found: SuspectTable = stages.suspects(project.store, snapshot, step)
    return found


def first(project: Project, diary: Diary, outcome: Outcome) -> Outcome:
    """Return the outcome of the first turn: the spec's recipe becomes baseline and champion."""
    recipe, snapshot = project.spec.recipe, outcome.snapshot
    given = Given(unlabelled=gather_texts(stages, project, snapshot, recipe))
    with purpose(BASELINE):
        candidate = build(stages, project.store, recipe, snapshot, given)
    contender = Contender(recipe, candidate, given=given, snapshot=snapshot)
    [card] = measure(stages, project, [contender.candidate], outcome.snapshot, "golden", project.spec.benchmark)
    over = "".join(f"; its {test.detail}" for test in limit_tests(card.speed, project.spec.gate.limits)
                   if test.outcome == "fail")  # fmt: skip
    reason = f"The first model: there is nothing to compare it with yet{over}."
    verdict = Verdict("promote", reason, (), project.spec.gate.alpha)
    outcome = with_training_rows(project, contender, outcome)
    outcome = replace(outcome, result="baseline", verdict=verdict, cards={BASELINE: card, CHAMPION: card},
                      profile=profile(project, contender, outcome))  # fmt: skip
    version, record = diary.register(outcome, contender, card)
    set_baseline(project, version, record)
    return replace(outcome, version=version.number, champion_version=version.number)


def final(project: Project, diary: Diary, outcome: Outcome, best: Contender) -> Outcome:
    """Return the outcome after the one look at golden: benchmark, gate and, where it passes, promotion."""
    references = {alias: reference(project, alias) for alias in (BASELINE, CHAMPION)}
    candidates = [references[BASELINE].candidate, references[CHAMPION].candidate, best.candidate]
    cards = measure(stages, project, candidates, outcome.snapshot, "golden", project.spec.benchmark)
    baseline, champion, candidate = (with_scores(card, outcome.snapshot.out_of_scope) for card in cards)
    verdict = decide_on_golden(project, outcome.snapshot, candidate, champion, baseline, best.claims)
    named: dict[str, Scorecard] = dict(zip((BASELINE, CHAMPION, "candidate"), cards, strict=True))
    outcome = with_training_rows(project, best, outcome)
    outcome = replace(outcome, verdict=verdict, cards=named,
                      paired=paired(candidate, champion), profile=profile(project, best, outcome))  # fmt: skip
    if verdict.decision != "promote":
        diary.log_candidate(best, cards[2], verdict)
        return replace(outcome, result="rejected" if verdict.decision == "reject" else "inconclusive")
    version, record = diary.register(outcome, best, cards[2])
    result = offer(project, version, record)
    outcome = replace(outcome, result=result, version=version.number)
    return replace(outcome, champion_version=version.number) if result == "promoted" else outcome


def profile(project: Project, contender: Contender, outcome: Outcome) -> Profile | None:
    """Return where the contender's time goes; None where its runtime is not profiled, which is no reason to stop."""
    if not is_profiled(contender.candidate):
        return None
    found: Profile = stages.profile(
        project.store, contender.candidate, outcome.snapshot, "select", project.spec.benchmark
    )
    return found


def with_training_rows(project: Project, contender: Contender, outcome: Outcome) -> Outcome:
    """Return the outcome with what cleaning and augmentation did to the contender's training rows; it is stored."""
    rows = training_rows(tasks.build, project.store, contender.recipe, outcome.snapshot, contender.given)
    return replace(outcome, cleaning=rows.reports, removed_uri=rows.removed_uri)


def reference(project: Project, alias: str) -> VersionRecord:
    """Return what is registered under an alias that is known to stand."""
    version = project.registry.by_alias(alias)
    assert version is not None
    return project.registry.read_record(version)
