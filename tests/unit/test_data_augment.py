"""Augmentation: provenance, determinism, and what it may never do."""

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.augmentation.augment import EMPTY, PROTECTED, REPEATED, SPENT, Dropout, Swap, Typos, augment, rewrite
from tasks.data.augmentation.limit import Limit
from tasks.data.augmentation.rebalance import Rebalance
from tasks.data.augmentation.slots import NO_TEMPLATE, SwapSlots
from tasks.data.rows import PROVENANCE, mend_text, values
from tasks.data.similarity import text_key
from tests.unit.data_rows import rows

TEXTS = [f"where is the card that I ordered {number} days ago" for number in range(60)]
METHODS: list[Any] = [Typos(share=0.5), Swap(share=0.5)]


def test_made_rows_carry_their_provenance() -> None:
    table = rows(TEXTS, ["b"] * 60)
    made, reports = augment(table, METHODS, seed=1)
    assert made.slice(0, 60).equals(table)
    new = made.slice(60).to_pylist()
    assert {row["source"] for row in new} == {"augment:typos", "augment:swap"}
    assert {(row["split"], row["target"]) for row in new} == {("train", "b")}
    assert all(row["id"].split("+")[0] in set(values(table, "id")) for row in new)
    assert len(set(values(made, "id"))) == made.num_rows
    assert reports[-1].rows_out == made.num_rows
    assert 15 < sum(row["source"] == "augment:typos" for row in new) < 45


def test_the_same_seed_makes_the_same_rows_and_another_does_not() -> None:
    table = rows(TEXTS)
    assert augment(table, METHODS, 1)[0].equals(augment(table, METHODS, 1)[0])
    assert not augment(table, METHODS, 1)[0].equals(augment(table, METHODS, 2)[0])


def test_further_rows_leave_the_made_ones_alone() -> None:
    few = set(values(augment(rows(TEXTS[:40]), METHODS, 1)[0], "text"))
    assert few <= set(values(augment(rows(TEXTS), METHODS, 1)[0], "text"))


def test_evaluation_rows_are_not_copied() -> None:
    table = rows(TEXTS, split=["golden"] * 59 + ["train"])
    made, _ = augment(table, [Typos(share=1), Swap(share=1)], 1)
    assert all(row.startswith("r59+") for row in values(made.slice(60), "id"))


def test_nothing_protected_is_made() -> None:
    table = rows(["turn left now"])
    method = Swap(share=1, dropout=0)
    assert augment(table, [method], 1)[0].num_rows == 2
    made, reports = augment(table, [method], 1, ["Left turn  now", "turn NOW left"])
    assert (made.num_rows, reports[0].left_out) == (1, {PROTECTED: 1})


def test_near_duplicates_of_evaluation_rows_are_not_made() -> None:
    text = "where is the parcel that I ordered in your shop two weeks ago and have paid already"
    near = f"{text}?"
    outcomes = set()
    for seed in range(40):
        method = Typos(share=1, per_text=1 + seed % 3)
        free = values(augment(rows([text]), [method], seed)[0], "text")[1]
        guarded, (report,) = augment(rows([text]), [method], seed, ["", "something else", near])
        similar = shingle_jaccard(free, near) >= 0.9
        assert values(guarded, "text") == ([text] if similar else [text, free])
        assert report.left_out == ({PROTECTED: 1} if similar else {})
        outcomes.add(similar)
    assert outcomes == {True, False}


def shingle_jaccard(left: str, right: str) -> float:
    sets = [{text[at : at + 3] for at in range(len(text) - 2)} for text in (text_key(left), text_key(right))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_placeholders_are_not_misspelt() -> None:
    made, _ = augment(rows(["<EMAIL> wrote"]), [Typos(share=1, per_text=5)], 1)
    assert values(made, "text")[1].startswith("<EMAIL> ")


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=8), st.integers())
def test_any_text_can_be_augmented_without_repeats(texts: list[str], seed: int) -> None:
    table = rows([mend_text(text) for text in texts])
    made, _ = augment(table, [Typos(share=1, per_text=3), Swap(share=1, swaps=3, dropout=0.5)], seed)
    keys = [text_key(text) for text in values(made.slice(len(texts)), "text")]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {text_key(text) for text in values(table, "text")}


def test_an_unknown_method_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no augmentation is registered for str"):
        rewrite("typos", "text", random.Random(1))


def test_dropout_leaves_words_out_and_one_at_least_in() -> None:
    rng = random.Random(1)
    words = [str(number) for number in range(2000)]
    left = rewrite(Dropout(rate=0.2), " ".join(words), rng).split()
    assert left == sorted(left, key=int)
    assert 0.75 < len(left) / len(words) < 0.85
    assert {rewrite(Dropout(rate=0.99), "only these", rng) for _ in range(50)} <= {"only", "these", "only these"}


def test_what_was_not_made_is_counted() -> None:
    table = rows(["one", "ONE", "", "two words"])
    made, (report,) = augment(table, [Dropout(share=1, rate=0.9)], 1)
    assert report.rows_out - report.rows_in == made.num_rows - 4 == 1
    assert report.left_out == {REPEATED: 2, EMPTY: 1}


def classes(**sizes: int) -> Any:
    targets = [name for name, size in sizes.items() for _ in range(size)]
    return rows([f"message {number} about {target}" for number, target in enumerate(targets)], targets)


def test_rare_classes_are_repeated_up_to_the_share() -> None:
    made, (report,) = augment(classes(big=40, small=15, tiny=2), [Rebalance(share=0.5, per_row=4)], 1)
    new = made.slice(57).to_pylist()
    targets = values(made, "target")
    assert [targets.count(name) for name in ("big", "small", "tiny")] == [40, 20, 10]
    texts = {row["id"]: row["text"] for row in made.to_pylist()[:57]}
    assert all(row["text"] == texts[row["id"].split("+")[0]] for row in new)
    assert {row["source"] for row in new} == {"augment:rebalance"}
    assert len(set(values(made, "id"))) == made.num_rows
    assert (report.rows_in, report.rows_out, report.left_out) == (57, 70, {})


def test_later_methods_vary_the_repeated_rows_too() -> None:
    made, reports = augment(classes(big=40, tiny=2), [Rebalance(share=0.25, per_row=9), Typos(share=1)], 1)
    tiny = [row["id"] for row in made.to_pylist() if row["source"] == "augment:typos" and row["target"] == "tiny"]
    assert reports[1].rows_out - reports[1].rows_in + reports[1].left_out.get(REPEATED, 0) == 50
    assert sum("+rebalance0" in row_id for row_id in tiny) > 2 >= sum("+rebalance0" not in row_id for row_id in tiny)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 30), min_size=1),
    st.floats(0.01, 1),
    st.integers(1, 5),
    st.integers(),
)
def test_rebalancing_keeps_its_budgets(sizes: dict[str, int], share: float, per_row: int, seed: int) -> None:
    method = Rebalance(share=share, per_row=per_row)
    table = classes(**sizes)
    made, _ = augment(table, [method], seed)
    assert made.equals(augment(table, [method], seed)[0])
    wanted = int(share * max(sizes.values()))
    found = {name: values(made, "target").count(name) for name in sizes}
    assert found == {name: max(size, min(wanted, size * (1 + per_row))) for name, size in sizes.items()}
    copies = [row_id.split("+")[0] for row_id in values(made, "id") if "+" in row_id]
    assert all(copies.count(parent) <= per_row for parent in copies)


def test_a_slot_takes_the_word_of_another_text_of_its_class() -> None:
    texts = [
        "I lost my card in Paris",
        "I lost my phone in Rome",
        "I lost my keys in Oslo",
        "please call me back today",
    ]
    made, (report,) = augment(rows(texts, ["lost", "lost", "other", "lost"]), [SwapSlots(share=1)], 1)
    new = made.slice(4).to_pylist()
    allowed = {"I lost my phone in Paris", "I lost my card in Rome"}
    assert {row["text"] for row in new} <= allowed
    assert new
    assert report.left_out[NO_TEMPLATE] == 2


@pytest.mark.parametrize(
    "other",
    ["I lost my phone in Paris", "I LOST my phone in paris", "I found his phone in Rome", "I lost my phone", "we lost"],
)
def test_texts_that_are_not_of_one_template_exchange_nothing(other: str) -> None:
    made, (report,) = augment(rows(["I lost my card in Paris", other]), [SwapSlots(share=1)], 1)
    assert (made.num_rows, report.left_out) == (2, {NO_TEMPLATE: 2})


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abA"), min_size=5, max_size=7), st.sampled_from("xy")), max_size=12)
)
def test_slots_come_from_texts_of_one_class_and_length(texts: list[tuple[list[str], str]]) -> None:
    table = rows([" ".join(words) for words, _ in texts], [target for _, target in texts])
    for row in augment(table, [SwapSlots(share=1)], 3)[0].slice(len(texts)).to_pylist():
        parent = texts[int(row["id"].split("+")[0][1:])]
        new = row["text"].split()
        changed = [at for at, word in enumerate(parent[0]) if word != new[at]]
        assert (row["target"], len(new), len(changed)) == (parent[1], len(parent[0]), 1)
        at = changed[0]
        assert any(len(w) == len(new) and w[at] == new[at] and t == parent[1] for w, t in texts)


ALL: list[Any] = [Rebalance(share=1), Dropout(share=1), SwapSlots(share=1), Swap(share=1), Typos(share=1)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.text("ab <é", max_size=12), st.sampled_from("xyz")), max_size=10),
    st.lists(st.text("ab é", max_size=8), max_size=4),
    st.permutations(ALL),
    st.integers(),
)
def test_no_method_changes_a_label_or_makes_an_evaluation_row(
    texts: list[tuple[str, str]], protected: list[str], methods: list[Any], seed: int
) -> None:
    table = rows([text for text, _ in texts], [target for _, target in texts])
    made, reports = augment(table, methods, seed, protected)
    assert made.equals(augment(table, methods, seed, protected)[0])
    assert made.slice(0, len(texts)).equals(table)
    guarded = {text_key(text) for text in protected}
    for row in made.slice(len(texts)).to_pylist():
        assert row["target"] == texts[int(row["id"].split("+")[0][1:])][1]
        assert text_key(row["text"]) not in guarded
    assert len(set(values(made, "id"))) == made.num_rows
    assert [report.rows_in for report in reports] == [len(texts), *(report.rows_out for report in reports[:-1])]
    assert reports[-1].rows_out == made.num_rows


def test_made_rows_inherit_where_their_parents_come_from() -> None:
    table = rows(TEXTS)
    for name in PROVENANCE:
        table = table.append_column(name, pa.array([f"{name} {at}" for at in range(60)], pa.string()))
    made, _ = augment(table, ALL, 1)
    for row in made.slice(60).to_pylist():
        parent = row["id"].split("+")[0][1:]
        assert [row[name] for name in PROVENANCE] == [f"{name} {parent}" for name in PROVENANCE]


@settings(deadline=None, max_examples=40)
@given(st.permutations(list(range(24))), st.sampled_from([*ALL, Rebalance(share=1, max_rows=5), Typos(max_rows=3)]))
def test_the_order_of_the_rows_changes_nothing(order: list[int], method: Any) -> None:
    table = rows(TEXTS[:24], [f"class {number % 5 % 3}" for number in range(24)])
    first, again = (augment(each, [method], 4)[0].slice(24).to_pylist() for each in (table, table.take(order)))
    texts = [{(row["id"].split("+")[0], row["text"]) for row in made} for made in (first, again)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("kind", [Typos, Swap, Dropout, SwapSlots])
def test_a_method_adds_no_more_than_its_budget(kind: Any) -> None:
    texts = [f"where is the card {number} that I want for order {7 * number} now" for number in range(60)]
    table = rows(texts, [f"class {number % 3}" for number in range(60)])
    free, (all_of,) = augment(table, [kind(share=1)], 1)
    made, (report,) = augment(table, [kind(share=1, max_rows=15)], 1)
    assert made.num_rows == 75 < free.num_rows
    assert report.left_out[SPENT] == free.num_rows - 75
    assert set(values(made, "text")) < set(values(free, "text"))
    assert len({row["target"] for row in made.slice(60).to_pylist()}) == 3
    assert report.parameters["max_rows"] == 15
    assert all_of.parameters["max_rows"] is None


def test_a_budget_of_copies_is_spent_on_all_rare_classes() -> None:
    made, (report,) = augment(classes(big=40, small=10, tiny=4), [Rebalance(share=0.5, per_row=9, max_rows=8)], 1)
    assert [values(made.slice(54), "target").count(name) for name in ("small", "tiny")] == [4, 4]
    assert report.left_out == {SPENT: 18}


def test_a_limit_bounds_what_all_before_it_made_and_nothing_else() -> None:
    table = rows(TEXTS, [f"class {number % 3}" for number in range(60)])
    methods = [Typos(share=1), Swap(share=1), Limit(20)]
    free, _ = augment(table, methods[:2], 1)
    made, reports = augment(table, methods, 1)
    assert made.slice(0, 60).equals(table)
    assert (made.num_rows, reports[2].left_out) == (80, {SPENT: free.num_rows - 80})
    assert {row["source"] for row in made.slice(60).to_pylist()} == {"augment:typos", "augment:swap"}
    assert set(values(made, "id")) < set(values(free, "id"))
    after, _ = augment(table, [*methods, Dropout(share=1)], 1)
    assert after.num_rows > 80
    assert augment(table, [Typos(share=1), Limit(10_000)], 1)[0].equals(augment(table, [Typos(share=1)], 1)[0])


def test_a_method_that_makes_nothing_warns_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    made, reports = augment(rows(["one", "two"]), [SwapSlots(share=1), Typos(share=1), Limit(5)], 1)
    assert [report.rows_out - report.rows_in for report in reports] == [0, 2, 0]
    assert made.num_rows == 4
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [f"augment swap_slots made no rows ({{'{NO_TEMPLATE}': 2}}); the others go on"]


@pytest.mark.parametrize("sizes", [{"one": 1}, {"big": 30, "one": 1}, {"one": 1, "other": 1}])
def test_a_class_of_one_row_is_no_mistake(sizes: dict[str, int]) -> None:
    made, reports = augment(classes(**sizes), ALL, 1)
    found = values(made, "target")
    assert all(found.count(name) >= size for name, size in sizes.items())
    assert [report.step for report in reports] == [method.kind for method in ALL]


def test_no_rows_at_all_are_no_mistake() -> None:
    made, reports = augment(rows([]), ALL, 1)
    assert (made.num_rows, {report.rows_out for report in reports}) == (0, {0})
