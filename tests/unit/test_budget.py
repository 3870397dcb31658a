"""The promotion budget: levels that sum to alpha, one price per comparison, a fresh count on a refreshed set."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measure.gate.budget import SKETCH_ROWS, left_after, level_of, next_look

quick = settings(max_examples=60, deadline=None)
rows_of = st.lists(st.text(max_size=5), min_size=1, max_size=30, unique=True)


def walk(sets, alpha=0.05, refresh=0.5):
    """Return the looks at golden sets one after another, each with a candidate of its own."""
    taken = []
    for number, rows in enumerate(sets):
        taken.append(next_look(taken, rows, f"candidate-{number}", "champion", ("quality",), alpha, refresh))
    return taken


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_levels_of_all_looks_to_come_sum_to_alpha(alpha):
    n = 100_000
    first = sum(level_of(number, alpha) for number in range(1, n + 1))
    tail = alpha / math.log(n + 1.5) / 2.109742801236892  # the integral of 1 / (x ln^2 x) is 1 / ln x
    assert first < alpha
    assert first + tail == pytest.approx(alpha, rel=1e-6)


def test_levels_fall_and_what_is_left_is_the_rest():
    levels = [level_of(number, 0.05) for number in range(1, 60)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(0.05 * 0.4933, rel=1e-3)
    assert left_after(0, 0.05) == 0.05
    assert left_after(59, 0.05) == pytest.approx(0.05 - sum(levels))


@pytest.mark.parametrize(("number", "alpha"), [(0, 0.05), (1, 0.0), (1, 1.0), (1, -0.1)])
def test_a_look_or_a_level_that_cannot_be_is_refused(number, alpha):
    with pytest.raises(ValueError, match="from 1 on"):
        level_of(number, alpha)


def test_looks_at_one_set_are_counted_and_each_costs_less():
    looks = walk([["a", "b", "c"]] * 4)
    assert [look.number for look in looks] == [1, 2, 3, 4]
    assert [look.level for look in looks] == [level_of(number, 0.05) for number in (1, 2, 3, 4)]


@quick
@given(rows_of, st.randoms())
def test_the_same_comparison_on_the_same_rows_is_the_same_look(rows, rng):
    [first] = walk([rows])
    rng.shuffle(rows)
    comparison = [first.candidate, first.champion, first.claims]
    assert next_look([first], rows, *comparison, 0.05, 0.5) == first
    for place, other in enumerate(["another", "another", ("cost", "quality")]):
        changed = [*comparison[:place], other, *comparison[place + 1 :]]
        assert next_look([first], rows, *changed, 0.05, 0.5).number == 2


@quick
@given(rows_of, rows_of, st.sampled_from([0.3, 0.5, 1.0]))
def test_only_a_refreshed_set_starts_a_new_count(before, after, refresh):
    _, second = walk([before, after], refresh=refresh)
    share = len(set(after) - set(before)) / len(after)
    assert second.number == (1 if share >= refresh else 2)


def test_a_set_cannot_be_refreshed_a_little_each_time():
    rows = [str(number) for number in range(100)]
    growing = [rows + [f"new {number}" for number in range(10 * turn)] for turn in range(12)]
    numbers = [look.number for look in walk(growing)]
    assert numbers == [*range(1, 11), 1, 2]  # at 100 new of 200 rows


def test_going_back_to_a_used_set_restores_nothing():
    old, new = ["a", "b", "c"], ["d", "e", "f"]
    assert [look.number for look in walk([old, old, new, old, new, old])] == [1, 2, 1, 3, 2, 4]


@pytest.mark.parametrize("share_new", [0.0, 0.4, 0.6, 1.0])
def test_of_a_large_set_a_sketch_tells_the_share_of_new_rows(share_new):
    rows = 20 * SKETCH_ROWS
    kept = round(rows * (1 - share_new))
    first, second = walk([[f"old {n}" for n in range(rows)],
                          [f"old {n}" for n in range(kept)] + [f"new {n}" for n in range(rows - kept)]])  # fmt: skip
    assert len(first.sketch) == SKETCH_ROWS
    assert second.number == (1 if share_new >= 0.5 else 2)
