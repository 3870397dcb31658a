"""The teacher's filter: which made rows go, and what it leaves alone."""

import random
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.data.augmentation.augment import Dropout, Given, Swap, augment
from tasks.data.augmentation.keep_label import OTHER_LABEL, KeepLabel
from tasks.data.augmentation.rebalance import Rebalance
from tasks.data.rows import values
from tasks.specs import Recipe
from tests.unit.data_rows import rows

WORDS = {
    "refund": ["refund", "money", "back", "return", "reimburse", "paid"],
    "parcel": ["parcel", "delivery", "late", "courier", "tracking", "arrived"],
    "login": ["password", "login", "account", "reset", "locked", "email"],
}


def messages(count: int, seed: int = 1) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    targets = [rng.choice(list(WORDS)) for _ in range(count)]
    return [(" ".join(["please", *rng.choices(WORDS[target], k=6)]), target) for target in targets]


def table_of(pairs: list[tuple[str, str]]) -> Any:
    return rows([text for text, _ in pairs], [target for _, target in pairs])


def test_wrong_labels_go_and_right_ones_stay() -> None:
    # Copies of rows that claim a wrong label claim it too: the teacher tells those from the others.
    pairs = messages(300)
    wrong = set(range(0, 300, 10))
    others = {"refund": "parcel", "parcel": "login", "login": "refund"}
    table = table_of([(text, others[target] if at in wrong else target) for at, (text, target) in enumerate(pairs)])
    method = Swap(share=1, swaps=2, dropout=0)
    before = [int(row_id.split("+")[0][1:]) for row_id in values(augment(table, [method], 1)[0].slice(300), "id")]
    made, reports = augment(table, [method, KeepLabel(threshold=0.6)], 1)
    parents = [int(row_id.split("+")[0][1:]) for row_id in values(made.slice(300), "id")]
    assert made.slice(0, 300).equals(table)
    assert sum(parent in wrong for parent in parents) < 0.2 * len(wrong)
    assert len(set(before) - wrong) - len(set(parents) - wrong) <= 2
    assert reports[1].left_out == {OTHER_LABEL: len(before) - len(parents)}
    assert (reports[1].rows_in, reports[1].rows_out) == (reports[0].rows_out, made.num_rows)
    assert "the teacher says" in reports[1].examples[0]


def test_a_higher_threshold_drops_a_part_of_what_a_lower_one_drops() -> None:
    pairs = messages(120)
    rng = random.Random(2)
    table = table_of([(text, rng.choice(list(WORDS)) if rng.random() < 0.3 else target) for text, target in pairs])
    method = Dropout(share=1, rate=0.5)
    left = [set(values(augment(table, [method, KeepLabel(threshold=t)], 3)[0], "id")) for t in (0.5, 0.7, 0.9, 0.999)]
    assert left[0] < left[1] < left[2] < left[3]
    assert augment(table, [method, KeepLabel()], 3)[0].equals(augment(table, [method, KeepLabel()], 3)[0])


def test_it_filters_only_what_came_before_and_never_originals() -> None:
    pairs = [*messages(60), ("refund money back return", "login")]
    table = table_of(pairs)
    copy = Swap(share=1, dropout=0)
    after, reports = augment(table, [KeepLabel(threshold=0.5), copy], 1)
    assert (reports[0].rows_in, reports[0].rows_out, reports[0].left_out) == (61, 61, {})
    assert "r60+swap1" in values(after, "id")
    assert "r60+swap0" not in values(augment(table, [copy, KeepLabel(threshold=0.5)], 1)[0], "id")
    assert augment(table, [KeepLabel(threshold=0.5)], 1)[0].equals(table)


def test_rows_that_were_dropped_are_no_parents() -> None:
    pairs = [*[pair for pair in messages(200) if pair[1] != "login"], ("refund money back paid", "login")]
    repeat = Rebalance(share=0.2, per_row=5)
    made, reports = augment(table_of(pairs), [repeat, KeepLabel(threshold=0.5), Dropout(share=1)], 1)
    assert reports[1].left_out == {OTHER_LABEL: 5}
    assert not any("+rebalance0" in row_id for row_id in values(made, "id"))


@pytest.mark.parametrize(
    "pairs",
    [[], [("one text only", "a")], [("first text", "a"), ("second text", "a")], [("", "a"), ("  ", "b")],
     [("some words", "a"), ("other things", "b")], [("!", "a"), ("?", "b"), ("..", "a")]],
)  # fmt: skip
def test_too_little_to_teach_from_drops_nothing_and_raises_nothing(pairs: list[tuple[str, str]]) -> None:
    swap = Swap(share=1, dropout=0)
    filtered = augment(table_of(pairs), [swap, KeepLabel(threshold=0.99)], 1)[0]
    assert filtered.equals(augment(table_of(pairs), [swap], 1)[0])


def test_a_label_that_the_teacher_was_not_taught_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.data.augmentation import keep_label
    from tasks.data.augmentation.augment import propose

    monkeypatch.setattr(keep_label, "_MAX_ROWS", 40)
    originals = [{"id": str(at), "text": text, "target": target} for at, (text, target) in enumerate(messages(200))]
    made = [{"id": "m", "text": originals[0]["text"], "target": "never seen"}]
    assert not propose(KeepLabel(threshold=0.5), Given(originals, originals, made, "1:1:keep_label")).dropped


@pytest.mark.parametrize("threshold", [0.49, 1.0, float("nan"), "high"])
def test_a_threshold_that_means_nothing_is_refused(threshold: Any) -> None:
    with pytest.raises(ValidationError):
        KeepLabel(threshold=threshold)


def test_a_filter_without_anything_before_it_is_refused() -> None:
    adapter = TypeAdapter(Recipe)
    with pytest.raises(ValidationError, match="put it after them"):
        adapter.validate_python({"augment": ["keep_label", "swap"]})
    recipe = adapter.validate_python({"augment": ["rebalance", "swap", "keep_label"]})
    assert [method.kind for method in recipe.augment] == ["rebalance", "swap", "keep_label"]
