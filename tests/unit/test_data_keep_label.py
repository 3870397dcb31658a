"""The teacher's filter: which made rows go, who judges them, and what it leaves alone."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from serving.predictors import Predictions
from tasks.data.augmentation.augment import Dropout, Given, Swap, Teacher, Typos, augment
from tasks.data.augmentation.keep_label import NO_CHAMPION, OTHER_LABEL, KeepLabel, used_teacher
from tasks.data.augmentation.limit import Limit
from tasks.data.augmentation.rebalance import Rebalance
from tasks.data.rows import values
from tasks.progress import progress_to
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


def test_copies_are_no_generated_text_and_stay() -> None:
    pairs = [*[pair for pair in messages(200) if pair[1] != "login"], ("refund money back paid", "login")]
    repeat = Rebalance(share=0.2, per_row=5)
    made, reports = augment(table_of(pairs), [repeat, Dropout(share=1), KeepLabel(threshold=0.5)], 1)
    assert sum(row.startswith("augment:rebalance") for row in values(made, "source")) == 5
    left = [row for row in made.to_pylist() if row["source"] == "augment:dropout"]
    assert left
    assert not any(row["target"] == "login" for row in left)
    assert reports[2].left_out[OTHER_LABEL] > 0


class Oracle:
    """A teacher that gives every text one label, and remembers what it was asked."""

    def __init__(self, label: str, probability: float = 0.4) -> None:
        self.label, self.probability = label, probability
        self.asked: list[str] = []

    def predict(self, texts: Sequence[str]) -> Predictions:
        self.asked += texts
        return Predictions([self.label] * len(texts), np.full(len(texts), self.probability, dtype=np.float32))

    def teacher(self, labels: Sequence[str] = tuple(WORDS)) -> Teacher:
        return Teacher("digest", labels, self.predict)


def test_the_teacher_that_is_given_judges_generated_rows_and_no_others() -> None:
    oracle = Oracle("refund")
    table = table_of(messages(90))
    methods = [Rebalance(share=1), Swap(share=1, dropout=0), KeepLabel()]
    free, _ = augment(table, methods[:2], 1)
    made, reports = augment(table, methods, 1, teacher=oracle.teacher())
    generated = [row for row in free.to_pylist() if row["source"] == "augment:swap"]
    assert sorted(oracle.asked) == sorted(row["text"] for row in generated)
    assert [row for row in made.to_pylist() if row["source"] == "augment:swap"] == [
        row for row in generated if row["target"] == "refund"
    ]
    assert reports[2].left_out == {OTHER_LABEL: sum(row["target"] != "refund" for row in generated)}
    assert reports[2].parameters == {"threshold": 0.0, "teacher": "digest"}
    assert "claims" in reports[2].examples[0]


def test_a_threshold_spares_rows_of_which_the_teacher_is_less_sure() -> None:
    table = table_of(messages(60))
    kept = [
        augment(table, [Swap(share=1), KeepLabel(threshold=t)], 1, teacher=Oracle("login").teacher())[0].num_rows
        for t in (0.0, 0.4, 0.41)
    ]
    assert kept[0] == kept[1] < kept[2] == augment(table, [Swap(share=1)], 1)[0].num_rows


def test_labels_that_the_teacher_was_not_taught_are_not_judged() -> None:
    oracle = Oracle("refund")
    made, _ = augment(table_of(messages(60)), [Swap(share=1), KeepLabel()], 1, teacher=oracle.teacher(["refund", "x"]))
    free, _ = augment(table_of(messages(60)), [Swap(share=1)], 1)
    assert made.equals(free)


def test_the_cheap_teacher_stands_in_and_says_so_and_none_drops_nothing() -> None:
    pairs = messages(200)
    table = table_of([*pairs, ("refund money back return", "login")])
    swap = Swap(share=1, dropout=0)
    fallback, reports = augment(table, [swap, KeepLabel()], 1)
    assert reports[1].parameters["teacher"] == NO_CHAMPION
    named, reports = augment(table, [swap, KeepLabel(teacher="tfidf")], 1, teacher=Oracle("refund").teacher())
    assert reports[1].parameters["teacher"] == "tfidf"
    assert named.equals(fallback)
    free, _ = augment(table, [swap], 1)
    assert fallback.num_rows < free.num_rows
    assert augment(table, [swap, KeepLabel(teacher="none")], 1, teacher=Oracle("x").teacher())[0].equals(free)


def test_many_rows_are_asked_about_in_blocks_with_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.data.augmentation import keep_label

    monkeypatch.setattr(keep_label, "_BLOCK", 16)
    told: list[int] = []
    oracle = Oracle("refund")
    with progress_to(lambda _, done, __: told.append(done)):
        augment(table_of(messages(60)), [Swap(share=1), KeepLabel()], 1, teacher=oracle.teacher())
    assert told == [*range(16, len(oracle.asked), 16), len(oracle.asked)]


def test_a_teacher_counts_only_where_it_is_asked() -> None:
    assert used_teacher([Swap(), KeepLabel()], "it") == "it"
    assert used_teacher([Swap(), KeepLabel(teacher="tfidf")], "it") is None
    assert used_teacher([Swap()], "it") is None
    assert used_teacher([Swap(), KeepLabel()], None) is None


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


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan"), "high"])
def test_a_threshold_that_means_nothing_is_refused(threshold: Any) -> None:
    with pytest.raises(ValidationError):
        KeepLabel(threshold=threshold)


@pytest.mark.parametrize("kind", ["keep_label", {"kind": "limit", "max_rows": 3}])
def test_a_filter_without_anything_before_it_is_refused(kind: Any) -> None:
    with pytest.raises(ValidationError, match="put it after them"):
        TypeAdapter(Recipe).validate_python({"augment": [kind, "swap"]})


STRICT = {"kind": "keep_label", "threshold": 0.7}


@pytest.mark.parametrize(
    ("listed", "kinds", "threshold"),
    [
        (["swap"], ["swap", "keep_label"], 0.0),
        (["rebalance"], ["rebalance"], None),
        ([], [], None),
        (["swap", "keep_label"], ["swap", "keep_label"], 0.0),
        (
            ["swap", {"kind": "keep_label", "threshold": 0.7}, "typos"],
            ["swap", "keep_label", "typos", "keep_label"],
            0.7,
        ),
        (["swap", "rebalance", {"kind": "limit", "max_rows": 9}], ["swap", "keep_label", "rebalance", "limit"], 0.0),
        (["swap", {"kind": "keep_label", "teacher": "none"}], ["swap", "keep_label"], 0.0),
    ],
)
def test_every_list_that_generates_text_holds_the_filter(
    listed: Any, kinds: list[str], threshold: float | None
) -> None:
    adapter = TypeAdapter(Recipe)
    recipe = adapter.validate_python({"augment": listed})
    assert [method.kind for method in recipe.augment] == kinds
    assert {method.threshold for method in recipe.augment if method.kind == "keep_label"} == {threshold} - {None}
    assert adapter.validate_python(adapter.dump_python(recipe)) == recipe  # a stored recipe stays as it is


def test_a_recipe_made_in_code_holds_the_filter_too() -> None:
    assert Recipe(augment=(Typos(), Limit(5))).augment == (Typos(), KeepLabel(), Limit(5))
