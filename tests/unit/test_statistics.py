"""The gate's intervals against SciPy, hand-computed figures and brute force."""

import math
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial, ttest_1samp

from tasks.measure.statistics import (
    check_scores,
    holm,
    mean_interval,
    paired_difference,
    paired_ratio,
    rows_needed,
)
from tests.unit.measured import paired_scores

unit = st.floats(0, 1, allow_nan=False)
pairs = st.lists(st.tuples(unit, unit), min_size=1, max_size=60)
alphas = st.sampled_from([0.01, 0.05, 0.2])
timings = st.lists(st.tuples(st.floats(1e-4, 10), st.floats(1e-4, 10)), min_size=3, max_size=30)
quick = settings(max_examples=60, deadline=None)


def columns(rows):
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


@pytest.mark.parametrize(("right", "rows"), [(0, 20), (1, 20), (10, 20), (20, 20), (850, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_interval_of_a_mean_is_wilsons(right, rows, level):
    low, high = mean_interval(np.array([1.0] * right + [0.0] * (rows - right)), level)
    expected = binomtest(right, rows).proportion_ci(level, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@quick
@given(st.lists(unit, min_size=1, max_size=50))
def test_the_interval_of_a_mean_holds_the_mean_and_stays_in_bounds(scores):
    low, high = mean_interval(np.array(scores))
    assert 0 <= low <= np.mean(scores) + 1e-12
    assert np.mean(scores) - 1e-12 <= high <= 1


def test_the_paired_interval_is_agresti_and_mins_by_hand():
    """Rows 100, 10 won and 4 lost: centre 6/102, variance (10.5 + 4.5 - 6^2/102) / 102^2, z 1.959964."""
    estimate = paired_difference(*paired_scores(100, 70, gained=10, lost=4), alpha=0.025)
    assert estimate.value == pytest.approx(0.06)
    assert estimate.centre == pytest.approx(0.058824, abs=1e-6)
    assert estimate.error == pytest.approx(0.037521, abs=1e-6)
    assert (estimate.low, estimate.high) == pytest.approx((-0.014717, 0.132364), abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "won", "lost", "excess"),
    [
        (25, 0.06, 0.06, 0.0),
        (25, 0.2, 0.1, 0.005),
        (60, 0.06, 0.06, 0.0),
        (60, 0.05, 0.07, 0.0),
        (60, 0.2, 0.1, 0.005),
        (60, 0.02, 0.05, 0.017),
        (60, 0.0, 0.03, 0.111),  # a model that only ever loses is judged too mildly: a known limit of the method
        (150, 0.0, 0.03, 0.009),
    ],
)
def test_exact_coverage_of_the_paired_bounds(rows, won, lost, excess):
    """Every table of won and lost rows, weighted by its multinomial probability; `excess` is what misses beyond 5 %."""
    law = multinomial(rows, [won, lost, 1 - won - lost])
    truth, alpha, missed_low, missed_high = won - lost, 0.05, 0.0, 0.0
    for gained in range(rows + 1):
        for dropped in range(rows + 1 - gained):
            weight = law.pmf([gained, dropped, rows - gained - dropped])
            if weight < 1e-9:
                continue
            estimate = paired_difference(*paired_scores(rows, 0, gained, dropped), alpha)
            missed_low += weight * (estimate.low > truth)
            missed_high += weight * (estimate.high < truth)
    assert missed_low <= alpha + excess
    assert missed_high <= alpha + excess


def test_simulated_coverage_with_scores_between_zero_and_one():
    rng = np.random.default_rng(11)
    missed = 0
    for _ in range(600):
        shared = rng.uniform(0.2, 0.8, 80)
        candidate, reference = shared + rng.normal(0.02, 0.05, 80), shared + rng.normal(0, 0.05, 80)
        estimate = paired_difference(candidate.clip(0, 1), reference.clip(0, 1), 0.05)
        missed += estimate.low > 0.02
    assert missed / 600 <= 0.08


@quick
@given(pairs, alphas)
def test_swapping_candidate_and_reference_mirrors_the_estimate(rows, alpha):
    candidate, reference = columns(rows)
    there, back = paired_difference(candidate, reference, alpha), paired_difference(reference, candidate, alpha)
    assert there.value == pytest.approx(-back.value, abs=1e-12)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


@quick
@given(pairs, alphas)
def test_bounds_are_ordered_and_more_rows_are_narrower(rows, alpha):
    candidate, reference = columns(rows)
    once = paired_difference(candidate, reference, alpha)
    often = paired_difference(np.tile(candidate, 4), np.tile(reference, 4), alpha)
    assert once.low < once.centre < once.high
    assert often.high - often.low < once.high - once.low


@quick
@given(pairs, alphas, st.floats(-0.5, 0.5))
def test_the_p_value_and_the_bound_say_the_same(rows, alpha, bound):
    estimate = paired_difference(*columns(rows), alpha)
    if abs(estimate.low - bound) > 1e-9:
        assert (estimate.p_above(bound) < alpha) == (estimate.low > bound)
    if abs(estimate.high - bound) > 1e-9:
        assert (estimate.p_above(bound) > 1 - alpha) == (estimate.high < bound)


@quick
@given(timings, alphas)
def test_the_ratio_is_students_interval_on_logarithms(rows, alpha):
    first, second = columns(rows)
    logs = np.log(first / second)
    if logs.std() < 1e-6:
        return
    estimate = paired_ratio(first, second, alpha)
    expected = ttest_1samp(logs, 0).confidence_interval(1 - 2 * alpha)
    assert estimate.value == pytest.approx(math.exp(logs.mean()), rel=1e-9)
    assert (estimate.low, estimate.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)), rel=1e-9)


@quick
@given(timings)
def test_swapping_the_timings_inverts_the_ratio(rows):
    first, second = columns(rows)
    there, back = paired_ratio(first, second, 0.05), paired_ratio(second, first, 0.05)
    assert there.low <= there.value <= there.high
    assert (there.value, there.low, there.high) == pytest.approx(
        (1 / back.value, 1 / back.high, 1 / back.low), rel=1e-9
    )


def test_simulated_coverage_of_the_ratio_with_a_noisy_machine():
    """What slows both blocks of a pair cancels out; only the noise of single blocks counts."""
    rng = np.random.default_rng(12)
    missed = 0
    for _ in range(400):
        slow = rng.lognormal(0, 0.5, 12)
        candidate, reference = 0.5 * slow * rng.lognormal(0, 0.05, 12), slow * rng.lognormal(0, 0.05, 12)
        missed += paired_ratio(candidate, reference, 0.05).high < 0.5
    assert missed / 400 <= 0.08


def test_steady_timings_give_a_point():
    estimate = paired_ratio([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 0.05)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.5, 0.5, 0.5))


@quick
@given(st.lists(st.floats(0, 1), min_size=0, max_size=5), alphas)
def test_holm_is_the_closure_of_bonferroni(p_values, alpha):
    """A hypothesis falls when Bonferroni's test rejects every intersection that it belongs to."""
    indices = range(len(p_values))
    subsets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(indices, size)]
    falls = {chosen: min(p_values[index] for index in chosen) <= alpha / len(chosen) for chosen in subsets}
    expected = [all(falls[chosen] for chosen in subsets if index in chosen) for index in indices]
    assert holm(p_values, alpha) == expected


@pytest.mark.parametrize(("gained", "lost", "bound"), [(14, 10, 0.0), (6, 8, -0.03), (3, 9, -0.01), (5, 5, -0.01)])
def test_the_rows_needed_decide_and_far_fewer_do_not(gained, lost, bound):
    scores = paired_scores(200, 150, gained, lost)
    estimate = paired_difference(*scores, 0.05)
    assert estimate.low <= bound <= estimate.high
    needed = rows_needed(estimate, bound, 0.05)
    total = estimate.rows + needed

    def decided(rows):
        repeats = rows / estimate.rows
        more = paired_difference(*paired_scores(rows, 0, round(gained * repeats), round(lost * repeats)), 0.05)
        return not more.low <= bound <= more.high

    assert decided(math.ceil(1.1 * total))
    assert not decided(max(estimate.rows, math.floor(0.8 * total)))


def test_no_rows_decide_an_estimate_on_the_bound():
    estimate = paired_difference(*paired_scores(100, 80, 5, 5), 0.05)
    assert rows_needed(estimate, 0.0, 0.05) is None


def test_rows_needed_fall_with_the_distance():
    estimate = paired_difference(*paired_scores(100, 80, 5, 5), 0.05)
    needed = [rows_needed(estimate, -margin, 0.05) for margin in (0.005, 0.01, 0.02, 0.05)]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] >= 1
    z = NormalDist().inv_cdf(0.95)
    assert needed[0] == math.ceil((z * estimate.deviation / 0.005) ** 2) - 100


@pytest.mark.parametrize("bad", [[], [math.nan], [1.0, math.inf], [-0.01, 0.5], [0.5, 1.01]])
def test_what_is_no_score_is_refused(bad):
    scores = np.array(bad, dtype=np.float64)
    for call in (
        lambda: check_scores(scores),
        lambda: mean_interval(scores),
        lambda: paired_difference(scores, np.ones(len(scores)), 0.05),
        lambda: paired_difference(np.ones(len(scores)), scores, 0.05),
    ):
        with pytest.raises(ValueError, match="score"):
            call()


def test_scores_of_different_length_are_refused():
    with pytest.raises(ValueError, match="equal length, not 3 and 2"):
        paired_difference(np.ones(3), np.ones(2), 0.05)


@pytest.mark.parametrize(
    ("candidate", "reference", "named"),
    [
        ([1.0, 1.0], [1.0, 1.0], "three pairs"),
        ([1.0, 1.0, 1.0], [1.0, 1.0], "three pairs"),
        ([1.0, 0.0, 1.0], [1.0] * 3, "positive"),
        ([1.0] * 3, [1.0, -1.0, 1.0], "positive"),
        ([1.0, math.nan, 1.0], [1.0] * 3, "positive"),
        ([1.0, math.inf, 1.0], [1.0] * 3, "positive"),
    ],
)
def test_timings_that_cannot_be_are_refused(candidate, reference, named):
    with pytest.raises(ValueError, match=named):
        paired_ratio(candidate, reference, 0.05)
