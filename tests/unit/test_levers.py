"""Levers: which stage each touches, what it makes of a recipe, and in what order they are tried."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.compress.methods import Int8Dynamic, Onnx
from tasks.compress.searching.report import CompressReport, Point
from tasks.compress.searching.spec import CompressSearch
from tasks.data.augmentation.augment import Typos
from tasks.data.cleaning.clean import DropEmpty
from tasks.levers import (
    CLAIMS,
    STAGES,
    Plan,
    Try,
    claims_of,
    gain_per_minute,
    in_order,
    plan_levers,
    pull,
    pull_passes,
    stage_of,
)
from tasks.search.space import Search
from tasks.specs import Lever, Recipe
from tasks.train.methods import Distil, FineTune

LEVERS = {
    "clean": Lever("c", clean=(DropEmpty(),)),
    "augment": Lever("a", augment=(Typos(),)),
    "base": Lever("b", base="hub/other"),
    "train": Lever("t", train=FineTune(epochs=9)),
    "search": Lever("s", search=Search(trials=4)),
    "compress": Lever("q", compress=(Onnx(), Int8Dynamic())),
    "compress_search": Lever("p", compress_search=CompressSearch()),
}
RECIPE = Recipe(clean=(), train=FineTune(epochs=2))


PARTS = [stage for stage in STAGES if "search" not in stage]  # of a recipe; what a search finds is pulled instead of it


@pytest.mark.parametrize("stage", PARTS)
def test_a_lever_replaces_its_stage_and_nothing_else(stage):
    lever = LEVERS[stage]
    assert stage_of(lever) == stage
    pulled = pull(lever, RECIPE)
    assert getattr(pulled, stage) == getattr(lever, stage)
    assert replace(pulled, **{stage: getattr(RECIPE, stage)}) == RECIPE


@pytest.mark.parametrize("stage", PARTS)
def test_pulled_twice_a_lever_changes_nothing(stage):
    once = pull(LEVERS[stage], RECIPE)
    assert pull(LEVERS[stage], once) == once


def test_the_passes_that_a_search_chose_are_pulled_and_nothing_where_it_chose_none():
    points = (Point(0, (), 0, "measured"), Point(1, (Onnx(),), 0, "measured"))
    report = CompressReport(points, (1,), 1, None, 1.0, "search: found")
    assert pull_passes(report, RECIPE) == replace(RECIPE, compress=(Onnx(),))
    assert pull_passes(replace(report, chosen=None), RECIPE) == RECIPE


def test_a_search_over_passes_takes_its_own_minutes_or_what_an_iteration_leaves():
    compact = Lever("compact", compress_search=CompressSearch(minutes=15))
    assert plan_levers([compact], (), 1, 60).minutes == {"compact": 15}
    assert plan_levers([compact], (), 1, 6).minutes == {"compact": 6}
    assert names(plan_levers([compact], (), 1, 1)) == []  # too little to begin with


def test_an_empty_list_is_a_change_too():
    lever = Lever("plain", compress=())
    assert pull(lever, Recipe(compress=(Onnx(),))).compress == ()


@pytest.mark.parametrize(
    ("lever", "named"),
    [
        (
            Lever("idle"),
            "lever 'idle' must set exactly one of clean, augment, base, train, search, compress, compress_search; it "
            "sets none of them",
        ),
        (Lever("both", train=FineTune(), compress=()), "it sets train and compress"),
    ],
)
def test_a_lever_of_no_or_two_stages_is_refused(lever, named):
    with pytest.raises(ValueError, match=named):
        stage_of(lever)


def test_levers_are_tried_in_the_order_of_the_stages():
    shuffled = [
        LEVERS[stage] for stage in ("compress_search", "compress", "search", "train", "clean", "base", "augment")
    ]
    assert [stage_of(lever) for lever in in_order(shuffled)] == list(STAGES)


def test_levers_of_one_stage_stay_as_declared():
    first, second = Lever("z", train=FineTune(epochs=1)), Lever("a", train=FineTune(epochs=2))
    assert in_order([LEVERS["compress"], first, second]) == [first, second, LEVERS["compress"]]


def test_every_stage_claims_something():
    assert set(STAGES) <= set(CLAIMS)
    assert all(CLAIMS.values())


@pytest.mark.parametrize("stage", STAGES)
def test_a_lever_claims_what_its_stage_does_unless_it_says_otherwise(stage):
    assert claims_of(LEVERS[stage]) == CLAIMS[stage]
    assert claims_of(replace(LEVERS[stage], claim="cost")) == ("cost",)
    assert claims_of(replace(LEVERS[stage], claim="quality")) == ("quality",)


def test_a_distillation_into_a_student_claims_cost():
    for student in ((0, 3), "hub/small"):
        assert claims_of(Lever("s", train=FineTune(distil=Distil(student=student)))) == ("cost",)
    assert claims_of(Lever("s", train=FineTune(distil=Distil()))) == ("quality",)


def test_another_base_does_not_start_from_the_champion():
    pulled = pull(LEVERS["base"], Recipe(train=FineTune(epochs=7, start="champion")))
    assert pulled == Recipe(base="hub/other", train=FineTune(epochs=7))


def tries(name, *gains, worse=False, seconds=60.0, first=1):
    return [Try(name, first + at, gain, worse, seconds) for at, gain in enumerate(gains)]


def three():
    return [Lever(name, train=FineTune(epochs=at + 3)) for at, name in enumerate("abc")]


def names(plan):
    return [lever.name for lever in plan.order]


def test_what_was_never_tried_comes_first_then_what_gained_most_per_minute():
    past = [*tries("a", 0.02, seconds=60), *tries("b", 0.02, seconds=30)]
    assert names(plan_levers(three(), past, 2)) == ["c", "b", "a"]


def test_the_stages_come_before_the_gains():
    levers = [LEVERS["compress"], LEVERS["train"], LEVERS["clean"]]
    past = [*tries("q", 5.0, seconds=2), *tries("t", 0.1), *tries("c", -0.01)]
    assert names(plan_levers(levers, past, 2)) == ["c", "t", "q"]


def test_one_lucky_try_is_worth_less_than_a_steady_gain():
    steady, lucky = tries("a", *[0.02] * 8), tries("b", 0.03)
    assert names(plan_levers(three()[:2], [*lucky, *steady], 9)) == ["a", "b"]
    assert gain_per_minute(lucky) == pytest.approx(0.015)


@given(st.lists(st.floats(-1, 1), max_size=8), st.one_of(st.none(), st.floats(0, 1e5)))
def test_the_gain_is_shrunken_towards_none_and_never_below_it(gains, seconds):
    gain = gain_per_minute(tries("a", *gains, seconds=seconds))
    assert 0 <= gain < math.inf
    if not gains or sum(gains) <= 0:
        assert gain == 0
    elif seconds and seconds >= 1:
        assert gain == pytest.approx(sum(gains) / (len(gains) + 1) * 60 / seconds)


def test_the_longest_try_counts_since_shorter_ones_found_work_stored():
    once = tries("a", 0.02, seconds=600)
    again = [*once, Try("a", 2, 0.02, False, 0.001), Try("a", 3, 0.02, False, None)]
    assert gain_per_minute(again) == pytest.approx(0.06 / 4 / 10)


@pytest.mark.parametrize("iteration", [4, 5, 6, 7])
def test_what_was_clearly_worse_three_times_rests_until_the_fourth_iteration_after(iteration):
    plan = plan_levers(three(), tries("b", -0.1, -0.1, -0.1, worse=True), iteration)
    if iteration < 7:
        assert names(plan) == ["a", "c"]
        assert plan.rested == {
            "b": "rested: clearly worse in its last 3 tries (iterations 1, 2, 3); tried again from 7 on"
        }
    else:
        assert (names(plan), plan.rested) == (["a", "c", "b"], {})


def test_worse_again_after_a_rest_rests_again_and_better_wakes():
    past = tries("b", -0.1, -0.1, -0.1, worse=True)
    assert plan_levers(three(), [*past, *tries("b", -0.1, worse=True, first=7)], 8).rested
    assert not plan_levers(three(), [*past, *tries("b", 0.1, first=7)], 8).rested


@pytest.mark.parametrize("worse", [(True, True), (True, True, False), (True, True, False, True, True)])
def test_fewer_than_three_in_a_row_do_not_rest(worse):
    past = [Try("b", at, -0.1, bad, 60.0) for at, bad in enumerate(worse, start=1)]
    assert plan_levers(three(), past, len(worse) + 1).rested == {}


@given(st.permutations(tries("b", -0.1, -0.1, -0.1, worse=True) + tries("a", 0.1, 0.2)))
def test_a_plan_depends_on_the_history_and_not_on_its_order(past):
    plan = plan_levers(three(), past, 5)
    assert (names(plan), list(plan.rested)) == (["c", "a"], ["b"])


def test_no_levers_are_no_plan():
    assert plan_levers((), tries("a", 1.0), 2) == Plan((), {})
