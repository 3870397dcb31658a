"""The online gate: its capitals against brute force and enumeration, its votes in any order, its rules in turn."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import betaln

from tasks.measure.gate.online import (
    SPLIT_WEIGHT,
    STAKES,
    OnlineSpec,
    capital,
    effect_terms,
    judge_online,
    lower_bound,
    split_capital,
)
from tasks.measure.gate.votes import Vote, settle
from tasks.records import from_json, to_json
from tests.bench.online import deliveries, online_delivered_thrice, online_false_winner_share, online_win_units
from tests.bench.online import outcomes as draw

SPEC = OnlineSpec(settle_s=10, min_units=1, min_duration_s=0, max_duration_s=100_000)
quick = settings(max_examples=60, deadline=None)
shares = st.sampled_from([0.1, 0.3, 0.5, 0.8])
bounds = st.sampled_from([-1.0, -0.3, -0.02, 0.0, 0.1, 1.0])
histories = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)
votes_of_few = st.lists(
    st.builds(
        Vote,
        event=st.sampled_from([f"e{number}" for number in range(12)]),
        unit=st.sampled_from(["u1", "u2", "u3", "u4"]),
        arm=st.sampled_from(["champion", "candidate"]),
        at=st.integers(0, 30).map(float),
        metric=st.sampled_from(["quality", "safety"]),
        value=st.sampled_from([0.0, 0.5, 1.0]),
    ),
    max_size=25,
)


def columns(rows):
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


def vote(event, unit="u", arm="champion", at=0.0, value=1.0, metric="quality"):
    return Vote(event, unit, arm, at, metric, value)


def traffic(units, content, *, share=0.5, metrics=("quality",), seed=1, every_s=1.0):
    """Votes of units that come one by one; `content` maps arm and metric to the share of content units."""
    rng = np.random.default_rng(seed)
    votes = []
    for number in range(units):
        arm = "candidate" if rng.random() < share else "champion"
        for metric in metrics:
            value = float(rng.random() < content[arm, metric])
            votes.append(vote(f"{number}-{metric}", f"u{number:05}", arm, number * every_s, value, metric))
    return votes


def contents(gain, guardrail=None):
    found = {("champion", "quality"): 0.5, ("candidate", "quality"): 0.5 + gain}
    if guardrail is not None:
        found |= {("champion", "safety"): 0.9, ("candidate", "safety"): 0.9 + guardrail}
    return found


# The capitals


@quick
@given(histories, shares, bounds)
def test_the_capital_is_the_product_of_the_bets(rows, share, bound):
    outcomes, candidate = columns(rows)
    factors, expected = [1.0] * len(STAKES), []
    for index, (value, ours) in enumerate(rows):
        centre = (0.5 + sum(row[0] for row in rows[:index])) / (index + 1)
        term = (value - centre) * (1 / share if ours else -1 / (1 - share))
        for place, part in enumerate(STAKES):
            largest = 1 / (1 / min(share, 1 - share) + 1)
            factors[place] *= 1 + part * largest * (term - bound)
        expected.append(sum(factors) / len(STAKES))
    path = capital(effect_terms(outcomes, candidate, share), bound, share)
    assert path == pytest.approx(np.array(expected), rel=1e-9, abs=1e-12)
    assert path.min() >= 0


def expected_capitals(units, share, arms_outcomes):
    """Return the expectation of the capitals against "no better" and "no worse", over all arms and binary outcomes.

    `arms_outcomes` gives, for unit, earlier outcomes and earlier arms, the chance that each arm's outcome is 1.
    """
    better = worse = total = 0.0
    for arms in product([False, True], repeat=units):
        for values in product([0.0, 1.0], repeat=units):
            weight = 1.0
            for index in range(units):
                chance = arms_outcomes(index, values[:index], arms[:index])[arms[index]]
                weight *= share if arms[index] else 1 - share
                weight *= chance if values[index] else 1 - chance
            terms = effect_terms(np.array(values), np.array(arms), share)
            better += weight * capital(terms, 0.0, share)[-1]
            worse += weight * capital(-terms, 0.0, share)[-1]
            total += weight
    assert total == pytest.approx(1)
    return better, worse


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("chance", [0.1, 0.8, 1.0])
def test_without_an_effect_both_capitals_are_expected_to_stay_at_one(share, chance):
    assert expected_capitals(5, share, lambda *_: (chance, chance)) == pytest.approx((1, 1), abs=1e-12)


def test_without_an_effect_they_stay_at_one_also_where_the_units_differ_and_heed_the_past():
    """The units of the morning, and those who heard of others' failures, are content less often, in either arm."""

    def chances(index, values, arms):
        chance = 0.3 + 0.1 * index if sum(values) % 2 else 0.9
        return (chance, chance) if not any(arms) else (chance / 2, chance / 2)

    assert expected_capitals(5, 0.3, chances) == pytest.approx((1, 1), abs=1e-12)


def test_a_worse_candidate_loses_the_capital_that_bets_on_it():
    better, worse = expected_capitals(5, 0.5, lambda *_: (0.8, 0.6))
    assert better < 1 < worse


@quick
@given(st.lists(st.booleans(), min_size=1, max_size=60), shares)
def test_the_capital_on_the_split_is_the_ratio_of_likelihoods(arms, share):
    path = split_capital(np.array(arms), share)
    ours, theirs = SPLIT_WEIGHT * share, SPLIT_WEIGHT * (1 - share)
    for seen in range(1, len(arms) + 1):
        count = sum(arms[:seen])
        mixed = betaln(ours + count, theirs + seen - count) - betaln(ours, theirs)
        plain = count * math.log(share) + (seen - count) * math.log(1 - share)
        assert path[seen - 1] == pytest.approx(math.exp(mixed - plain), rel=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_capital_on_a_fair_split_is_expected_to_stay_at_one(share):
    total = 0.0
    for arms in product([False, True], repeat=10):
        weight = math.prod(share if ours else 1 - share for ours in arms)
        total += weight * split_capital(np.array(arms), share)[-1]
    assert total == pytest.approx(1, abs=1e-12)


def test_capitals_of_many_histories_are_those_of_each_and_never_overflow():
    outcomes, candidate = draw(np.random.default_rng(1), 3, 500, 0.1)
    together = capital(effect_terms(outcomes, candidate, 0.5), 0.0, 0.5)
    for row in range(3):
        alone = capital(effect_terms(outcomes[row], candidate[row], 0.5), 0.0, 0.5)
        assert (together[row] == alone).all()
        assert (split_capital(candidate, 0.5)[row] == split_capital(candidate[row], 0.5)).all()
    arms = np.arange(20_000) % 2 == 0
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(capital(effect_terms(arms * 1.0, arms, 0.5), 0.0, 0.5)).all()
        assert np.isfinite(split_capital(np.ones(20_000, dtype=bool), 0.01)).all()


@quick
@given(histories, shares, bounds, st.sampled_from([0.05, 0.4]))
def test_the_confidence_sequence_is_what_the_test_does_not_reject(rows, share, bound, alpha):
    terms = effect_terms(*columns(rows), share)
    low = lower_bound(terms, share, alpha)
    rejected = capital(terms, bound, share).max() >= 1 / alpha
    if abs(low - bound) > 1e-5:
        assert rejected == (low > bound)
    assert low == -1 or capital(terms, low, share).max() >= 1 / alpha > capital(terms, low + 1e-5, share).max()
    assert lower_bound(terms[: len(rows) // 2], share, alpha) <= low  # an intersection over time


@pytest.mark.parametrize("gain", [-0.2, 0.0, 0.15])
def test_the_confidence_sequence_holds_the_truth(gain):
    outcomes, candidate = draw(np.random.default_rng(4), 300, 600, gain)
    terms = effect_terms(outcomes, candidate, 0.5)
    lows = [lower_bound(row, 0.5, 0.05) for row in terms]
    highs = [-lower_bound(-row, 0.5, 0.05) for row in terms]
    assert np.mean([low > gain for low in lows]) <= 0.05
    assert np.mean([high < gain for high in highs]) <= 0.05
    assert np.mean(highs) - np.mean(lows) < 0.4  # and it is no mere [-1, 1]


# The votes


@quick
@given(votes_of_few, st.randoms(use_true_random=False), st.floats(0, 45))
def test_neither_the_order_of_delivery_nor_repeated_deliveries_matter(votes, random, now):
    again = [replace(each, at=each.at + random.choice([0.0, 3.0, 20.0])) for each in votes]
    shuffled = votes + again
    random.shuffle(shuffled)
    spec = replace(SPEC, guardrails=("safety",))
    once, often = judge_online(votes, spec, now), judge_online(shuffled, spec, now)
    assert replace(once, duplicates=0) == replace(often, duplicates=0)
    assert often.duplicates - once.duplicates == sum(each.at <= now for each in again)


@quick
@given(votes_of_few, st.integers(0, 45), st.sampled_from([0.0, 5.0, 10.0]))
def test_settled_units_are_those_of_a_plain_account(votes, now, settle_s):
    """Brute force: each unit for itself, from the definition."""
    settled = settle(votes, ("quality", "safety"), settle_s, float(now))
    first = {}
    for each in sorted((each for each in votes if each.at <= now), key=lambda each: (each.at, repr(each))):
        first.setdefault((each.event, each.metric), each)
    expected = {"quality": [], "safety": []}
    opened = {unit: min(v.at for v in first.values() if v.unit == unit) for unit in {v.unit for v in first.values()}}
    mixed = 0
    for unit, begun in sorted(opened.items(), key=lambda item: (item[1], item[0])):
        inside = [each for each in first.values() if each.unit == unit and each.at <= begun + settle_s]
        mixed += len({each.arm for each in inside}) > 1
        if begun + settle_s >= now or len({each.arm for each in inside}) > 1:
            continue
        for metric, rows in expected.items():
            of_metric = [each for each in inside if each.metric == metric]
            if of_metric:
                last = max(of_metric, key=lambda each: (each.at, each.event))
                rows.append((last.value, last.arm == "candidate", begun + settle_s))
    for metric, rows in expected.items():
        found = settled.series[metric]
        columns_ = found.outcomes.tolist(), found.candidate.tolist(), found.at.tolist()
        assert list(zip(*columns_, strict=True)) == rows
    late = sum(each.at > opened[each.unit] + settle_s for each in first.values())
    waiting = sum(begun + settle_s >= now for begun in opened.values())
    assert (settled.contaminated, settled.late, settled.waiting) == (mixed, late, waiting)
    assert settled.duplicates == sum(each.at <= now for each in votes) - len(first)


def series(votes, now=1000.0):
    settled = settle(votes, ("quality",), 10.0, now)
    return settled.series["quality"].outcomes.tolist(), settled


def test_the_last_vote_counts_and_ties_go_by_event():
    votes = [vote("b", at=3, value=0.25), vote("ab", at=3, value=0.5), vote("z", at=1, value=1.0)]
    assert series(votes)[0] == [0.25]


def test_units_that_settle_at_one_time_are_ordered_by_their_id():
    assert series([vote("a", unit="v", value=0.25), vote("b", unit="u", value=0.5)])[0] == [0.5, 0.25]


def test_what_comes_after_settling_is_late_and_changes_nothing():
    votes = [vote("a", value=1.0), vote("b", at=10, value=0.5), vote("c", at=10.1, value=0.0)]
    outcomes, settled = series(votes)
    assert (outcomes, settled.late) == ([0.5], 1)


def test_a_redelivered_event_is_no_revision():
    """The copy of the first vote comes after the second, and must not undo it."""
    votes = [vote("a", at=0, value=1.0), vote("b", at=2, value=0.0), vote("a", at=4, value=1.0)]
    outcomes, settled = series(votes)
    assert (outcomes, settled.duplicates) == ([0.0], 1)


def test_one_event_may_speak_of_several_metrics():
    settled = settle([vote("a"), vote("a", metric="safety")], ("quality", "safety"), 10.0, 100.0)
    assert [len(settled.series[name].at) for name in ("quality", "safety")] == [1, 1]
    assert settled.duplicates == 0


def test_a_unit_in_both_arms_is_set_aside_but_not_once_it_has_settled():
    both = [vote("a"), vote("b", arm="candidate", at=1)]
    after = [vote("a"), vote("b", arm="candidate", at=11)]
    assert (series(both)[0], series(both)[1].contaminated) == ([], 1)
    assert (series(after)[0], series(after)[1].contaminated, series(after)[1].late) == ([1.0], 0, 1)


def test_a_unit_enters_only_after_it_has_settled():
    assert [series([vote("a")], now)[0] for now in (9.0, 10.0, 10.1)] == [[], [], [1.0]]
    assert series([vote("a")], 9.0)[1].waiting == 1


# The verdict


@pytest.mark.parametrize(
    ("gain", "guardrail", "decision", "named"),
    [
        (0.25, None, "promote", "quality is better"),
        (-0.25, None, "roll back", "quality is worse"),
        (0.0, None, "go on", "not shown that quality is better"),
        (0.25, 0.05, "promote", "safety is no worse"),
        (0.25, -0.4, "roll back", "safety is worse"),  # a gain does not excuse it
    ],
)
def test_the_decision_and_its_reason(gain, guardrail, decision, named):
    spec, metrics = SPEC, ("quality",)
    if guardrail is not None:
        spec, metrics = replace(SPEC, guardrails=("safety",), margin=0.05), ("quality", "safety")
    votes = traffic(1500, contents(gain, guardrail), metrics=metrics)
    verdict = judge_online(votes, spec, 5000.0)
    assert (verdict.decision, named in verdict.reason) == (decision, True), verdict.reason
    assert verdict.reason.startswith(decision.capitalize())
    assert verdict.reason.endswith(".")
    assert ". " not in verdict.reason
    assert (verdict.stopped_at is None) == (decision == "go on")
    assert [effect.metric for effect in verdict.effects] == list(metrics)
    assert from_json(type(verdict), to_json(verdict)) == verdict


def test_figures_are_those_of_the_units_until_the_stop():
    verdict = judge_online(traffic(1500, contents(0.25)), SPEC, 5000.0)
    [effect] = verdict.effects
    assert effect.units_champion + effect.units_candidate == verdict.stopped_at - SPEC.settle_s + 1 < 1500
    assert 0 <= effect.low < effect.estimate < effect.high
    assert effect.e_better >= 1 / SPEC.alpha > effect.e_worse


@pytest.mark.parametrize("gain", [0.25, -0.25, 0.0])
def test_asking_often_and_asking_once_say_the_same(gain):
    """Continuous peeking: from the first moment that a rule held, the verdict stands, whatever is asked and comes."""
    votes = traffic(400, contents(gain))
    verdicts = [judge_online(votes, SPEC, now) for now in np.arange(0, 420, 7.0)]
    stopped = [verdict for verdict in verdicts if verdict.decision != "go on"]
    last = judge_online(votes, SPEC, 1000.0)
    assert (len(stopped) > 0) == (gain != 0)
    for verdict in stopped:
        kept = replace(verdict, waiting=0, late=0, duplicates=0, contaminated=0)
        assert kept == replace(last, waiting=0, late=0, duplicates=0, contaminated=0)


@quick
@given(votes_of_few, st.integers(0, 45))
def test_what_comes_later_is_not_read(votes, now):
    spec = replace(SPEC, guardrails=("safety",))
    past = [each for each in votes if each.at <= now]
    assert judge_online(votes, spec, float(now)) == judge_online(past, spec, float(now))


def test_a_win_waits_for_the_minimum_duration_and_units_but_a_loss_does_not():
    better, worse = traffic(600, contents(0.3)), traffic(600, contents(-0.3))
    at_once = judge_online(better, SPEC, 5000.0).stopped_at
    slow, many = replace(SPEC, min_duration_s=2000), replace(SPEC, min_units=500)
    assert at_once < 400
    assert judge_online(better, slow, 1999.0).decision == "go on"
    assert "hours are over" in judge_online(better, slow, 1999.0).reason
    assert judge_online(better, slow, 2000.0).decision == "go on"  # a unit may still settle at this moment
    assert judge_online(better, slow, 2001.0).stopped_at == 2000
    assert judge_online(better, many, 5000.0).stopped_at == 499 + SPEC.settle_s
    assert "of at least 500 units have settled" in judge_online(better, many, 450.0).reason
    assert judge_online(worse, replace(slow, min_units=500), 5000.0).stopped_at < 400


def test_a_crossing_counts_although_the_capital_falls_again():
    """After the win the candidate fails; the minimum duration is over only then. Ville's bound is on the maximum."""
    good, bad = traffic(400, contents(0.4)), traffic(60, contents(-0.3), seed=2)
    bad = [replace(each, unit="x" + each.unit, event="x" + each.event, at=each.at + 400) for each in bad]
    spec = replace(SPEC, min_duration_s=470)
    verdict = judge_online(good + bad, spec, 471.0)
    assert (verdict.decision, verdict.stopped_at) == ("promote", 470)


def test_when_the_maximum_duration_is_over_the_champion_stays():
    votes = traffic(500, contents(0.0))
    verdict = judge_online(votes, replace(SPEC, max_duration_s=300), 5000.0)
    assert (verdict.decision, verdict.stopped_at) == ("no winner", 300)
    assert verdict.reason.startswith("No winner after")
    assert sum((verdict.effects[0].units_champion, verdict.effects[0].units_candidate)) == 291
    late_win = traffic(1500, contents(0.25))
    stop = judge_online(late_win, SPEC, 5000.0).stopped_at
    assert judge_online(late_win, replace(SPEC, max_duration_s=stop - 1), 5000.0).decision == "no winner"
    assert judge_online(late_win, replace(SPEC, max_duration_s=stop), 5000.0).decision == "promote"


@pytest.mark.parametrize(("asked", "came"), [(0.5, 0.62), (0.5, 0.4), (0.1, 0.2)])
def test_a_wrong_split_stops_the_test_and_promotes_nothing(asked, came):
    votes = traffic(3000, contents(0.0), share=came)
    verdict = judge_online(votes, replace(SPEC, share=asked), 5000.0)
    assert (verdict.decision, "the split of units is not what was asked for" in verdict.reason) == ("not judged", True)
    assert judge_online(votes, replace(SPEC, share=came), 5000.0).decision != "not judged"


def test_the_alarm_is_shared_by_all_metrics():
    """Only the candidate's units come, and the capital has just passed 1000 of the 2000 that two metrics need."""
    path = split_capital(np.ones(100, dtype=bool), 0.5)
    count = int((path >= 1000).argmax()) + 1
    votes = [vote(f"{number}", f"u{number}", "candidate", 0.0, 1.0) for number in range(count)]
    assert judge_online(votes, SPEC, 100.0).decision == "not judged"
    assert judge_online(votes[:-1], SPEC, 100.0).decision == "go on"
    assert judge_online(votes, replace(SPEC, guardrails=("safety",)), 100.0).decision == "go on"


def test_a_metric_that_one_arm_keeps_quiet_about_is_a_wrong_split_too():
    votes = traffic(2000, contents(0.0, 0.0), metrics=("quality", "safety"))
    quiet = [each for each in votes if (each.arm, each.metric, each.value) != ("candidate", "safety", 1.0)]
    verdict = judge_online(quiet, replace(SPEC, guardrails=("safety",)), 5000.0)
    assert (verdict.decision, "with safety" in verdict.reason) == ("not judged", True)


def test_a_guardrail_without_votes_is_not_shown():
    spec = replace(SPEC, guardrails=("safety",))
    verdict = judge_online(traffic(1500, contents(0.25)), spec, 5000.0)
    assert verdict.decision == "go on"
    assert "safety is no worse than the champion's (an arm has no settled unit" in verdict.reason
    assert "quality" not in verdict.reason  # which is shown
    assert judge_online(traffic(1500, contents(0.25)), spec, 200_000.0).decision == "no winner"


def test_a_guardrail_that_lost_less_than_the_margin_is_kept():
    votes = traffic(1500, contents(0.25, -0.05), metrics=("quality", "safety"))
    verdict = judge_online(votes, replace(SPEC, guardrails=("safety",), margin=0.25), 5000.0)
    assert (verdict.decision, verdict.effects[1].estimate < 0) == ("promote", True)
    assert verdict.effects[1].e_worse < 5


def test_without_votes_it_goes_on():
    verdict = judge_online([], SPEC, 0.0)
    assert (verdict.decision, verdict.effects[0].estimate) == ("go on", None)
    assert (verdict.effects[0].low, verdict.effects[0].high) == (-1, 1)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_outcomes_that_are_all_equal_show_nothing(value):
    votes = [replace(each, value=value) for each in traffic(1000, contents(0.0))]
    verdict = judge_online(votes, SPEC, 5000.0)
    assert (verdict.decision, verdict.effects[0].estimate) == ("go on", 0)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"value": math.nan}, "says nan"),
        ({"value": 1.01}, "says 1.01"),
        ({"value": -0.1}, "says -0.1"),
        ({"value": math.inf}, "says inf"),
        ({"arm": "baseline"}, "names the arm 'baseline'"),
        ({"at": math.nan}, "received at nan"),
        ({"unit": ""}, "no event or no unit"),
        ({"event": ""}, "no event or no unit"),
    ],
)
def test_one_unusable_vote_promotes_nothing(bad, named):
    votes = traffic(1500, contents(0.25))
    assert judge_online(votes, SPEC, 5000.0).decision == "promote"
    verdict = judge_online([*votes, replace(vote("bad"), **bad)], SPEC, 5000.0)
    assert (verdict.decision, named in verdict.reason) == ("not judged", True), verdict.reason
    other = replace(vote("bad"), **bad, metric="other")
    assert judge_online([*votes, other], SPEC, 5000.0).decision == "promote"  # of a metric that is not read


@pytest.mark.parametrize("now", [math.nan, math.inf])
def test_a_time_that_is_none_judges_nothing(now):
    assert judge_online(traffic(1500, contents(0.25)), SPEC, now).decision == "not judged"


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("alpha", 0, "greater than 0"),
        ("alpha", 1, "less than 0.5"),
        ("alpha", math.nan, "alpha"),
        ("share", 0, "share"),
        ("share", 1, "share"),
        ("margin", -0.01, "greater than 0"),
        ("srm_alpha", 0, "greater than 0"),
        ("settle_s", -1, "greater than or equal to 0"),
        ("settle_s", math.nan, "finite"),
        ("min_units", 0, "greater than or equal to 1"),
        ("max_duration_s", 3600, "must be at least min_duration_s"),
        ("settle_s", 14 * 86_400, "above settle_s"),
        ("max_duration_s", math.inf, "finite"),
        ("metric", "", "metric"),
        ("guardrails", ("quality",), "take it out of guardrails"),
        ("guardrails", ("safety", "safety"), "keep each once"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_bad_spec_is_refused_with_the_mend(field, value, named):
    with pytest.raises(ValidationError, match=named):
        OnlineSpec(**{field: value})


# The simulations of `make bench-gate`, in small


def test_false_winners_stay_under_alpha_where_a_naive_test_fails():
    wrong = online_false_winner_share(np.random.default_rng(5), histories=200, units=2000)
    assert wrong.share <= 0.05
    assert wrong.naive_share > 0.15
    at_margin = online_false_winner_share(np.random.default_rng(6), histories=200, units=2000, loss=0.02)
    assert at_margin.share <= 0.05


def test_votes_that_come_thrice_and_change_are_judged_as_the_settled_outcomes_are():
    for gain, least, most in [(0.0, 0.0, 0.1), (0.15, 0.9, 1.0), (-0.15, 0.0, 0.0)]:
        wins = online_delivered_thrice(np.random.default_rng(7), histories=12, units=800, gain=gain)
        assert least <= wins.share <= most


def test_votes_of_the_simulation_hold_what_it_says():
    rng = np.random.default_rng(8)
    content, candidate = draw(rng, 1, 300, 0.0)
    settled = settle(deliveries(rng, content[0], candidate[0]), ("quality",), 100.0, 10_000.0)
    found = settled.series["quality"]
    assert (found.outcomes == content[0]).all()
    assert (found.candidate == candidate[0]).all()
    assert settled.late > 10
    assert settled.duplicates > 600


def test_a_true_win_is_found_about_as_soon_as_a_test_of_one_look_would():
    wins = online_win_units(np.random.default_rng(9), gain=0.1, histories=100, units=2000)
    assert wins.share >= 0.98
    assert wins.median_units < 1.3 * wins.fixed_units
    assert wins.median_units <= wins.p80_units
