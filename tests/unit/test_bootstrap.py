"""The bootstrap against SciPy's, the acceleration against the jackknife row by row, and coverage by simulation."""

import math
import warnings
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.measure.quality import bootstrap
from tasks.measure.quality.bootstrap import Cells, bca
from tasks.measure.quality.cells import f1_cells, mean_cells
from tasks.records import Interval

quick = settings(max_examples=40, deadline=None)


def cells_of(rows, statistic):
    """Return the cells of rows [rows, values], alike rows together."""
    features, counts = np.unique(rows, axis=0, return_counts=True)
    return Cells(counts, features, statistic)


def ratio(sums):
    """Return the ratio of two sums: skewed, and bent by every row."""
    return sums[:, 0] / sums[:, 1]


def ratio_rows(number, seed):
    rng = np.random.default_rng(seed)
    below = rng.uniform(0.5, 3, number)
    return np.column_stack([below * rng.lognormal(0, 0.8, number), below])


def scipys(rows, statistic, alpha):
    """Return SciPy's paired BCa bounds; it draws rows, and knows of no cells."""
    found = stats.bootstrap(
        tuple(rows.T), lambda *columns, axis: statistic(*(column.sum(axis=axis) for column in columns)),
        n_resamples=10_000, paired=True, vectorized=True, method="BCa", confidence_level=1 - 2 * alpha,
        rng=np.random.default_rng(5),
    )  # fmt: skip
    return found.confidence_interval


@pytest.mark.parametrize("alpha", [0.025, 0.1])
@pytest.mark.parametrize(("number", "seed"), [(12, 1), (30, 2), (80, 3)])
def test_the_bounds_of_a_skewed_statistic_are_scipys(number, seed, alpha):
    rows = ratio_rows(number, seed)
    expected = scipys(rows, lambda above, below: above / below, alpha)
    found = bca(cells_of(rows, ratio), alpha, 20_000)
    noise = 0.04 * (expected.high - expected.low)
    assert found.value == pytest.approx(rows[:, 0].sum() / rows[:, 1].sum())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=noise)
    middle = (found.low + found.high) / 2
    assert abs(middle - found.value) > noise / 4  # so that an interval without the corrections would fail


def test_rows_in_large_cells_give_scipys_bounds_too():
    """Scores of 0 and 1 make three cells, of which the resamples are binomials."""
    rng = np.random.default_rng(4)
    rows = np.column_stack([rng.choice([-1.0, 0.0, 1.0], 400, p=[0.02, 0.9, 0.08]), np.ones(400)])
    expected = scipys(rows, lambda above, below: above / below, 0.025)
    found = bca(cells_of(rows, ratio), 0.025, 20_000)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)


@quick
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 5), st.integers(1, 30)), min_size=2, max_size=12))
def test_the_acceleration_is_that_of_leaving_out_row_by_row(drawn):
    features, counts = np.array([row[:2] for row in drawn]), np.array([row[2] for row in drawn])
    rows = np.repeat(features, counts, axis=0)
    left_out = np.array([ratio((rows.sum(axis=0) - row)[None, :])[0] for row in rows])
    gaps = left_out.mean() - left_out
    if np.abs(gaps).max() < 1e-9:
        return
    expected = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    from scipy.sparse import csr_array

    found = bootstrap._acceleration(counts, csr_array(features), ratio, counts @ features)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("counts", [[40, 13, 12, 3, 1, 1], [50, 20], [2, 1, 1, 1]], ids=["both", "large", "small"])
def test_resamples_follow_the_multinomial_law(counts):
    counts = np.array(counts)
    number, rows = 40_000, counts.sum()
    weights = bootstrap._draw(np.random.default_rng(6), counts, number)
    shares = counts / rows
    covariance = rows * (np.diag(shares) - np.outer(shares, shares))
    assert (weights.sum(axis=1) == rows).all()
    assert weights.min() >= 0
    assert np.abs(weights.mean(axis=0) - counts).max() < 5 * np.sqrt(covariance.max() / number)
    assert np.abs(np.cov(weights.T) - covariance).max() < 0.04 * covariance.max()


def test_small_cells_take_their_exact_law():
    """Of 15 rows 13 are one cell and two are cells of their own: every resample's probability is known."""
    weights = bootstrap._draw(np.random.default_rng(7), np.array([13, 1, 1]), 50_000)
    law = stats.multinomial(15, np.array([13, 1, 1]) / 15)
    for first in range(3):
        for second in range(3):
            seen = ((weights[:, 1] == first) & (weights[:, 2] == second)).mean()
            assert seen == pytest.approx(law.pmf([15 - first - second, first, second]), abs=0.008)


@pytest.mark.parametrize(("each", "alpha", "expected"), [(5, 0.025, 0.06), (6, 0.05, 0.06), (8, 0.1, 0.05)])
def test_resamples_that_tie_with_the_value_count_half(each, alpha, expected):
    """As many won as lost of 100 rows: a tenth of the resamples tie, and the interval is as wide on either side."""
    rows = np.array([1.0] * each + [-1.0] * each + [0.0] * (100 - 2 * each))
    found = bca(mean_cells([rows]), alpha)
    assert (found.low, found.high) == pytest.approx((-expected, expected), abs=1e-9)


def test_memory_stays_small_and_chunks_are_joined(monkeypatch):
    rows = ratio_rows(50, 8)
    whole = bca(cells_of(rows, ratio), 0.05, 4000)
    monkeypatch.setattr(bootstrap, "CHUNK_BYTES", 8 * 52 * 7)
    sizes = []

    def watched(sums):
        sizes.append(len(sums))
        return ratio(sums)

    found = bca(cells_of(rows, watched), 0.05, 4000)
    assert sizes[1:573] == [7] * 571 + [3]  # the first is the value on the rows, the last the jackknife
    width = whole.high - whole.low
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), abs=0.06 * width)


def test_equal_seeds_give_equal_intervals():
    cells = cells_of(ratio_rows(40, 9), ratio)
    assert bca(cells, 0.05, 500, seed=3) == bca(cells, 0.05, 500, seed=3)
    assert bca(cells, 0.05, 500, seed=3) != bca(cells, 0.05, 500, seed=4)


@quick
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.sampled_from([0.001, 0.05, 0.5]))
def test_the_interval_holds_the_value_and_a_lower_level_widens_it(values, alpha):
    cells = mean_cells([np.array(values)])
    found, wider = bca(cells, alpha, 200), bca(cells, alpha / 4, 200)
    assert found.value == pytest.approx(np.mean(values), abs=1e-12)
    assert wider.low - 1e-9 <= found.low <= found.value <= found.high <= wider.high + 1e-9


def test_bounds_with_too_few_resamples_beyond_them_follow_the_normal_tail():
    """At a level of 1 in 10,000 the least of 1,000 resamples lies at 3.2 standard errors; 3.7 are due."""
    values = np.random.default_rng(10).normal(0, 1, 4000)
    found = bca(mean_cells([values]), 1e-4, 1000)
    error = values.std() / math.sqrt(len(values))
    expected = NormalDist().inv_cdf(1 - 1e-4) * error
    assert (found.value - found.low, found.high - found.value) == pytest.approx((expected, expected), rel=0.12)


def test_coverage_of_differences_of_accuracy_and_macro_f1():
    """300 samples of 250 rows from a known law of (target, candidate, reference), each with a 90 % interval."""
    rng = np.random.default_rng(11)
    law = rng.dirichlet(np.full(27, 0.15)) * 0.3
    law[[0, 13, 26]] += 0.7 * np.array([0.6, 0.3, 0.1])
    law /= law.sum()
    target, first, second = np.unravel_index(np.arange(27), (3, 3, 3))

    def measure(chosen, make):
        return make(target[chosen], first[chosen], second[chosen])

    def accuracy(target, first, second):
        return mean_cells([(first == target).astype(float), (second == target).astype(float)])

    def macro(target, first, second):
        return f1_cells(target, [first, second], 3)

    for make in (accuracy, macro):
        cells = measure(np.arange(27), make)
        many = measure(np.repeat(np.arange(27), np.rint(law * 1_000_000).astype(int)), make)
        truth = bca(many, 0.05, 100).value
        assert len(cells.counts) <= 27
        missed = np.zeros(2)
        for seed in range(300):
            found = bca(measure(rng.choice(27, 250, p=law), make), 0.05, 400, seed=seed)
            missed += (found.low > truth, found.high < truth)
        low, high = missed / 300
        assert 0.015 <= low <= 0.1, make
        assert 0.015 <= high <= 0.1, make


def test_rows_that_never_differ_give_an_interval_of_no_width():
    assert bca(mean_cells([np.full(30, 0.25)]), 0.05) == Interval(0.25, 0.25, 0.25)
    assert bca(mean_cells([np.array([0.5])]), 0.05) == Interval(0.5, 0.5, 0.5)


def of_the_rare(sums):
    """Return 1 over the rare rows: not defined without one."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def rare_cells(common, rare):
    features = np.vstack([[1.0, 0.0], np.column_stack([np.linspace(0, 1, rare), np.ones(rare)])])
    return Cells(np.array([common, *[1] * rare]), features, of_the_rare)


def test_a_few_resamples_without_a_rare_row_are_left_out():
    """With 5 rare rows of 205 a resample lacks them with the probability exp(-5) = 0.7 %."""
    values = bootstrap._resample(*parts(rare_cells(200, 5)), of_the_rare, 10_000, 0)
    assert 9880 <= len(values) < 9980
    found = bca(rare_cells(200, 5), 0.05)
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)


def parts(cells):
    from scipy.sparse import csr_array

    return cells.counts, csr_array(cells.features)


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (rare_cells(200, 3), "not defined on [45].*% of the resamples"),
        (Cells(np.array([5]), np.array([[1.0, 0.0]]), of_the_rare), "not defined on these rows"),
        (Cells(np.zeros(0, int), np.zeros((0, 2)), ratio), "no rows"),
        (Cells(np.array([3, 0]), np.ones((2, 2)), ratio), "cell without rows"),
    ],
)
def test_what_gives_no_interval_is_refused(cells, named):
    with pytest.raises(ValueError, match=named):
        bca(cells, 0.05)


def test_a_statistic_that_hangs_on_one_row_is_refused():
    features, counts = np.array([[1.0, 0.0], [2.0, 1.0]]), np.array([8, 1])
    with pytest.raises(ValueError, match="without one of the rows"):
        bootstrap._acceleration(counts, parts(Cells(counts, features, ratio))[1], of_the_rare, counts @ features)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.51, -0.1, math.nan])
def test_levels_out_of_range_are_refused(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 0.5\]"):
        bca(mean_cells([np.array([0.0, 1.0])]), alpha)


@pytest.mark.parametrize("resamples", [99, 0, -1])
def test_too_few_resamples_are_refused(resamples):
    with pytest.raises(ValueError, match="at least 100 resamples"):
        bca(mean_cells([np.array([0.0, 1.0])]), 0.05, resamples)


def test_a_resample_of_which_zero_is_divided_by_zero_is_undefined_without_a_warning():
    cells = Cells(np.array([200, 3, 2]), np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), ratio)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bca(cells, 0.05).value == 0.6
