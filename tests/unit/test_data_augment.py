"""Augmentation: provenance, determinism, and what it may never do."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.augment import Swap, Typos, augment, rewrite
from tasks.data.rows import mend_text, values
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
    forbidden = {text_key(text) for text in ("left turn now", "turn now left")}
    method = Swap(share=1, dropout=0)
    assert augment(table, [method], 1)[0].num_rows == 2
    assert augment(table, [method], 1, forbidden)[0].num_rows == 1


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
