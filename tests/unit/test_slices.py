"""Masks of evaluation rows against brute force, with texts in several languages and none."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DataError
from tasks.measure.quality.slices import (
    MAX_CLUSTERS,
    MAX_VALUES,
    all_masks,
    column_masks,
    found_masks,
    label_masks,
    language_masks,
    length_masks,
)

words = st.sampled_from(
    ["where", "is", "my", "parcel", "refund", "card", "money", "42", "<EMAIL>", "größe", "退款", "don't"]
)
sentences = st.lists(st.lists(words, max_size=8).map(" ".join), max_size=60)
quick = settings(max_examples=60, deadline=None)

OBJECTS = ("parcel", "refund", "invoice", "password", "card", "order", "account", "payment", "contract", "booking")
ENGLISH = [f"I would like to know where my {thing} is, {end}" for thing in OBJECTS
           for end in ("please help me", "it has not arrived", "can you tell me today")]  # fmt: skip
GERMAN = [f"Ich möchte gerne wissen, wo {thing} geblieben ist, {end}" for thing in
          ("mein Paket", "meine Rechnung", "mein Geld", "die Lieferung", "mein Vertrag", "der Auftrag", "meine Karte")
          for end in ("bitte helfen Sie mir", "es ist noch nicht angekommen", "können Sie mir das sagen")]  # fmt: skip
SPANISH = ["Quiero saber dónde está mi pedido", "No puedo entrar en mi cuenta", "¿Por qué fue rechazado mi pago?"]

TOPICS = {
    "parcel": ["delivery", "courier", "tracking", "late", "doorstep", "driver", "shipped"],
    "refund": ["money", "returned", "charged", "twice", "bank", "statement", "credit"],
    "password": ["login", "reset", "account", "locked", "username", "access", "phone"],
}


def topic_texts(rows, seed=1):
    """Return texts of the three topics in turn, and their topics."""
    rng = random.Random(seed)
    topics = [list(TOPICS)[row % 3] for row in range(rows)]
    return [" ".join(["my", topic, *rng.sample(TOPICS[topic], 4), "please"]) for topic in topics], topics


def members(masks):
    return {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}


def assert_masks(masks, rows):
    for name, mask in masks.items():
        assert mask.dtype == bool, name
        assert mask.shape == (rows,), name
        assert mask.any(), name


def assert_parts(masks, rows):
    """Each row is in exactly one mask, or there are none."""
    assert_masks(masks, rows)
    assert not masks or (np.sum(list(masks.values()), axis=0) == 1).all()


def test_columns_give_a_mask_for_every_value():
    masks = column_masks({"channel": ["chat", "mail", "chat"], "plan": ["", "", ""]})
    assert members(masks) == {"channel=chat": [0, 2], "channel=mail": [1], "plan=": [0, 1, 2]}


def test_a_column_with_too_many_values_is_refused():
    values = [str(number) for number in range(MAX_VALUES + 1)]
    assert len(column_masks({"user": values[:-1]})) == MAX_VALUES
    with pytest.raises(DataError, match=f"column 'user' has {MAX_VALUES + 1} values.*take it out of data.slices"):
        column_masks({"user": values})


def test_labels_give_a_mask_for_every_target():
    assert members(label_masks(["b", "a", "b", "b", "a"])) == {"label=a": [1, 4], "label=b": [0, 2, 3]}


@pytest.mark.parametrize(
    "targets",
    [
        [],
        ["only"],
        ["an answer", "another one"],
        ["a", "a", "b", "c"],
        [str(row // 3) for row in range(MAX_VALUES * 4)],
    ],
)
def test_targets_that_are_no_labels_give_none(targets):
    assert label_masks(targets) == {}


@quick
@given(st.lists(st.integers(0, 12), max_size=60))
def test_lengths_part_the_rows_by_their_words(counts):
    masks = length_masks([" ".join(["word"] * count) for count in counts])
    assert_parts(masks, len(counts))
    assert (len(masks) in (2, 3)) == (len(set(counts)) > 1)
    for name, mask in masks.items():
        low, high = re.fullmatch(r"length=(\d+)(?:-(\d+))? words?", name).groups()
        inside = [int(low) <= count <= int(high or low) for count in counts]
        assert mask.tolist() == inside
        assert len(masks) < 3 or sum(inside) <= len(counts) * 2 / 3


def test_lengths_are_named_and_cut_into_thirds():
    texts = [" ".join(["word"] * count) for count in range(1, 10)]
    assert members(length_masks(texts)) == {
        "length=1-3 words": [0, 1, 2], "length=4-6 words": [3, 4, 5], "length=7-9 words": [6, 7, 8],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([3] * 9 + [1], {"length=1 word": [9], "length=2-3 words": list(range(9))}),
        ([1] * 9 + [4], {"length=1 word": list(range(9)), "length=2-4 words": [9]}),
        ([1, 2, 2, 2, 2, 3], {"length=1-2 words": [0, 1, 2, 3, 4], "length=3 words": [5]}),
        ([0, 1], {"length=0 words": [0], "length=1 word": [1]}),
        ([5, 5, 5], {}),
        ([7], {}),
        ([], {}),
    ],
)
def test_texts_of_one_length_stay_together(counts, expected):
    assert members(length_masks([" ".join(["word"] * count) for count in counts])) == expected


def test_without_spaces_each_character_counts():
    masks = members(length_masks(["退款", "我的卡在哪里", "hello 退款 now"]))
    assert masks == {"length=2 words": [0], "length=3-4 words": [2], "length=5-6 words": [1]}


def test_languages_part_the_rows_and_the_rest_is_unsure():
    texts = [*ENGLISH, *GERMAN, *SPANISH, "ok", "", "?!", "😀", "123"]
    masks = language_masks(texts)
    assert_parts(masks, len(texts))
    assert list(masks) == ["language=de", "language=en", "language=unsure"]
    told = members(masks)
    first_german, end = len(ENGLISH), len(ENGLISH) + len(GERMAN)
    assert set(told["language=en"]) <= set(range(first_german))
    assert set(told["language=de"]) <= set(range(first_german, end))
    assert set(range(end, len(texts))) <= set(told["language=unsure"])  # too few Spanish texts, or nothing to tell by
    assert len(told["language=unsure"]) <= len(texts) - end + 3


def test_a_language_of_fewer_than_one_row_in_fifty_does_not_count():
    assert list(language_masks(ENGLISH * 40 + GERMAN)) == []  # 21 of 1221 rows
    assert list(language_masks(ENGLISH * 30 + GERMAN)) == ["language=de", "language=en"]  # 21 of 921


@pytest.mark.parametrize("texts", [[], ["hello"], [""] * 50, ENGLISH * 3, [*ENGLISH, *SPANISH], ["refund"] * 100])
def test_one_language_makes_no_slices(texts):
    assert language_masks(texts) == {}


def test_clusters_are_the_topics_and_are_named_by_their_words():
    texts, topics = topic_texts(720)
    masks = found_masks(texts, seed=7, min_rows=60)
    assert len(masks) == 3
    assert np.sum(list(masks.values()), axis=0).max() == 1
    for name, mask in masks.items():
        inside = [topics[row] for row in np.flatnonzero(mask)]
        topic = max(set(inside), key=inside.count)
        assert inside.count(topic) >= 0.95 * len(inside)
        assert len(inside) >= 60
        assert set(name.removeprefix("found=").split(", ")) <= {topic, *TOPICS[topic]}


def test_clusters_depend_on_the_texts_and_not_on_their_order():
    texts, _ = topic_texts(400)
    order = np.random.default_rng(2).permutation(len(texts))
    there, again = found_masks(texts, 7, 20), found_masks([texts[row] for row in order], 7, 20)
    assert len(there) >= 2
    assert members(there) == members(found_masks(texts, 7, 20))
    assert list(there) == list(again)
    assert all((again[name] == mask[order]).all() for name, mask in there.items())


def test_clusters_are_named_by_no_address_number_or_rare_word():
    """An address may stand in every row, a name in a few."""
    texts, _ = topic_texts(600)
    spoilt = [f"{text} zoe.quill@example.com 0171 2345678 no {row}" for row, text in enumerate(texts)]
    spoilt[:12:3] = [f"{text} zebediah" for text in spoilt[:12:3]]
    names = " ".join(found_masks(spoilt, 7, 25)).lower()
    assert names
    assert not any(part in names for part in ("zoe", "quill", "example", "zebediah"))
    assert not re.search(r"\d", names)


@pytest.mark.parametrize("rows", [0, 1, 39, 79])
def test_too_few_rows_make_no_clusters(rows):
    assert found_masks(topic_texts(rows)[0], 7, 10) == {}


@pytest.mark.parametrize(
    "texts",
    [["the same"] * 500, [""] * 500, [str(row) for row in range(500)], [f"word{row}" for row in range(500)],
     [f"refund {row}" for row in range(500)]],
)  # fmt: skip
def test_texts_without_differing_words_make_no_clusters(texts):
    assert found_masks(texts, 7, 10) == {}


def test_texts_of_few_words_make_no_more_clusters_than_they_differ():
    texts = [f"{word} {row}" for row in range(300) for word in ("parcel", "refund")]
    assert members(found_masks(texts, 7, 10)) == {
        "found=parcel": list(range(0, 600, 2)), "found=refund": list(range(1, 600, 2)),
    }  # fmt: skip


def test_clusters_have_names_of_their_own_in_scripts_without_spaces():
    rng = random.Random(3)
    topics = ("退款到账时间", "密码忘记登录", "包裹快递丢失")
    texts = ["".join(rng.sample(topics[row % 3], 5)) for row in range(400)]
    masks = found_masks(texts, 7, 20)
    assert_masks(masks, 400)
    assert len(masks) >= 3


@pytest.mark.parametrize("min_rows", [0, -1])
def test_a_support_of_no_rows_is_refused(min_rows):
    with pytest.raises(ValueError, match="min_rows must be 1 or more"):
        found_masks(["a"], 7, min_rows)


@settings(max_examples=40, deadline=None)
@given(sentences, st.integers(1, 5))
def test_clusters_share_no_rows_and_have_enough(texts, min_rows):
    masks = found_masks(texts, 7, min_rows)
    assert_masks(masks, len(texts))
    assert len(masks) <= MAX_CLUSTERS
    assert all(mask.sum() >= min_rows for mask in masks.values())
    assert not masks or np.sum(list(masks.values()), axis=0).max() == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=40), st.data())
def test_any_text_is_taken(texts, data):
    targets = data.draw(st.lists(st.sampled_from("abc"), min_size=len(texts), max_size=len(texts)))
    families = all_masks(texts, targets, {"plan": targets}, min_rows=1)
    assert list(families) == ["column", "label", "length", "language", "found"]
    for family, masks in families.items():
        assert_masks(masks, len(texts))
        assert family == "column" or not any(mask.all() for mask in masks.values())
    assert_parts(families["column"], len(texts))
    assert_parts(families["length"], len(texts))


def test_a_slice_that_is_everything_is_left_to_the_gate_in_columns_alone():
    families = all_masks(["a b", "c", "d"], ["x", "x", "x"], {"channel": ["chat"] * 3})
    assert members(families["column"]) == {"channel=chat": [0, 1, 2]}
    assert families["label"] == {}


def test_lone_surrogates_are_taken():
    assert all_masks(["\ud800 a", "b"] * 20, ["x", "y"] * 20, {}, min_rows=1)["length"]


@pytest.mark.parametrize(
    ("targets", "columns", "named"),
    [(["x"], {}, "targets must have a value for each of the 2 texts, not 1"),
     (["x", "y"], {"plan": ["a"] * 3}, "plan must have a value for each of the 2 texts, not 3")],
)  # fmt: skip
def test_other_numbers_of_rows_are_refused(targets, columns, named):
    with pytest.raises(ValueError, match=named):
        all_masks(["a", "b"], targets, columns)


def test_a_hundred_thousand_rows_take_seconds():
    rng = random.Random(4)
    vocabulary = [word for topic in TOPICS.values() for word in topic]
    distinct = [" ".join(rng.choices(vocabulary, k=rng.randint(3, 15))) for _ in range(5000)]
    texts = rng.choices(distinct, k=100_000)
    start = time.perf_counter()
    families = all_masks(texts, [str(row % 77) for row in range(len(texts))], {"plan": ["a", "b"] * 50_000})
    assert time.perf_counter() - start < 20
    assert {family: len(masks) for family, masks in families.items() if family != "language"} == {
        "column": 2, "label": 77, "length": 3, "found": MAX_CLUSTERS,
    }  # fmt: skip


def test_nothing_heavy_is_loaded_at_import():
    loaded = "sorted({'sklearn', 'scipy', 'py3langid', 'torch'} & set(sys.modules))"
    code = f"import sys, tasks.measure.quality.slices; print({loaded})"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
