"""Words that may stand for one another: in texts, in vocabularies, in space."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.augmentation.synonyms import near_words
from tasks.data.augmentation.vocabulary import find_words, may_replace, same_lemma, whole_words, with_case_of


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in find_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("where is my refund, please?", ["refund"]),
        ("Mail <EMAIL> about order77 at shop.example.com or www.shop.de/cart today", ["Mail", "today"]),
        ("I can't and don't, John's card", ["card"]),
        ("not never no cannot the and", []),
        ("e-mail a [MASK] to größe@haus now in Köln.", ["Köln"]),
        ("", []),
        ("ab <URL>lost", ["lost"]),
    ],
)
def test_only_words_of_meaning_are_found(text: str, words: list[str]) -> None:
    assert found(text) == words


@given(st.text(max_size=60))
def test_what_is_found_are_words_of_the_text(text: str) -> None:
    spans = find_words(text)
    assert all(text[start:end].isalpha() and end - start >= 3 for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("card", "cards", True), ("lost", "losing", True), ("happy", "unhappy", True), ("Card", "card", True),
        ("forgotten", "forgetting", True), ("using", "use", True), ("contact", "content", True),
        ("fee", "cost", False), ("money", "cash", False), ("quickly", "rapidly", False), ("parcel", "package", False),
    ],
)  # fmt: skip
def test_forms_of_one_word_are_told(left: str, right: str, same: bool) -> None:
    assert same_lemma(left, right) is same is same_lemma(right, left)


@pytest.mark.parametrize(
    ("word", "other", "may"),
    [
        ("fee", "cost", True), ("fee", "costs", False), ("fees", "costs", True), ("tried", "attempt", False),
        ("tried", "attempted", True), ("Paris", "london", False), ("Paris", "Athens", True), ("card", "cards", False),
    ],
)  # fmt: skip
def test_the_form_must_fit(word: str, other: str, may: bool) -> None:
    assert may_replace(word, other) is may


def test_the_case_goes_over() -> None:
    cases = [with_case_of(word, "cash") for word in ("money", "Money", "MONEY", "I")]
    assert cases == ["cash", "Cash", "CASH", "Cash"]


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        ({"[CLS]": 0, "card": 1, "##ing": 2, "the": 3, "7": 4, "ab": 5, "Card": 6}, {"card": 1, "Card": 6}),
        ({"<s>": 0, "Ġcard": 1, "ing": 2, "ĠÃªtre": 3, "card": 4}, {"card": 1}),
        ({"<s>": 0, "▁être": 1, "ing": 2, "▁card": 3}, {"être": 1, "card": 3}),
    ],
)
def test_pieces_of_words_are_no_words(vocabulary: dict[str, int], words: dict[str, int]) -> None:
    assert whole_words(vocabulary, ["[CLS]", "<s>"]) == words


NAMES = ["money", "cash", "fee", "cost", "Paris", "Athens", "quick", "parcel", "bundle", "window", "garden", "Helmet"]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(-0.9, 0.9), st.integers(1, len(NAMES)))
def test_neighbours_are_those_of_a_search_through_all(seed: int, least: float, count: int) -> None:
    table = np.random.default_rng(seed).normal(size=(len(NAMES), 3)).astype(np.float32)
    words = {word: index for index, word in enumerate(NAMES[:count])}
    near = near_words({"money", "Paris", "MONEY", "unknown"}, words, table, least)
    assert set(near) == {word for word in ("money", "MONEY", "Paris") if word in words or word.lower() in words}
    for word, others in near.items():
        key = word if word in words else word.lower()
        own = table[words[key]]
        cosine = {
            other: float(own @ table[at] / np.linalg.norm(own) / np.linalg.norm(table[at]))
            for other, at in words.items()
        }
        allowed = [other for other in words if may_replace(key, other) and cosine[other] >= least]
        ranked = sorted(allowed, key=lambda other: -cosine[other])[:5]
        assert others == [other if word == key else other.upper() for other in ranked]


def test_a_row_of_zeros_has_no_neighbours() -> None:
    table = np.zeros((2, 4), dtype=np.float32)
    assert near_words({"money"}, {"money": 0, "cash": 1}, table, 0.1) == {"money": []}
