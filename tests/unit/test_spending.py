"""Where an iteration's minutes go: to what gained most per minute, and a share to what was never tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.levers import Try, plan_levers
from tasks.search.space import Search
from tasks.search.spending import EXPLORE, LEAST, Cost, spend
from tasks.specs import Lever
from tasks.train.methods import FineTune

QUALITY, COST = ("quality",), ("cost",)
GAINS = st.lists(st.floats(-0.2, 0.2), max_size=5).map(tuple)
COSTS = st.lists(
    st.builds(
        Cost, st.uuids().map(str), st.sampled_from([QUALITY, COST]), GAINS,
        st.one_of(st.none(), st.floats(0.001, 1000)), st.booleans(),
    ),
    max_size=8, unique_by=lambda cost: cost.lever,
)  # fmt: skip
MINUTES = st.floats(0.01, 2000)


@given(COSTS, MINUTES)
def test_no_more_is_spent_than_there_is_and_every_lever_is_chosen_or_explained(costs, minutes):
    spent = spend(costs, minutes)
    assert sum(spent.minutes.values()) <= minutes * (1 + 1e-9)
    assert set(spent.minutes) | set(spent.left_out) == {cost.lever for cost in costs}
    assert not set(spent.minutes) & set(spent.left_out)
    assert all("do not fit" in reason for reason in spent.left_out.values())


@given(COSTS, MINUTES)
def test_only_a_search_is_cut_and_never_to_less_than_is_worth_it(costs, minutes):
    spent = spend(costs, minutes)
    for cost in costs:
        if cost.minutes is None or cost.lever not in spent.minutes:
            continue
        given_to = spent.minutes[cost.lever]
        assert given_to <= max(cost.minutes, 1 / 60) * (1 + 1e-9)
        assert given_to >= (LEAST if cost.divisible else 1.0) * cost.minutes * (1 - 1e-9)


@given(COSTS)
def test_where_there_is_enough_everything_is_tried(costs):
    whole = sum(max(cost.minutes or 0, 1 / 60) for cost in costs)
    longest = max((cost.minutes or 0 for cost in costs), default=0)
    known = [cost for cost in costs if not (cost.divisible and cost.minutes is None)]  # that takes all that is left
    enough = 2 * whole + 10 * (len(costs) + 1) * max(longest, 1)
    assert spend(known, enough).left_out == {}


@given(COSTS, MINUTES)
def test_what_was_never_tried_has_its_share(costs, minutes):
    new = [cost for cost in costs if not cost.gains and cost.minutes is not None]
    spent = spend(costs, minutes)
    short = [cost for cost in new if max(cost.minutes, 1 / 60) <= EXPLORE * minutes / max(1, len(costs))]
    unknown = any(cost.minutes is None or cost.divisible for cost in costs if not cost.gains)
    if not unknown and all(max(cost.minutes, 1 / 60) <= EXPLORE * minutes / len(costs) for cost in new):
        assert {cost.lever for cost in short} <= set(spent.minutes)


def test_what_gained_most_per_minute_comes_first():
    costs = [Cost("slow", QUALITY, (0.02,) * 4, 20.0), Cost("quick", QUALITY, (0.02,) * 4, 2.0),
             Cost("useless", QUALITY, (-0.1,) * 9, 4.0)]  # fmt: skip
    assert list(spend(costs, 20.0).minutes) == ["quick", "useless"]
    assert list(spend(costs, 2.5).minutes) == ["quick"]
    assert list(spend(costs, 26.0).minutes) == ["quick", "slow", "useless"]


def test_gains_of_other_kinds_are_compared_as_shares_of_the_largest():
    costs = [Cost("points", QUALITY, (0.01,) * 3, 10.0), Cost("log time", COST, (0.7,) * 3, 10.0)]
    assert list(spend(costs, 10.0).minutes) == ["points"]  # alike, so the first one


def test_a_lever_that_was_tried_less_is_looked_at_again():
    often, seldom = Cost("often", QUALITY, (0.02,) * 20, 10.0), Cost("seldom", QUALITY, (0.01,), 10.0)
    assert list(spend([often, seldom], 10.0).minutes) == ["seldom"]


def test_a_search_is_cut_to_what_the_others_leave():
    costs = [Cost("quick", QUALITY, (0.02,), 4.0), Cost("search", QUALITY, (0.02,), 60.0, True)]
    assert spend(costs, 20.0).minutes == {"quick": 4.0, "search": 16.0}
    assert "search" in spend(costs, 8.0).left_out
    unlimited = [Cost("quick", QUALITY, (0.02,), 4.0), Cost("search", QUALITY, (), None, True)]
    assert spend(unlimited, 12.0).minutes == {"search": pytest.approx(4.0), "quick": 4.0}


def levers():
    return [Lever("a", train=FineTune(epochs=9)), Lever("s", search=Search(minutes=30.0)),
            Lever("b", base="hub/other"), Lever("c", train=FineTune(epochs=8))]  # fmt: skip


def test_a_search_without_minutes_of_its_own_takes_what_the_others_leave():
    found = spend([Cost("search", ("quality",), divisible=True), Cost("next", ("cost",)), Cost("last", ("cost",))], 30)
    assert set(found.minutes) == {"search", "next", "last"}
    assert sum(found.minutes.values()) == pytest.approx(30)
    assert found.minutes["search"] > 29


def test_a_plan_without_a_limit_is_as_ever_and_with_one_keeps_the_order_of_the_stages():
    past = [Try(name, 1, gain, False, 60 * minutes)
            for name, gain, minutes in (("a", 0.02, 4), ("b", 0.01, 4), ("c", 0.001, 40))]  # fmt: skip
    free = plan_levers(levers(), past, 2)
    assert ([lever.name for lever in free.order], free.rested, free.minutes, free.unpaid) == (
        ["b", "a", "c", "s"], {}, {}, (),
    )  # fmt: skip
    plan = plan_levers(levers(), past, 2, minutes=24)
    assert [lever.name for lever in plan.order] == ["b", "a", "s"]
    assert plan.minutes == {"s": 8.0}  # the share of what was never tried
    assert plan.unpaid == ("c",)
    assert plan.rested["c"].startswith("left out: about 40.0 min do not fit into what the iteration's 24 min leave")
