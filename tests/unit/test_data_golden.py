"""What identifies a golden set, how two differ, and the chain of seals."""

import hashlib
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.assemble import assemble
from tasks.data.golden import (
    GoldenRow,
    GoldenSeal,
    Sealed,
    compare_sets,
    composition,
    digest_set,
    identify,
    next_seal,
    replay,
    rows_to_restore,
)
from tasks.data.rows import make_rows, values
from tasks.data.split import assign_feedback_splits
from tasks.errors import ArtifactError
from tasks.measure.gate.budget import next_look, renewal
from tasks.records import from_json, to_json
from tasks.specs import DataSpec, FeedbackSplit, FileSource, SplitSpec

CONTENT = st.tuples(st.sampled_from("pqrst"), st.sampled_from("ab"))
SETS = st.dictionaries(st.sampled_from("123456789"), CONTENT, max_size=9)


def table(content, source="golden.csv"):
    rows = [(name, text, target) for name, (text, target) in content.items()]
    ids, texts, targets = zip(*rows, strict=True) if rows else ((), (), ())
    return make_rows(
        {"id": ids, "text": texts, "target": targets, "split": ["golden"] * len(rows), "source": [source] * len(rows)}
    )


def golden(content):
    return identify(table(content))


@settings(deadline=None)
@given(SETS.flatmap(lambda content: st.permutations(list(content.items()))))
def test_the_digest_is_of_content_whatever_the_order(shuffled):
    found, again = golden(dict(shuffled)), golden(dict(sorted(shuffled)))
    assert found == again
    assert digest_set(found.values()) == digest_set(reversed(again.values()))


@settings(deadline=None)
@given(SETS, SETS)
def test_equal_digests_are_equal_sets(left, right):
    same = digest_set(golden(left).values()) == digest_set(golden(right).values())
    assert same == (left == right)


def test_a_row_is_known_by_its_text_and_target_and_where_it_came_from():
    [row] = identify(table({"feedback-7": ("hello", "greeting")}, "feedback")).values()
    content = hashlib.sha256(b"greeting\nhello").hexdigest()[:16]
    assert row == GoldenRow("feedback-7", hashlib.sha256(b"hello").hexdigest()[:16], content, True)
    assert not identify(table({"feedback-7": ("hello", "greeting")}))["feedback-7"].from_feedback
    assert not identify(table({"7": ("hello", "greeting")}, "feedback"))["7"].from_feedback


BEFORE = {"1": ("p", "a"), "2": ("q", "a"), "3": ("r", "b")}


@pytest.mark.parametrize(
    ("after", "added", "removed", "edited"),
    [
        (BEFORE, "", "", ""),
        ({**BEFORE, "4": ("s", "a")}, "4", "", ""),
        ({"1": ("p", "a")}, "", "23", ""),
        ({**BEFORE, "2": ("changed", "a")}, "", "", "2"),
        ({**BEFORE, "2": ("q", "b")}, "", "", "2"),
        ({"1": ("p", "a"), "9": ("q", "b"), "3": ("r", "b")}, "", "", "2"),  # ids from content: a target was edited
        ({"7": ("p", "a"), "8": ("q", "a"), "9": ("r", "b")}, "", "", ""),  # other ids alone
        ({"7": ("p", "a"), "8": ("p", "a"), "2": ("q", "a"), "3": ("r", "b")}, "8", "", ""),
        ({}, "", "123", ""),
    ],
)
def test_sets_are_compared(after, added, removed, edited):
    change = compare_sets(golden(BEFORE), golden(after))
    assert [row.id for row in change.added] == list(added)
    assert [row.id for row in change.removed] == list(removed)
    assert [before.id for before, _ in change.edited] == list(edited)


@settings(deadline=None)
@given(SETS, SETS)
def test_every_row_of_a_change_is_told_once(left, right):
    before, after = golden(left), golden(right)
    change = compare_sets(before, after)
    gone, come = {row.id for row in change.removed}, {row.id for row in change.added}
    assert gone <= set(before) - set(after)
    assert come <= set(after) - set(before)
    assert {old.id for old, _ in change.edited}.isdisjoint(gone)
    assert {new.id for _, new in change.edited}.isdisjoint(come)
    assert len(before) - len(gone) == len(after) - len(come)


def seal_all(sets):
    seals = []
    for content in sets:
        seals.append(next_seal(seals, golden(content), "source", seed=7, drawn=0, rules="r"))
    return seals


@settings(deadline=None)
@given(st.lists(SETS, max_size=6))
def test_seals_lead_to_the_last_set_also_through_json(sets):
    seals = [from_json(GoldenSeal, to_json(seal)) for seal in seal_all(sets)]
    assert replay(seals) == (golden(sets[-1]) if sets else {})
    assert [seal.parent for seal in seals] == ["", *(seal.digest for seal in seals)][: len(seals)]


def test_a_broken_chain_is_told():
    seals = seal_all([BEFORE, {**BEFORE, "4": ("s", "a")}, {"1": ("p", "a")}])
    with pytest.raises(ArtifactError, match="golden seal 2: expected"):
        replay([seals[0], seals[2]])
    with pytest.raises(ArtifactError, match="golden seal 1: expected 3 rows after nothing, found 2"):
        replay([replace(seals[0], added=seals[0].added[:2])])
    forged = replace(seals[0], added=(*seals[0].added[:2], GoldenRow("3", "0" * 16, "0" * 16, False)))
    with pytest.raises(ArtifactError, match="do not have its digest"):
        replay([forged])


def test_composition_and_renewal():
    old = golden({str(n): (f"text {n}", "a") for n in range(40)})
    new = identify(table({f"feedback-{n}": (f"fresh {n}", "a") for n in range(10)}, "feedback"))
    assert composition({**old, **new}) == {"source": 40, "feedback": 10}
    contents = [f"a\ntext {n}" for n in range(40)]
    look = next_look([], contents, "x", "y", ("quality",), 0.05, 0.5)
    hashes = [row.content for row in (*old.values(), *new.values())]
    assert renewal([look], hashes) == pytest.approx(0.2)
    assert renewal([], hashes) == 1.0


@given(st.integers(1, 500), st.integers(0, 500), st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]))
def test_the_rows_that_restore_are_the_least(old, new, refresh):
    needed = rows_to_restore(old + new, new / (old + new), refresh)
    assert needed is not None and needed >= 0

    def share(more):
        return (new + more) / (old + new + more)

    assert share(needed) >= refresh - 1e-9
    assert needed == 0 or share(needed - 1) < refresh
    assert rows_to_restore(old, 0.0, 1.0) is None


TEXTS = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(200)]  # no two nearly alike


def source():
    rows = {"id": [f"s{n}" for n in range(100)], "text": TEXTS[:100], "target": ["a", "b"] * 50}
    return make_rows({**rows, "split": [""] * 100, "source": ["x.csv"] * 100})


def feedback():
    rows = {"id": [f"feedback-{n}" for n in range(100)], "text": TEXTS[100:], "target": ["a", "b"] * 50}
    return make_rows(
        {**rows, "split": [""] * 100, "source": ["feedback"] * 100, "group": [f"u{n}" for n in range(100)]}
    )


SPEC = DataSpec(source=FileSource(path="x.csv"), split=SplitSpec(seed=3), feedback=FeedbackSplit(golden=0.3))


def test_what_is_drawn_for_golden_and_waits_is_nowhere():
    shares = {"golden": 0.3, "select": SPEC.feedback.select, "valid": SPEC.feedback.valid}
    drawn = assign_feedback_splits(feedback(), **shares, seed=3)
    for_golden = {name for name, at in zip(values(drawn, "id"), values(drawn, "split"), strict=True) if at == "golden"}
    open_table, none = assemble([source(), feedback()], SPEC, Sealed())
    assert none == 0 and for_golden <= set(values(open_table, "id"))
    waiting_table, waiting = assemble([source(), feedback()], SPEC, Sealed(admit=False))
    assert waiting == len(for_golden) > 10
    assert for_golden.isdisjoint(values(waiting_table, "id"))
    assert set(values(open_table, "id")) - set(values(waiting_table, "id")) == for_golden
    some = sorted(for_golden)[:5]
    later, left = assemble([source(), feedback()], SPEC, Sealed(tuple(some), admit=False))
    assert left == waiting - 5
    assert set(values(later, "id")) - set(values(waiting_table, "id")) == set(some)


def test_a_text_like_one_that_waits_is_not_trained_on():
    rows = feedback()
    shares = {"golden": 0.3, "select": SPEC.feedback.select, "valid": SPEC.feedback.valid}
    drawn = values(assign_feedback_splits(rows, **shares, seed=3), "split")
    there, here = drawn.index("golden"), drawn.index("train")
    texts = values(rows, "text")
    texts[here] = texts[there].upper()
    rows = rows.set_column(1, "text", [texts])
    table, _ = assemble([source(), rows], SPEC, Sealed(admit=False))
    assert not {f"feedback-{there}", f"feedback-{here}"} & set(values(table, "id"))


def test_feedback_of_a_user_of_the_source_goes_to_its_side_and_nothing_is_lost():
    owned = source().append_column("group", [[f"u{n // 2}" for n in range(100)]])
    table, _ = assemble([owned, feedback()], SPEC, Sealed())
    assert table.num_rows == 200
    sides = defaultdict(set)
    for at, group in zip(values(table, "split"), values(table, "group"), strict=True):
        sides[group].add(at)
    assert all(len(side) == 1 for side in sides.values())
    assert {next(iter(sides[f"u{n}"])) for n in range(50)} == {"train", "valid", "select", "golden"}


def test_sealed_feedback_stays_golden_when_the_shares_change():
    few = replace(SPEC, feedback=FeedbackSplit(golden=0.05))
    before, _ = assemble([source(), feedback()], SPEC, Sealed())
    sealed = [name for name, at in zip(values(before, "id"), values(before, "split"), strict=True) if at == "golden"]
    after, _ = assemble([source(), feedback()], few, Sealed(tuple(sealed)))
    golden_now = {name for name, at in zip(values(after, "id"), values(after, "split"), strict=True) if at == "golden"}
    assert set(sealed) <= golden_now
