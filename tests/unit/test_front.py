"""The Pareto front, against brute force."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from tasks.compress.searching.front import beats, pareto_front

MERITS = st.lists(st.tuples(*[st.integers(-3, 3).map(float)] * 3), max_size=30)


@given(MERITS)
def test_the_front_is_what_no_other_beats(merits):
    brute = [at for at, mine in enumerate(merits) if not any(beats(its, mine) for its in merits)]
    assert pareto_front(merits) == brute


@given(MERITS.filter(bool))
def test_everything_beside_the_front_is_beaten_by_something_on_it(merits):
    front = pareto_front(merits)
    assert front
    for at in set(range(len(merits))) - set(front):
        assert any(beats(merits[other], merits[at]) for other in front)


def test_one_beats_another_only_where_it_is_nowhere_worse_and_somewhere_better():
    assert beats((1.0, 2.0), (1.0, 1.0))
    assert not beats((1.0, 1.0), (1.0, 1.0))
    assert not beats((2.0, 0.0), (1.0, 1.0))


def test_equals_all_stay_in_whatever_order_they_come():
    for merits in permutations([(1.0, 1.0), (1.0, 1.0), (0.0, 2.0), (0.0, 1.0)]):
        assert {merits[at] for at in pareto_front(merits)} == {(1.0, 1.0), (0.0, 2.0)}
        assert len(pareto_front(merits)) == 3
