"""Perturbed texts: the same for every model, changed where they can be, and never in what must stay."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measure.quality.robustness import KINDS, perturb, robust_rows

FIXED = [
    "bob@example.com",
    "<EMAIL>",
    "<FIRST NAME>",
    "https://shop.example/can-i/please",
    "12,50",
    "A4",
    "{name}",
    "v1.2",
]
FREE = [
    "how",
    "do",
    "I",
    "return",
    "my",
    "parcel?",
    "can't",
    "CARD",
    "Größe",
    "退款",
    "twice",
    "ok",
    "isn't",
    "¿Dónde",
    "на",
]
tokens = st.lists(st.sampled_from(FIXED + FREE), max_size=14)
kinds = st.sampled_from(KINDS)
quick = settings(max_examples=80, deadline=None)
SEEDS = range(60)


def one(text, kind, seed=7):
    return perturb([text], kind, seed)[0]


def made(text, kind):
    """Return what the text becomes under many seeds."""
    return {one(text, kind, seed) for seed in SEEDS}


def distance(first, second):
    """Return the restricted Damerau-Levenshtein distance: letters dropped, added, changed or swapped with the next."""
    table = {(row, 0): row for row in range(len(first) + 1)} | {
        (0, column): column for column in range(len(second) + 1)
    }
    for row in range(1, len(first) + 1):
        for column in range(1, len(second) + 1):
            cost = first[row - 1] != second[column - 1]
            table[row, column] = min(
                table[row - 1, column] + 1, table[row, column - 1] + 1, table[row - 1, column - 1] + cost
            )
            if first[row - 2 : row] == second[column - 2 : column][::-1] and min(row, column) > 1:
                table[row, column] = min(table[row, column], table[row - 2, column - 2] + 1)
    return table[len(first), len(second)]


@quick
@given(st.lists(st.text(max_size=30), max_size=12), kinds, st.integers(0, 3))
def test_every_text_is_answered_for_itself(texts, kind, seed):
    """Neither its place nor its neighbours count, and what is answered is another text."""
    answered = perturb(texts, kind, seed)
    assert answered == [one(text, kind, seed) for text in texts]
    assert all(new is None or new != text for new, text in zip(answered, texts, strict=True))


@quick
@given(st.text(max_size=60), kinds)
def test_digits_stay(text, kind):
    new = one(text, kind)
    assert new is None or re.findall(r"\d", new) == re.findall(r"\d", text)


@quick
@given(tokens, kinds, st.integers(0, 20))
def test_numbers_addresses_and_placeholders_stay(words, kind, seed):
    text = " ".join(words)
    new = one(text, kind, seed) or text
    at = 0
    for word in words:
        if word in FIXED:
            at = new.index(word, at) + len(word)
    assert re.findall(r"\S*[\d@<>{}/]\S*", new) == re.findall(r"\S*[\d@<>{}/]\S*", text)


@quick
@given(tokens, st.integers(0, 20))
def test_typos_are_slips_in_words_of_four_letters_or_more(words, seed):
    text = " ".join(words)
    new = one(text, "typos", seed)
    long = [word for word in words if word not in FIXED and re.search(r"[^\W\d_]{4}", word)]
    assert (new is None) == (long == [])
    if new is None:
        return
    pairs = zip(text.split(), new.split(), strict=True)
    changed = [(before, after) for before, after in pairs if before != after]
    assert len(changed) == min(len(long), max(1, round(len(text.split()) / 6)))
    assert all(before in long and distance(before, after) == 1 for before, after in changed)


@pytest.mark.parametrize(("words", "typos"), [(1, 1), (8, 1), (9, 2), (60, 10), (600, 100)])
def test_one_word_in_six_has_a_typo(words, typos):
    text = " ".join(["parcel"] * words)
    assert sum(word != "parcel" for word in one(text, "typos").split()) == typos


def test_all_kinds_of_typos_come_up_and_keys_are_near():
    slips = made("bags", "typos") | {one("bags", "typos", seed) for seed in range(1000, 1400)}
    assert {"bgs", "baggs", "basg", "abgs"} <= slips
    assert {slip[0] for slip in slips if len(slip) == 4 and slip.endswith("ags")} - {"b"} == set("vghn")
    assert {one("GAGS", "typos", seed) for seed in range(400)} == {
        slip.upper() for slip in {one("GAGS", "typos", seed) for seed in range(400)}
    }


@quick
@given(tokens, st.integers(0, 20))
def test_casing_changes_casing_alone_wherever_it_can(words, seed):
    text = " ".join(words)
    new = one(text, "casing", seed)
    cased = any(word not in FIXED and word.upper() != word.lower() for word in words)
    assert (new is not None) == cased
    assert (new or text).casefold() == text.casefold()


def test_all_casings_come_up():
    becomes = made("don't lose My card", "casing")
    assert {"DON'T LOSE MY CARD", "don't lose my card", "Don't Lose My Card"} <= becomes
    assert len(becomes) > 4  # mixed
    assert made("ALL UPPER", "casing") & {"all upper", "All Upper"}


LEAD_INS = r"(?:(?:Hi|Hello|Hey there|Good day), |Quick question: )?"
CLOSINGS = r"(?: - (?:many )?thank.*| - any help.*| (?:Many t|T)hank.*\.| Any help.*\.)?"


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("How do I pay?", {"How can I", "What is the way to", "What is the best way to", "What do I have to do to"}),
        ("how can i pay", {"how do i", "what is the way to", "what is the best way to", "what do i have to do to"}),
        ("CAN YOU pay?", {"COULD YOU", "WOULD YOU BE ABLE TO"}),
        ("I can't pay", {"I cannot"}),
        ("you do  not pay", {"you don't"}),
        ("I\u2019m what you pay", {"I am what you"}),
        ("what you half an hour pay", {"what you thirty minutes"}),
        ("Tell me how you pay.", {"Let me know how you"}),
    ],
)
def test_phrases_become_others_that_say_the_same(text, ways):
    found = {re.fullmatch(rf"{LEAD_INS}(.*) pay[.?!]?{CLOSINGS}", new).group(1) for new in made(text, "paraphrase")}
    assert found == ways


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("why isn't my card working", "why isn't my card working"),
        ("what's happened to you", "what's happened to you"),
        ("please tell me what it is and where I am.", "where I am"),
        ("do i want to pay you", "do i want to pay you"),
        ("why are we're and you", "we"),
    ],
)
def test_phrases_that_would_go_wrong_stay(text, stays):
    assert all(stays in new for new in made(text, "paraphrase"))


def test_greetings_and_thanks_are_not_doubled():
    for new in made("Hello, where is the parcel? Thank you!", "paraphrase"):
        assert new is None or len(re.findall("hi,|hello|hey|good day|quick", new.lower())) == 1
        assert new is None or len(re.findall("thank", new.lower())) == 1


def test_every_english_text_is_paraphrased():
    texts = ["where is my parcel", "my refund is not there yet", "please close the account", "<EMAIL> what is this",
             "I need help with order 12345"]  # fmt: skip
    for seed in SEEDS:
        assert None not in perturb(texts, "paraphrase", seed)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "?!", "12345", "<EMAIL>", "我的卡在哪里", "¿Dónde está mi tarjeta?", "Wo ist meine Karte?",
     "Где моя карта?", "Was ist das und wie kann ich helfen", "Où est ma carte ?", "Mój telefon i karta nie działa",
     "lost card", "https://how.do/i/can"],
)  # fmt: skip
def test_texts_that_are_not_seen_to_be_english_are_not_paraphrased(text):
    assert made(text, "paraphrase") == {None}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_without_letters_are_left_out(kind):
    assert perturb(["", " ", "12 345", "?!", "😀", "<EMAIL>", "a@b.cd"], kind) == [None] * 7


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_differ_and_lone_surrogates_are_taken(kind):
    text = "can you tell me where the parcel is, I can't find it \ud800"
    assert len(made(text, kind)) > 3


def test_nothing_depends_on_the_process():
    """Written down, so that a change of what models are asked is seen: stored scores would no longer compare."""
    text = "How do I change the address of my parcel?"
    assert [one(text, kind) for kind in KINDS] == [
        "How do I cange the address of my aprcel?",
        "how do i change the address of my parcel?",
        "What do I have to do to change the address of my parcel",
    ]
    assert robust_rows(["a", "b", "c", "d", "e", "f"], 3) == [0, 2, 3]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="one of typos, casing, paraphrase, not 'noise'"):
        perturb(["a"], "noise")


@quick
@given(st.lists(st.text(max_size=5), max_size=40), st.integers(1, 50), st.randoms(use_true_random=False))
def test_the_rows_drawn_are_the_same_in_any_order(texts, limit, rng):
    rows = robust_rows(texts, limit)
    assert rows == sorted(set(rows))
    assert len(rows) == min(limit, len(texts))
    assert set(rows) <= set(robust_rows(texts, limit + 1))
    shuffled = rng.sample(texts, len(texts))
    assert sorted(shuffled[row] for row in robust_rows(shuffled, limit)) == sorted(texts[row] for row in rows)


def test_another_seed_draws_other_rows_evenly():
    texts = [f"text {row}" for row in range(1000)]
    first, second = set(robust_rows(texts, 500, 1)), set(robust_rows(texts, 500, 2))
    assert 200 < len(first & second) < 300
    assert 200 < len([row for row in first if row < 500]) < 300


@pytest.mark.parametrize("limit", [0, -5])
def test_no_rows_to_draw_is_refused(limit):
    with pytest.raises(ValueError, match="must be 1 or more"):
        robust_rows(["a"], limit)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_hostile_text_takes_a_moment(kind):
    rng = random.Random(1)
    texts = ["a" * 100_000, "how do i " * 10_000, "<" * 100_000, "a." * 50_000, "please my" + "." * 100_000 + "x",
             "".join(rng.choices("how do i'<>@1. ", k=100_000))]  # fmt: skip
    start = time.perf_counter()
    perturb(texts, kind)
    assert time.perf_counter() - start < 5


def test_training_and_testing_share_no_generator_and_nothing_heavy_is_loaded():
    loaded = "{'tasks.data.augmentation.augment', 'numpy', 'scipy'} & set(sys.modules)"
    code = f"import sys, tasks.measure.quality.robustness; print({loaded})"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
