"""The ratio of paired block timings: its bounds against the definition, SciPy's and simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from tasks.measure.speed.ratios import WIDEST, block_ratio, noise

timings = st.lists(st.tuples(st.floats(1e-4, 10), st.floats(1e-4, 10)), min_size=3, max_size=30)
alphas = st.sampled_from([0.005, 0.05, 0.2])
few = settings(max_examples=40, deadline=None)


def columns(rows):
    return [row[0] for row in rows], [row[1] for row in rows]


def brute_force(candidate, reference, alpha, resamples, seed):
    """The bounds as the docstring says them, one resample at a time."""
    logs = np.log(np.array(candidate) / np.array(reference))
    count, centre, error = len(logs), logs.mean(), logs.std(ddof=1) / math.sqrt(len(logs))
    rng, scores = np.random.default_rng(seed), []
    for drawn in rng.integers(0, count, (resamples, count)):
        again = logs[drawn]
        spread = again.std(ddof=1)
        scores.append(abs(again.mean() - centre) / (spread / math.sqrt(count)) if spread > 1e-12 else math.inf)
    scores.sort()
    critical = scores[min(math.ceil((1 - 2 * alpha) * (resamples + 1)), resamples) - 1]
    return math.exp(centre - critical * error), math.exp(centre + critical * error)


@pytest.mark.parametrize("blocks", [8, 12, 25])
@pytest.mark.parametrize("alpha", [0.025, 0.1])
def test_the_bounds_are_those_of_the_symmetric_bootstrap_t(blocks, alpha):
    rng = np.random.default_rng(blocks)
    reference = rng.lognormal(0, 0.3, blocks)
    candidate = 0.6 * reference * np.exp(rng.exponential(0.2, blocks))
    estimate = block_ratio(candidate, reference, alpha, resamples=2000, seed=5)
    low, high = brute_force(candidate, reference, alpha, 2000, 5)
    student = ttest_1samp(np.log(candidate / reference), 0).confidence_interval(1 - 2 * alpha)
    assert estimate.low == pytest.approx(min(low, math.exp(student.low)), rel=1e-9)
    assert estimate.high == pytest.approx(max(high, math.exp(student.high)), rel=1e-9)
    assert estimate.value == pytest.approx(math.exp(np.log(candidate / reference).mean()))
    assert estimate.blocks == blocks


@few
@given(timings, alphas)
def test_it_is_never_narrower_than_students_interval(rows, alpha):
    first, second = columns(rows)
    logs = np.log(np.array(first) / np.array(second))
    if logs.std() < 1e-6:
        return
    estimate = block_ratio(first, second, alpha, resamples=500)
    student = ttest_1samp(logs, 0).confidence_interval(1 - 2 * alpha)
    assert noise(estimate) >= min((student.high - student.low) / 2, WIDEST) * (1 - 1e-9)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.low > 0
    assert math.isfinite(estimate.high)


@few
@given(timings)
def test_swapping_the_timings_inverts_the_ratio(rows):
    first, second = columns(rows)
    there, back = block_ratio(first, second, 0.05, 500), block_ratio(second, first, 0.05, 500)
    assert (there.value, there.low, there.high) == pytest.approx(
        (1 / back.value, 1 / back.high, 1 / back.low), rel=1e-6
    )


@few
@given(timings, st.floats(0.1, 10))
def test_a_factor_on_one_model_is_a_factor_on_the_ratio(rows, factor):
    first, second = columns(rows)
    once = block_ratio(first, second, 0.05, 500)
    scaled = block_ratio([factor * value for value in first], second, 0.05, 500)
    assert scaled.value == pytest.approx(factor * once.value, rel=1e-9)
    assert noise(scaled) == pytest.approx(noise(once), rel=1e-6, abs=1e-9)


def test_what_slows_both_blocks_of_a_pair_cancels_out():
    slow = np.random.default_rng(1).lognormal(0, 1, 25)
    steady = np.random.default_rng(2).lognormal(0, 0.01, 25)
    here, there = block_ratio(steady, np.ones(25), 0.05), block_ratio(steady * slow, slow, 0.05)
    assert (here.value, here.low, here.high) == pytest.approx((there.value, there.low, there.high))


def test_the_same_timings_give_the_same_bounds_and_another_seed_others():
    rng = np.random.default_rng(3)
    first, second = rng.lognormal(0, 0.1, 12), rng.lognormal(0, 0.1, 12)
    assert block_ratio(first, second, 0.05) == block_ratio(first, second, 0.05)
    assert block_ratio(first, second, 0.05) != block_ratio(first, second, 0.05, seed=1)


def test_the_chunks_that_are_resampled_at_once_do_not_show(monkeypatch):
    rng = np.random.default_rng(3)
    first, second = rng.lognormal(0, 0.1, 12), rng.lognormal(0, 0.1, 12)
    whole = block_ratio(first, second, 0.05, 1000)
    monkeypatch.setattr("tasks.measure.speed.ratios.CHUNK", 12 * 7)
    assert block_ratio(first, second, 0.05, 1000) == whole


@pytest.mark.parametrize("factor", [0.5, 1 / 3, 1.0, 7.1])
def test_steady_timings_give_a_point(factor):
    reference = np.linspace(0.01, 0.3, 10)
    estimate = block_ratio(factor * reference, reference, 0.05)
    assert estimate.low == estimate.value == estimate.high == pytest.approx(factor)
    assert noise(estimate) == 0


def test_noise_is_half_the_interval_in_logarithms():
    rng = np.random.default_rng(4)
    estimate = block_ratio(rng.lognormal(0, 0.1, 12), np.ones(12), 0.025)
    assert noise(estimate) == pytest.approx(math.log(estimate.high / estimate.value))


def test_three_blocks_that_tell_nothing_have_an_interval_that_says_so():
    """With three blocks a ninth of all resamples draw one block only: no bound at 5 % exists."""
    estimate = block_ratio([1.0, 1.1, 1.3], [1.0, 1.0, 1.0], 0.05)
    assert noise(estimate) == pytest.approx(WIDEST)


@pytest.mark.parametrize(("blocks", "share"), [(10, 0.2), (12, 0.5), (25, 0.2), (25, 0.5)])
def test_simulated_coverage_where_a_load_disturbs_some_blocks(blocks, share):
    rng, covered, trials = np.random.default_rng(9), 0, 250
    for _ in range(trials):
        hit = rng.random(blocks) < share
        pushed = hit * rng.choice([-1, 1], blocks) * rng.random(blocks) * math.log(2)
        estimate = block_ratio(np.exp(rng.normal(0, 0.01, blocks) + pushed), np.ones(blocks), 0.025, 1000)
        covered += estimate.low <= 1 <= estimate.high
    assert covered / trials >= 0.93


@pytest.mark.parametrize(
    ("candidate", "reference", "named"),
    [
        ([1.0, 1.0], [1.0, 1.0], "at least three pairs of blocks, not 2 and 2"),
        ([1.0, 1.0, 1.0], [1.0, 1.0], "at least three pairs of blocks, not 3 and 2"),
        ([], [], "at least three pairs of blocks, not 0 and 0"),
        ([1.0, 0.0, 1.0], [1.0] * 3, "timings must be positive finite numbers"),
        ([1.0] * 3, [1.0, -1.0, 1.0], "timings must be positive finite numbers"),
        ([1.0, math.nan, 1.0], [1.0] * 3, "timings must be positive finite numbers"),
        ([1.0, math.inf, 1.0], [1.0] * 3, "timings must be positive finite numbers"),
    ],
)
def test_timings_that_cannot_be_are_refused(candidate, reference, named):
    with pytest.raises(ValueError, match=named):
        block_ratio(candidate, reference, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, -0.1, math.nan])
def test_a_level_that_cannot_be_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must lie between"):
        block_ratio([1.0] * 3, [1.0] * 3, alpha)
