"""The threshold of a cascade: its bound against scipy's, what is chosen against brute force, and how often it errs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tasks.compress.cascading.threshold import choose_threshold, fewest_rows, upper_bound

confident = st.floats(0, 1, width=32).map(lambda value: round(value, 2))  # with equals among them
judged_rows = st.lists(st.tuples(confident, st.booleans() | st.just(True)), min_size=1, max_size=120)


@given(st.integers(1, 2000), st.data())
def test_the_bound_is_clopper_and_pearsons(rows, data):
    events, level = data.draw(st.integers(0, rows)), data.draw(st.sampled_from([0.8, 0.9, 0.95, 0.99]))
    exact = binomtest(events, rows, alternative="less").proportion_ci(level, method="exact")
    assert upper_bound(np.array([events]), rows, level)[0] == pytest.approx(exact.high, abs=1e-9)


def holds(threshold, confidences, agrees, agreement, level):
    differing = int(((confidences >= threshold) & ~agrees).sum())
    return upper_bound(np.array([differing]), len(agrees), level)[0] <= 1 - agreement


@given(judged_rows, st.sampled_from([0.6, 0.8, 0.9, 0.95]), st.sampled_from([0.6, 0.9]))
def test_it_is_the_last_of_the_confidences_that_hold_from_the_highest_on(rows, agreement, level):
    confidences, agrees = np.array([each for each, _ in rows]), np.array([each for _, each in rows])
    passed = []
    for value in sorted(set(confidences[confidences > 0]), reverse=True):
        if not holds(value, confidences, agrees, agreement, level):
            break
        passed.append(value)
    found = choose_threshold(confidences, agrees, agreement, level)
    if not passed:
        assert found is None
        return
    answered = confidences >= found.value
    assert np.array_equal(answered, confidences >= passed[-1])
    assert (found.rows, found.answered, found.differing) == (len(rows), answered.sum(), (answered & ~agrees).sum())
    assert found.bound <= 1 - agreement and 0 < found.value <= passed[-1]


@given(st.floats(0.51, 0.999), st.floats(0.51, 0.999))
def test_fewest_rows_are_those_at_which_no_difference_is_enough(agreement, level):
    rows = fewest_rows(agreement, level)
    none = np.zeros(1, int)
    assert upper_bound(none, rows, level)[0] <= 1 - agreement + 1e-12
    assert rows == 1 or upper_bound(none, rows - 1, level)[0] > 1 - agreement - 1e-12


def test_what_nothing_is_known_of_is_never_answered():
    confidences = np.array([0.0] * 50 + [0.9] * 50)
    found = choose_threshold(confidences, np.ones(100, bool), 0.9, 0.95)
    assert found.value > 0 and found.answered == 50
    assert choose_threshold(np.zeros(100), np.ones(100, bool), 0.9, 0.95) is None


def test_the_surest_row_that_differs_stops_it():
    confidences = np.linspace(0.99, 0.5, 60)
    assert choose_threshold(confidences, np.arange(60) > 0, 0.95, 0.95) is None


@pytest.mark.parametrize("given_numbers", [(0.9, 0.9, 150), (0.95, 0.95, 300), (0.8, 0.8, 80)])
def test_the_true_risk_is_too_high_in_few_of_many_draws(given_numbers):
    """A stage whose share of differing answers is (1 - confidence) at each confidence, which is uniform on [0, 1].

    The risk of a threshold t is then the integral of 1 - c over [t, 1], (1 - t)^2 / 2.
    """
    agreement, level, rows = given_numbers
    rng, draws, wrong, chosen = np.random.default_rng(rows), 1000, 0, 0
    for _ in range(draws):
        confidences = rng.random(rows)
        found = choose_threshold(confidences, rng.random(rows) < confidences, agreement, level)
        if found is not None:
            chosen += 1
            wrong += (1 - found.value) ** 2 / 2 > 1 - agreement
    error = 4 * np.sqrt(level * (1 - level) / draws)
    assert wrong / draws <= 1 - level + error
    assert chosen > draws / 2  # it is no rule that never answers
