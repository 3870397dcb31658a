"""The gate's intervals against SciPy, hand-computed figures and brute force."""

import math
import time
from itertools import combinations, product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial
from scipy.stats import binom, binomtest, multinomial

from tasks.measure.statistics import (
    Difference,
    check_scores,
    holm,
    mcnemar,
    mcnemar_mid_p,
    mean_interval,
    paired_difference,
    rows_needed,
    smallest_shown,
)
from tests.unit.measured import paired_scores

unit = st.floats(0, 1, allow_nan=False)
pairs = st.lists(st.tuples(unit, unit), min_size=1, max_size=60)
alphas = st.sampled_from([0.01, 0.05, 0.2])
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


def tango_limits(rows, won, lost, alpha):
    """Return Tango's two limits in closed form: the ends of the real roots of his equation as a polynomial.

    With score z, the variance is v(D) = (won - lost - n D)^2 / (n z^2); put into the equation of the share q of lost
    rows, 2 n q^2 + B q + C = 0 with q = (v - D (1 - D)) / 2, it gives a quartic.
    Source: Z. Yang, X. Sun and J. W. Hardin, Statistics in Medicine 32 (2013), 1336-1342.
    """
    difference = Polynomial([0, 1])
    z = NormalDist().inv_cdf(1 - alpha)
    share = ((won - lost - rows * difference) ** 2 / (rows * z * z) - difference * (1 - difference)) / 2
    linear = (2 * rows - won + lost) * difference - won - lost
    roots = (2 * rows * share**2 + linear * share - lost * difference * (1 - difference)).roots()
    real = [root.real for root in roots if abs(root.imag) < 1e-5]
    return min(real), max(real)


def won_and_lost(rows, won, lost, alpha):
    return paired_difference(*paired_scores(rows, 0, won, lost), alpha)


@pytest.mark.parametrize(
    ("rows", "won", "lost", "alpha", "low", "high"),
    [
        (21, 1, 7, 0.025, -0.517, -0.026),  # Bentur et al. 2009, airway hyper-responsiveness
        (618, 28, 25, 0.05, -0.0148, 0.0247),
    ],
)
def test_the_paired_interval_is_the_published_one(rows, won, lost, alpha, low, high):
    """The first of M. W. Fagerland et al., Statistics in Medicine 33 (2014), the second of PropCIs::scoreci.mp in R."""
    estimate = won_and_lost(rows, won, lost, alpha)
    digits = len(str(low)) - 3
    assert (round(estimate.low, digits), round(estimate.high, digits)) == (low, high)


@quick
@given(st.integers(2, 3000), st.floats(0, 0.5), st.floats(0, 0.5), alphas)
def test_the_paired_interval_is_tangos_in_closed_form(rows, won, lost, alpha):
    gained, dropped = round(rows * won), round(rows * lost)
    if not 0 < gained + dropped < rows:  # no table at all, or one for which the quartic has double roots
        return
    estimate = won_and_lost(rows, gained, dropped, alpha)
    assert (estimate.low, estimate.high) == pytest.approx(tango_limits(rows, gained, dropped, alpha), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("rows", [1, 2, 50, 2000])
def test_without_a_discordant_row_the_interval_is_wilsons_around_zero(rows, alpha):
    """Closed form of the score test with both counts zero: z^2 / (n + z^2) on either side."""
    estimate = won_and_lost(rows, 0, 0, alpha)
    square = NormalDist().inv_cdf(1 - alpha) ** 2
    assert (estimate.low, estimate.high) == pytest.approx((-square / (rows + square), square / (rows + square)))
    assert estimate.value == 0


@pytest.mark.parametrize("rows", [1, 2, 50, 2000])
def test_where_all_rows_differ_one_way_the_interval_ends_there(rows):
    better, worse = won_and_lost(rows, rows, 0, 0.05), won_and_lost(rows, 0, rows, 0.05)
    assert (better.value, better.high) == (1, 1)
    assert -1 < better.low < 1
    assert (worse.value, worse.low, worse.high) == (-1, -1, -better.low)


def missed(rows, won, lost, alpha=0.05):
    """Return how often the bounds miss the truth, low and high: every table, weighted by its probability."""
    truth, low, high = won - lost, 0.0, 0.0
    likely = int(binom.isf(1e-7, rows, won)), int(binom.isf(1e-7, rows, lost))
    law = multinomial(rows, [won, lost, 1 - won - lost])
    for gained, dropped in product(range(likely[0] + 1), range(likely[1] + 1)):
        if gained + dropped <= rows:
            weight = law.pmf([gained, dropped, rows - gained - dropped])
            difference = Difference((gained - dropped) / rows, -1, 1, rows, gained, dropped)
            low += weight * (difference.p_above(truth) < alpha)
            high += weight * (difference.p_above(truth) > 1 - alpha)
    return low, high


@pytest.mark.parametrize(
    ("rows", "won", "lost", "expected"),
    [
        (60, 0.0, 0.03, 0.0),  # a candidate that only loses: two misses of 60 still do not pass
        (150, 0.0, 0.03, 0.0585),
        (300, 0.0, 0.02, 0.0602),  # the worst of 533 settings
        (400, 0.0, 0.01, 0.0180),
        (800, 0.0, 0.01, 0.0417),
        (400, 0.05, 0.07, 0.0498),
        (60, 0.02, 0.05, 0.0536),
        (60, 0.05, 0.05, 0.0494),
        (25, 0.2, 0.2, 0.0533),
    ],
)
def test_exact_error_of_the_lower_bound(rows, won, lost, expected):
    """How often a candidate whose true loss is the margin (or zero, for a gain) would be taken for better than that."""
    low, high = missed(rows, won, lost)
    assert low == pytest.approx(expected, abs=1e-4)
    assert low <= 0.0605
    assert high <= 0.09  # the other bound refuses; it may do so early


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
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


@quick
@given(pairs, alphas)
def test_bounds_are_ordered_and_more_rows_are_narrower(rows, alpha):
    candidate, reference = columns(rows)
    once = paired_difference(candidate, reference, alpha)
    often = paired_difference(np.tile(candidate, 4), np.tile(reference, 4), alpha)
    assert -1 <= once.low <= once.value + 1e-12
    assert once.value - 1e-12 <= once.high <= 1
    assert once.high - once.low > 1e-3
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
@given(pairs)
def test_the_p_value_rises_with_the_bound(rows):
    estimate = paired_difference(*columns(rows), 0.05)
    values = [estimate.p_above(bound) for bound in np.linspace(-1, 1, 41)]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values)


@quick
@given(pairs)
def test_the_counts_of_won_and_lost_rows_are_none_or_more_and_match_the_differences(rows):
    candidate, reference = columns(rows)
    estimate, differences = paired_difference(candidate, reference, 0.05), candidate - reference
    assert min(estimate.won, estimate.lost) >= 0
    assert estimate.won - estimate.lost == pytest.approx(differences.sum(), abs=1e-12)
    assert len(rows) + 1e-12 >= estimate.won + estimate.lost >= (differences**2).sum() - 1e-12


def test_scores_that_all_shift_alike_are_judged_too_carefully_never_too_mildly():
    """Half a point on every row counts as half of the rows won; by the squares alone fewer than none would be lost."""
    estimate = paired_difference(np.full(100, 0.75), np.full(100, 0.25), 0.05)
    assert (estimate.won, estimate.lost) == (50, 0)


def test_a_hundred_thousand_rows_take_a_moment():
    rng = np.random.default_rng(5)
    candidate, reference = rng.random(100_000), rng.random(100_000)
    start = time.perf_counter()
    estimate = paired_difference(candidate, reference, 0.05)
    assert time.perf_counter() - start < 0.5
    assert estimate.low < 0 < estimate.high


@quick
@given(st.lists(st.floats(0, 1), min_size=0, max_size=5), alphas)
def test_holm_is_the_closure_of_bonferroni(p_values, alpha):
    """A hypothesis falls when Bonferroni's test rejects every intersection that it belongs to."""
    indices = range(len(p_values))
    subsets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(indices, size)]
    falls = {chosen: min(p_values[index] for index in chosen) <= alpha / len(chosen) for chosen in subsets}
    expected = [all(falls[chosen] for chosen in subsets if index in chosen) for index in indices]
    assert holm(p_values, alpha) == expected


@pytest.mark.parametrize(("gained", "lost", "bound"), [(14, 10, 0.0), (3, 5, -0.03), (1, 2, -0.01), (5, 5, -0.01)])
def test_the_rows_needed_decide_and_fewer_do_not(gained, lost, bound):
    estimate = won_and_lost(200, gained, lost, 0.05)
    assert estimate.low <= bound < estimate.value
    total = estimate.rows + rows_needed(estimate, bound, 0.05)

    def shown(rows):
        share = rows / estimate.rows
        grown = Difference(estimate.value, -1, 1, rows, gained * share, lost * share)
        return grown.p_above(bound) < 0.05

    assert shown(total)
    assert not shown(total - 1)


@pytest.mark.parametrize("bound", [0.0, 0.01, 0.2])
def test_no_rows_help_an_estimate_on_or_below_the_bound(bound):
    assert rows_needed(won_and_lost(100, 5, 5, 0.05), bound, 0.05) is None


def test_rows_needed_fall_with_the_distance():
    estimate = won_and_lost(100, 5, 5, 0.05)
    needed = [rows_needed(estimate, -margin, 0.05) for margin in (0.005, 0.01, 0.02, 0.05)]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] >= 1


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


@pytest.mark.parametrize("bound", [-0.02, 0.0])
@pytest.mark.parametrize("alpha", [0.05, 0.003])
@pytest.mark.parametrize(("won", "lost"), [(20, 20), (5, 30), (0, 12), (40, 0)])
def test_the_smallest_difference_shown_is_found_by_trying_all(won, lost, alpha, bound):
    rows, discordant = 400, won + lost
    found = smallest_shown(Difference((won - lost) / rows, 0, 0, rows, won, lost), bound, alpha)
    passing = [
        (w - (discordant - w)) / rows
        for w in range(discordant + 1)
        if paired_difference(*paired_scores(rows, 300, w, discordant - w), alpha).low > bound
    ]
    if found is None:
        assert passing == []
    else:
        step = 2 / rows  # one row from lost to won
        assert min(passing) - step <= found <= min(passing) + 1e-9


@pytest.mark.parametrize(("won", "lost"), [(0, 1), (1, 0), (7, 1), (10, 10), (5, 12), (60, 41), (5200, 4800)])
def test_mcnemars_p_value_is_the_binomial_tests(won, lost):
    expected = binomtest(won, won + lost, 0.5, alternative="greater").pvalue
    assert mcnemar(won, lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_mid_p(won, lost) == pytest.approx(expected - binom.pmf(won, won + lost, 0.5) / 2, rel=1e-9)


@quick
@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemars_p_value_counts_the_ways_to_win_as_many(won, lost):
    """Of all ways in which the discordant rows could have fallen, the share with as many won; with more, and half."""
    if won + lost == 0 or won + lost > 12:
        return
    ways = [sum(way) for way in product((0, 1), repeat=won + lost)]
    more, as_many = sum(wins > won for wins in ways), sum(wins == won for wins in ways)
    assert mcnemar(won, lost) == pytest.approx((more + as_many) / len(ways), rel=1e-12)
    assert mcnemar_mid_p(won, lost) == pytest.approx((more + as_many / 2) / len(ways), rel=1e-12)


def test_without_a_discordant_row_nothing_is_shown():
    assert (mcnemar(0, 0), mcnemar_mid_p(0, 0)) == (1.0, 1.0)


@pytest.mark.parametrize(("won", "lost"), [(-1, 2), (2, -1), (0.5, 3), (3, math.nan), (math.inf, 1)])
def test_what_is_no_count_of_rows_is_refused(won, lost):
    for test in (mcnemar, mcnemar_mid_p):
        with pytest.raises(ValueError, match="whole counts of rows from 0 on"):
            test(won, lost)
