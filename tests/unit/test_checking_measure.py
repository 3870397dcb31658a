"""What is measured of rows, against brute force: lengths, duplicates, leaks, languages, the profile."""

import hashlib
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.checking import measure
from tasks.data.checking.measure import as_rows, find_leaks, measure_rows, measure_texts, repeats
from tasks.data.checking.profile import DataProfile, make_profile
from tasks.data.cleaning.scrub import has_pii
from tasks.data.rows import make_rows
from tasks.data.similarity import text_key
from tasks.records import from_json, to_json

TEXTS = st.lists(
    st.sampled_from(["", " ", "Hello  there", "hello there", "\uff28ello there", "me@example.com", "card 7", "Straße"])
    | st.text(max_size=12).filter(lambda text: "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)),
    max_size=30,
)
ENGLISH = "where is my parcel, it should have been here since last monday and nobody answers, number {}"
GERMAN = "wo bleibt denn mein Paket, es sollte schon seit letztem Montag hier sein und niemand antwortet, Nummer {}"


def rows_of(texts: list[str], splits: list[str] | None = None, targets: list[str] | None = None) -> pa.Table:
    count = len(texts)
    return make_rows(
        {
            "id": [f"r{n}" for n in range(count)], "text": texts, "target": targets or ["a"] * count,
            "split": splits or ["train"] * count, "source": ["t.csv"] * count,
        }
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell languages by the umlauts and a word, so that no model is loaded."""
    monkeypatch.setattr(measure, "tell_languages", lambda texts: ["de" if "Paket" in text else "en" for text in texts])


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_measures_are_what_a_loop_over_the_rows_finds(texts: list[str]) -> None:
    found = measure_rows(rows_of(texts)).to_pydict()
    keys = [text_key(text) for text in texts]
    assert found["chars"] == [len(text) for text in texts]
    assert found["empty"] == [not key for key in keys]
    assert found["pii"] == [has_pii(text) for text in texts]
    assert found["duplicate"] == [key in keys[:row] for row, key in enumerate(keys)]


@settings(max_examples=40, deadline=None)
@given(TEXTS, st.integers(1, 7))
def test_batches_change_nothing(texts: list[str], rows: int) -> None:
    whole = measure_texts(texts, 0.5)
    parts = [measure_texts(texts[start : start + rows], 0.5) for start in range(0, len(texts), rows)]
    if parts:
        assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())


@given(st.lists(st.integers(0, 5), max_size=20))
def test_repeats_are_what_came_before(keys: list[int]) -> None:
    assert repeats(np.array(keys, dtype=np.uint64)).tolist() == [key in keys[:row] for row, key in enumerate(keys)]


def test_the_key_is_a_hash_of_the_content_alone() -> None:
    [key] = measure_texts(["A  text"], 0)["key"].to_pylist()
    assert key == int.from_bytes(hashlib.blake2b(b"a text", digest_size=8).digest())


def test_the_sample_whose_language_is_told_follows_the_text_not_the_place() -> None:
    texts = [ENGLISH.format(n) for n in range(3000)]
    told = measure_texts(texts, 0.1)["language"].to_pylist()
    turned = measure_texts(texts[::-1], 0.1)["language"].to_pylist()
    assert told == turned[::-1]
    assert 230 < sum(language is not None for language in told) < 370


def test_a_million_rows_would_tell_about_2000_languages() -> None:
    table = rows_of([ENGLISH.format(n) for n in range(20_000)])
    told = 20_000 - measure_rows(table)["language"].null_count
    assert 1800 < told < 2200


def test_leaks_are_exact_and_near_repeats_of_golden_in_train() -> None:
    base = "i would like to know when my parcel with the blue shoes arrives at my door please"
    texts = [base, base.upper(), base + "!", "something else entirely", "", base, base]
    splits = ["golden", "train", "train", "train", "train", "valid", "golden"]
    table = rows_of(texts, splits)
    assert find_leaks(table, measure_rows(table)).tolist() == [False, True, True, False, False, False, False]


def test_many_rows_are_only_looked_at_for_exact_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "NEAR_LEAK_ROWS", 1)
    table = rows_of(
        ["a text of some words", "A text of some words", "a text of some words!"], ["golden", "train", "train"]
    )
    assert find_leaks(table, measure_rows(table)).tolist() == [False, True, False]


def test_a_profile_counts_what_is_there_and_is_json() -> None:
    texts = ["", *[ENGLISH.format(n) for n in range(8)], GERMAN.format(1), ENGLISH.format(0), "a@b.example"]
    splits = ["train"] * 9 + ["golden"] * 3
    table = rows_of(texts, splits, ["a"] * 4 + ["b"] * 8)
    profile = make_profile(table, measure_rows(table), "digest")
    chars = sorted(len(text) for text in texts if text)
    assert (profile.rows, profile.splits, profile.classes) == (12, {"golden": 3, "train": 9}, {"a": 4, "b": 5})
    assert profile.lengths[1] == int(statistics.median(chars))
    assert chars[0] <= profile.lengths[0] <= profile.lengths[2] <= chars[-1]
    assert (profile.empty_share, profile.duplicate_share, profile.pii_share) == (1 / 12, 1 / 12, 1 / 12)
    assert profile.languages == {"de": 1, "en": 11}
    assert from_json(DataProfile, to_json(profile)) == profile


def test_no_rows_have_a_profile_too() -> None:
    table = rows_of([])
    profile = make_profile(table, measure_rows(table), "digest")
    assert (profile.rows, profile.classes, profile.lengths, profile.empty_share) == (0, {}, (0, 0, 0), 0.0)


def test_what_is_no_text_is_mended_and_told() -> None:
    table = pa.table({"id": ["a", "b", None], "text": pa.array(["x", None, "y"], pa.large_string())})
    rows, mended = as_rows(table)
    assert mended.tolist() == [False, True, True]
    assert rows.to_pydict() == {"id": ["a", "b", ""], "text": ["x", "", "y"], "target": [""] * 3, "split": [""] * 3,
                                "source": [""] * 3}  # fmt: skip
    numbers, mended = as_rows(table.append_column("target", pa.array([1, 2, 3])))
    assert (numbers["target"].to_pylist(), mended.all()) == (["1", "2", "3"], True)
    lists, _ = as_rows(table.append_column("target", pa.array([[1], [], None])))
    assert lists["target"].to_pylist() == ["[1]", "[]", ""]
