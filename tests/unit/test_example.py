"""The embedded example: determinism, and that its rows are as imperfect as its docstring says, but no more."""

import csv
import re
from collections import Counter

import pytest

from tasks.data import example, example_later, example_text

SEEDS = (7, 8)


@pytest.fixture(scope="module", params=SEEDS)
def seed(request):
    return request.param


@pytest.fixture(scope="module")
def pool(seed):
    return example.pool_with_truth(seed=seed)


@pytest.fixture(scope="module")
def golden(seed):
    return example.golden_messages(seed=seed)


@pytest.fixture(scope="module")
def production(seed):
    return example.production_messages(seed=seed)


def letters(text):
    return "".join(character for character in text.lower() if character.isalpha())


def trigrams(text):
    words = " ".join(text.casefold().split())
    return {words[i : i + 3] for i in range(max(1, len(words) - 2))}


def jaccard(left, right):
    return len(left & right) / len(left | right)


@pytest.mark.parametrize("generate", [example.support_messages, example.golden_messages, example.production_messages])
def test_the_seed_decides_every_row(generate):
    assert generate(60, 3) == generate(60, 3)
    assert generate(60, 3) != generate(60, 4)


def test_known_rows_stay_the_same_on_every_machine():
    assert example.support_messages(3, 7)[2]["text"] == "I don't want the money, I want a office chair that fits"
    assert example.golden_messages(3, 7, pool_rows=50)[0]["intent"] == "delivery_delay"


def test_pool_rows_have_the_promised_columns_and_sizes(pool, seed):
    rows = example.support_messages(seed=seed)
    assert len(rows) == example.POOL_ROWS
    assert {tuple(row) for row in rows} == {("id", "text", "intent", "channel")}
    assert len({row["id"] for row in rows}) == len(rows)
    assert [row["text"] for row in rows] == [row["text"] for row in pool]


def test_every_set_has_all_intents_and_both_channels(pool, golden, production):
    assert len(example.INTENTS) >= 12
    for rows, key in ((pool, "intent"), (golden, "intent"), (production, "true")):
        assert {row[key] for row in rows} == set(example.INTENTS)
        assert {row["channel"] for row in rows} == set(example.CHANNELS)


def test_about_8_percent_of_labels_are_wrong_and_most_go_to_a_neighbour(pool):
    wrong = [row for row in pool if row["true"] and row["intent"] != row["true"]]
    assert 0.05 < len(wrong) / len(pool) < 0.11
    pairs = {frozenset(pair) for pair in example_text.TERSE}
    confused = sum(frozenset((row["intent"], row["true"])) in pairs for row in wrong)
    assert 0.5 < confused / len(wrong) < 0.9


def test_the_pool_has_exact_and_near_duplicates_and_garbage(pool):
    texts = [row["text"] for row in pool if row["true"]]
    exact = len(texts) - len(set(texts))
    assert exact > 0.03 * len(texts)
    assert len(set(texts)) - len({letters(text) for text in texts}) > 0.005 * len(texts)
    assert 0.005 < sum(not row["true"] for row in pool) / len(pool) < 0.03
    assert any(not row["text"].strip() for row in pool)


def test_some_messages_carry_personal_data(pool, golden, production):
    for rows in (pool, golden, production):
        assert sum(bool(re.search(r"\S+@example\.(com|org|net)", row["text"])) for row in rows) > 20
        assert sum(bool(re.search(r"\+1 212 555 01|07700 900|\(020\) 7946 0", row["text"])) for row in rows) > 20


def test_golden_copies_no_row_of_the_pool_nor_itself(pool, golden):
    seen = {letters(row["text"]) for row in pool}
    assert not [row for row in golden if letters(row["text"]) in seen]
    assert len({letters(row["text"]) for row in golden}) == len(golden) == example.GOLDEN_ROWS


def test_golden_nearly_repeats_no_row_of_a_pool():
    pool = [trigrams(row["text"]) for row in example.support_messages(400, 5)]
    for row in example.golden_messages(100, 5, pool_rows=400):
        assert max(jaccard(trigrams(row["text"]), other) for other in pool) < example.COPY_SIMILARITY


def test_production_speaks_of_new_products_in_new_phrasings(pool, golden, production):
    new_words = re.compile("|".join([*example_later.LATER_PRODUCTS, "pickup box", "passkey", r"circle\b"]), re.I)
    assert not any(new_words.search(row["text"]) for row in [*pool, *golden])
    assert sum(bool(new_words.search(row["text"])) for row in production) > 0.3 * len(production)
    assert len(example_later.LATER_ASKS) >= 5
    for intent, asks in example_later.LATER_ASKS.items():
        assert not set(asks) & set(example_text.ASKS[intent])


def test_the_rising_intent_rises(golden, production):
    before = Counter(row["intent"] for row in golden)[example_later.RISING_INTENT] / len(golden)
    after = Counter(row["true"] for row in production)[example_later.RISING_INTENT] / len(production)
    assert after > 2.5 * before


def test_production_rows_carry_the_truth_and_no_label(production):
    assert {tuple(sorted(row)) for row in production} == {("channel", "id", "text", "true")}


def test_files_hold_the_same_rows(tmp_path):
    example.write_example(tmp_path / "data", 5, pool_rows=90, golden_rows=40)
    for name, rows in (
        ("messages.csv", example.support_messages(90, 5)),
        ("golden.csv", example.golden_messages(40, 5, pool_rows=90)),
    ):
        with open(tmp_path / "data" / name, encoding="utf-8", newline="") as file:
            assert list(csv.DictReader(file)) == rows


def test_every_slot_and_choice_is_filled(pool, golden, production):
    assert not [row for row in [*pool, *golden, *production] if re.search(r"[{}|]", row["text"])]
