"""The effect ledger: what every trial of a lever was worth, and what the search makes of it."""

import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from flows.effects import effects_of, lever_effects, plan_iteration, tries_of
from flows.outcome import Outcome, write_outcome
from tasks.compress.methods import Onnx
from tasks.errors import ReviewError
from tasks.measure.gate.comparisons import COST_GAIN, COST_KEPT, QUALITY_KEPT
from tasks.records import Candidate, Interval, LeverTrial, Scorecard, Snapshot, Test, Verdict
from tasks.specs import BudgetSpec, Lever
from tasks.train.methods import FineTune
from tests.unit.measured import quality

Test.__test__ = False  # a record, no test

SNAPSHOT = Snapshot("s.parquet", "d" * 64, {"train": 80}, ("a", "b"))


def trial(lever="retrain", stage="train", effect=0.02, time=None, decision="inconclusive", seconds=60.0, **changes):
    tests = [] if effect is None else [Test(QUALITY_KEPT, effect, effect - 0.01, effect + 0.01, -0.01, "pass", 100)]
    tests += [] if time is None else [Test(COST_GAIN, time, 0.9 * time, 1.1 * time, 0.9, "pass", 25)]
    made = LeverTrial(lever, stage, effect is not None and effect > 0, Verdict(decision, "why", tuple(tests)),
                      Candidate("u", "c" * 64, "onnx", 1), Scorecard("c", quality()), 0.5, seconds)  # fmt: skip
    return replace(made, **changes)


def outcome(iteration, *trials):
    return Outcome(iteration, "rejected", Verdict("reject", "no"), SNAPSHOT, f"2026-11-{iteration:02d}T00:00:00Z",
                   trials=trials)  # fmt: skip


@pytest.fixture
def project(tmp_path):
    """A stand-in for a project: the folder that outcomes are kept in."""
    (tmp_path / "iterations").mkdir()
    return SimpleNamespace(state=tmp_path, spec=SimpleNamespace(budget=BudgetSpec()))


def test_an_effect_holds_what_the_trial_showed():
    [effect] = effects_of([outcome(4, trial(time=0.5, stage="compress", lever="small"))])
    assert (effect.iteration, effect.started_at, effect.lever, effect.stage) == (
        4, "2026-11-04T00:00:00Z", "small", "compress",
    )  # fmt: skip
    assert effect.quality == Interval(0.02, 0.01, 0.03)
    assert effect.time_ratio == Interval(0.5, 0.45, 0.55)
    assert (effect.size_ratio, effect.seconds, effect.decision, effect.kept) == (0.5, 60.0, "inconclusive", True)


def test_a_cost_that_was_only_guarded_counts_as_the_time_ratio():
    guarded = Verdict("reject", "why", (Test(COST_KEPT, 1.4, 1.3, 1.5, 1.25, "fail", 25),))
    [effect] = effects_of([outcome(1, trial(verdict=guarded))])
    assert (effect.time_ratio, effect.quality) == (Interval(1.4, 1.3, 1.5), None)


def test_effects_come_oldest_first_and_in_the_order_of_the_trials():
    history = [outcome(1), outcome(2, trial("b"), trial("a")), outcome(3, trial("b"))]
    assert [(effect.iteration, effect.lever) for effect in effects_of(history)] == [(2, "b"), (2, "a"), (3, "b")]


def test_intervals_are_named_in_json():
    [effect] = effects_of([outcome(1, trial())])
    assert json.loads(json.dumps(asdict(effect)))["quality"] == pytest.approx(
        {"value": 0.02, "low": 0.01, "high": 0.03}
    )


def test_lever_effects_are_those_of_one_lever(project):
    write_outcome(project, outcome(1, trial("a"), trial("b", effect=0.01)))
    write_outcome(project, outcome(2, trial("b", effect=-0.01)))
    found = lever_effects(project, "b")
    assert [(effect["iteration"], effect["quality"]["value"]) for effect in found] == [(1, 0.01), (2, -0.01)]
    with pytest.raises(ReviewError, match="no iteration tried a lever 'c'; tried: a, b"):
        lever_effects(project, "c")


def test_where_nothing_was_tried_the_mistake_says_so(project):
    with pytest.raises(ReviewError, match="tried: none yet"):
        lever_effects(project, "a")


@pytest.mark.parametrize(
    ("stage", "effect", "time", "gain"),
    [
        ("train", 0.02, 0.5, 0.02),  # what the stage claims counts, and nothing else
        ("compress", 0.02, 0.5, math.log(2)),
        ("compress", 0.02, 2.0, -math.log(2)),
    ],
)
def test_the_gain_is_in_what_the_stage_claims(stage, effect, time, gain):
    [found] = tries_of(effects_of([outcome(1, trial(stage=stage, effect=effect, time=time))]))
    assert found.gain == pytest.approx(gain)


def test_what_a_trial_was_judged_for_counts_more_than_its_stage():
    [found] = tries_of(effects_of([outcome(1, trial(stage="train", effect=0.02, time=0.5, claims=("cost",)))]))
    assert found.gain == pytest.approx(math.log(2))


def test_a_trial_that_could_not_be_judged_says_nothing():
    unjudged = trial(effect=None, decision="reject")
    assert tries_of(effects_of([outcome(1, unjudged, trial(stage="compress"))])) == []


@pytest.mark.parametrize(
    ("effect", "decision", "worse"),
    [(0.02, "inconclusive", False), (-0.005, "inconclusive", False), (-0.02, "inconclusive", True),
     (0.02, "reject", True), (0.02, "promote", False)],
)  # fmt: skip
def test_clearly_worse_is_an_interval_below_zero_or_a_rejection(effect, decision, worse):
    [found] = tries_of(effects_of([outcome(1, trial(effect=effect, decision=decision))]))
    assert found.worse is worse


def test_a_plan_follows_from_the_stored_outcomes(project):
    levers = (Lever("bad", train=FineTune(epochs=1)), Lever("good", train=FineTune(epochs=2)),
              Lever("new", train=FineTune(epochs=3)), Lever("small", compress=(Onnx(),)))  # fmt: skip
    assert [lever.name for lever in plan_iteration(project, levers).order] == ["bad", "good", "new", "small"]
    for iteration in (1, 2, 3):
        write_outcome(project, outcome(iteration, trial("bad", effect=-0.05), trial("good", effect=0.01)))
    plan = plan_iteration(project, levers)
    assert [lever.name for lever in plan.order] == ["new", "good", "small"]
    assert plan.rested == {
        "bad": "rested: clearly worse in its last 3 tries (iterations 1, 2, 3); tried again from 7 on"
    }
    assert plan_iteration(project, levers) == plan
    for iteration in (4, 5, 6):
        write_outcome(project, outcome(iteration))
    assert plan_iteration(project, levers).rested == {}
