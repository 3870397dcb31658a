"""Splits: stratified, whole clusters, stable; and what leaks into train is found."""

import csv
import math
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.rows import SPLITS, keep, make_rows, values
from tasks.data.similarity import near_duplicate_clusters
from tasks.data.split import assign_feedback_splits, assign_splits, check_leakage, find_leaks
from tasks.errors import DataError, LeakageError
from tests.unit.data_rows import rows

SHARES = {"valid": 0.1, "select": 0.15, "golden": 0.15}
BANKING = Path(__file__).resolve().parents[3] / "shared" / "data" / "banking77"
WORDS = ["card", "money", "account", "refund", "phone", "delivery", "invoice", "password", "branch", "loan"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


def distinct(count: int) -> list[str]:
    """Texts of which no two are near duplicates."""
    return [f"{WORDS[n % 10] * 2} {n * 7919} {WORDS[n // 10 % 10]} {n * 104729}" for n in range(count)]


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.sampled_from("abc")), min_size=1, max_size=40), st.integers(0, 99), st.booleans())
def test_every_row_has_one_split_clusters_are_whole_and_every_label_is_taught(
    pairs: list[tuple[str, str]], seed: int, labelled: bool
) -> None:
    texts, targets = [text for text, _ in pairs], [target for _, target in pairs]
    drawn = values(assign_splits(rows(texts, targets, ""), **SHARES, seed=seed, labelled=labelled), "split")
    assert set(drawn) <= set(SPLITS)
    by_cluster = dict(zip(near_duplicate_clusters(texts), drawn, strict=True))
    assert [by_cluster[cluster] for cluster in near_duplicate_clusters(texts)] == drawn
    taught = {target for target, split in zip(targets, drawn, strict=True) if split == "train"}
    assert taught == set(targets) if labelled else "train" in drawn


@pytest.mark.parametrize("labelled", [True, False])
def test_shares_hold_within_each_target(labelled: bool) -> None:
    targets = ["often"] * 400 + ["seldom"] * 40
    table = assign_splits(rows(distinct(440), targets, ""), **SHARES, seed=7, labelled=labelled)
    counts = Counter(zip(values(table, "target"), values(table, "split"), strict=True))
    for target, total in (("often", 400), ("seldom", 40)):
        for split, share in SHARES.items():
            slack = 1 if labelled else 4 * math.sqrt(total * share)
            assert abs(counts[target, split] - share * total) <= slack


def test_named_splits_stay_and_only_missing_ones_are_drawn() -> None:
    named = ["golden"] * 20 + ["train"] * 60 + [""] * 20
    drawn = values(assign_splits(rows(distinct(100), split=named), **SHARES, seed=7), "split")
    assert drawn[:20] == ["golden"] * 20
    assert Counter(drawn[20:]).keys() == {"train", "valid", "select"}
    assert 11 <= Counter(drawn)["select"] <= 13


def test_all_splits_named_leaves_all_as_they_are() -> None:
    named = ["train", "valid", "select", "golden"] * 5
    assert values(assign_splits(rows(distinct(20), split=named), **SHARES, seed=7), "split") == named


def test_appended_rows_move_almost_none_and_order_none() -> None:
    texts, targets = distinct(1100), ["a", "b"] * 550
    old = values(assign_splits(rows(texts[:1000], targets[:1000], ""), **SHARES, seed=7), "split")
    new = values(assign_splits(rows(texts, targets, ""), **SHARES, seed=7), "split")
    moves = Counter((before, after) for before, after in zip(old, new, strict=False) if before != after)
    assert sum(moves.values()) <= 2 * math.sqrt(50) * 2
    assert not {("golden", "train"), ("train", "golden")} & set(moves)
    turned = assign_splits(rows(texts[999::-1], targets[999::-1], ""), **SHARES, seed=7)
    assert values(turned, "split")[::-1] == old


def test_another_seed_draws_other_rows() -> None:
    table = rows(distinct(200), split="")
    assert not assign_splits(table, **SHARES, seed=1).equals(assign_splits(table, **SHARES, seed=2))


def test_shares_that_leave_nothing_for_train_are_refused() -> None:
    with pytest.raises(DataError, match=r"valid.*sum to 1 or more"):
        assign_splits(rows(["x"], split=""), valid=0.5, select=0.3, golden=0.2, seed=7)


@settings(deadline=None)
@given(st.lists(st.uuids().map(str), min_size=1, max_size=30, unique=True), st.integers(0, 9))
def test_feedback_is_drawn_by_id_alone(ids: list[str], seed: int) -> None:
    def draw(names: list[str], text: str) -> dict[str, str]:
        column = {name: [text] * len(names) for name in ("text", "target", "split", "source")}
        table = assign_feedback_splits(make_rows({"id": names, **column}), **SHARES, seed=seed)
        return dict(zip(values(table, "id"), values(table, "split"), strict=True))

    whole = draw(ids, "x")
    assert draw(ids[:1], "something else") == {ids[0]: whole[ids[0]]}


def test_feedback_shares_are_kept() -> None:
    table = assign_feedback_splits(rows(["x"] * 4000), **SHARES, seed=7)
    counts = Counter(values(table, "split"))
    for split, share in SHARES.items():
        assert abs(counts[split] - 4000 * share) < 4 * math.sqrt(4000 * share * (1 - share))


def leaky() -> object:
    texts = [
        "How do I unblock my PIN, please?",
        "how do i unblock  my PIN please?",
        "where is my card",
        "I am me@x.org",
    ]
    return rows(
        [*texts, "WHERE is my card", "i am me@x.org", " "], split=[*["train"] * 4, "golden", "select", "golden"]
    )


def test_leaks_are_refused_with_examples_and_the_mend() -> None:
    with pytest.raises(LeakageError) as caught:
        check_leakage(leaky(), "refuse")
    message = str(caught.value)
    assert "2 of 7 rows" in message
    assert "train row r2 repeats golden row r4: 'where is my card'" in message
    assert "data.leakage: drop" in message
    assert "me@x.org" not in message


def test_leaks_are_dropped_from_the_less_guarded_split() -> None:
    left, dropped = check_leakage(leaky(), "drop")
    assert (values(left, "id"), dropped) == (["r0", "r1", "r4", "r5", "r6"], 2)
    assert check_leakage(left, "refuse") == (left, 0)


def test_golden_is_guarded_from_select_and_valid_and_near_copies_count() -> None:
    text = "how long does the delivery to the United States take?"
    table = rows([text, text[:-1], text.upper()], split=["golden", "select", "valid"])
    assert values(check_leakage(table, "drop")[0], "id") == ["r0"]


def test_find_leaks_skips_blank_texts() -> None:
    assert find_leaks(["", " ", "my card"], ["", "MY card"]) == [(2, 1)]


@pytest.mark.skipif(not BANKING.is_dir(), reason=f"{BANKING} is absent")
def test_banking77_is_split_and_checked_in_seconds() -> None:
    table = rows(*zip(*_banking(), strict=True))
    table = table.set_column(0, "id", [[f"b{number}" for number in range(table.num_rows)]])
    began = time.process_time()
    clusters = near_duplicate_clusters(values(table, "text"))
    assert len(set(clusters)) < len(clusters) == 13083
    table = assign_splits(table, **SHARES, seed=7)
    assert check_leakage(table, "refuse")[1] == 0
    assert time.process_time() - began < 15
    golden = keep(table, [split == "golden" for split in values(table, "split")])
    assert abs(golden.num_rows - 0.15 * 13083) < 77
    assert len(set(values(golden, "target"))) == 77


def _banking() -> list[tuple[str, str, str]]:
    found = []
    for name in ("train.csv", "test.csv"):
        with (BANKING / name).open(newline="", encoding="utf-8") as file:
            found += [(row["text"], row["category"], "") for row in csv.DictReader(file)]
    return found
