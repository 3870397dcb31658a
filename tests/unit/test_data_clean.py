"""Cleaning: each step, and what holds for any rows whatever."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.cleaning.clean import DropEmpty, apply, clean
from tasks.data.cleaning.conflicts import Conflicts
from tasks.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from tasks.data.cleaning.filter import Filter
from tasks.data.cleaning.normalise import Normalise, normalise_text
from tasks.data.cleaning.scrub_step import Scrub
from tasks.data.rows import mend_text, values
from tasks.data.similarity import text_key
from tasks.errors import DataError
from tests.unit.data_rows import rows

STEPS: list[Any] = [
    Normalise(), DropEmpty(), Scrub(), Conflicts(), Conflicts(policy="drop"), ExactDuplicates(), NearDuplicates(),
    Filter(min_words=2, max_words=3, patterns=("a",)),
]  # fmt: skip
MARKUP = [
    "<", ">", "b", "<b", "<b>", "</b>", "<br/>", "<a x='1'", "<p>", "<td>", "<!--", "-->", "<script>", "</script>",
    "<!",
    " ", "&lt;", "&gt;", "&amp;", "\n", "\u2028", "\u200b", "<NAME>", "word", '"',
]  # fmt: skip
TABLES = st.lists(
    st.tuples(
        st.text(max_size=15) | st.sampled_from(["card", "Card ", "my card", "a@b.co", ""]), st.sampled_from("ab")
    ),
    min_size=1,
    max_size=12,
).map(lambda pairs: rows([mend_text(text) for text, _ in pairs], [target for _, target in pairs]))


@pytest.mark.parametrize(
    ("dirty", "clean_text"),
    [
        ("  two   words\t", "two words"),
        ("cafe\u0301", "caf\u00e9"),
        ("schÃ¶n", "schön"),
        ("AT&amp;T &lt;3", "AT&T <3"),
        ("zero\u200bwidth\u00ad", "zerowidth"),
        ("red\x1b[31m alert\x07", "red alert"),
        ("one\r\n\r\n  two", "one\ntwo"),
        ("“it\u2019s” fine", "“it\u2019s” fine"),
        ("👩\u200d💻 ok", "👩\u200d💻 ok"),
        ("<b>bo</b>ld <A HREF='x' target=_blank>link</a>", "bold link"),
        ('<p class="a"id=b>one</p><p>two<br/>three</p>', "one\ntwo\nthree"),
        ("<td>1</td><td>2</td><input disabled>ok", "1 2 ok"),
        ("a<!-- b > c -->d <script src=x>if (a<b) {}</script>e<style>p{}</STYLE >", "a d e"),
        ("<!DOCTYPE html><html><title>x</title></html>", "x"),
        ("&lt;b&gt;twice escaped&lt;/b&gt; <<i>i>x", "twice escaped x"),
    ],
)
def test_normalise_mends_text(dirty: str, clean_text: str) -> None:
    assert normalise_text(dirty) == clean_text


@pytest.mark.parametrize(
    "text",
    [
        "write to <EMAIL> or <PHONE>, <IBAN>, <CARD>, <IP>, <URL>, <NAME>", "a < b and c > d", "if a<b and c>d",
        "i <3 u", "<- left ->", "I <think> so", "vector<int> x", "a <!-- never closed", "<b never closed",
        "<em-dash>", "<>",
    ],
)  # fmt: skip
def test_what_is_no_tag_of_html_stays(text: str) -> None:
    assert normalise_text(text) == text


def test_normalise_leaves_html_where_told() -> None:
    assert normalise_text("a &amp; <b>b</b>", html=False) == "a &amp; <b>b</b>"


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<b",
        "<b ",
        "<!--",
        "<script>",
        "<a x='",
        "<a b=\"<a c='",
        "<a x=1 ",
        "<<b>",
        "</p>",
        "<style></script>",
        " ",
    ],
)
def test_hostile_markup_costs_linear_time(piece: str) -> None:
    began = time.process_time()
    normalise_text(piece * (200_000 // len(piece)))
    assert time.process_time() - began < 2


@settings(deadline=None)
@given(
    st.text(max_size=40)
    | st.text(alphabet="&amp;#ltg; \n\t\u200b\u00ad\u0301eâ€™Ã©\x1b[0m\r\u2028", max_size=30)
    | st.lists(st.sampled_from(MARKUP), max_size=15).map("".join)
)
def test_normalise_survives_any_text_and_is_idempotent(text: str) -> None:
    assert normalise_text(normalise_text(mend_text(text))) == normalise_text(mend_text(text))


@settings(deadline=None)
@given(TABLES, st.sampled_from(STEPS))
def test_a_step_again_changes_nothing_and_its_report_adds_up(table: Any, step: Any) -> None:
    once, report = apply(step, table)
    twice, again = apply(step, once)
    assert twice.equals(once)
    assert (report.rows_in, report.rows_out) == (table.num_rows, once.num_rows)
    assert (again.rows_changed, again.rows_in) == (0, again.rows_out)
    assert len(report.examples) <= 10


@settings(deadline=None)
@given(TABLES, st.sampled_from([ExactDuplicates(), NearDuplicates()]))
def test_no_two_equal_texts_are_left_and_none_is_lost(table: Any, step: Any) -> None:
    left, _ = apply(step, table)
    keys = [text_key(text) for text in values(left, "text")]
    assert len(set(keys)) == len(keys)
    if isinstance(step, ExactDuplicates):
        assert set(keys) == {text_key(text) for text in values(table, "text")}


def test_a_duplicate_cluster_keeps_the_first_row_of_its_majority() -> None:
    table = rows(["My card", "my card", "MY  CARD", "other"], ["wrong", "right", "right", "a"])
    left, report = apply(ExactDuplicates(), table)
    assert values(left, "id") == ["r1", "r3"]
    assert (report.rows_in, report.rows_out) == (4, 2)


def test_near_duplicates_are_found_and_different_texts_stay() -> None:
    texts = ["how long does the delivery to the US take?", "how long does the delivery to the US take", "how are you"]
    left, _ = apply(NearDuplicates(), rows(texts))
    assert values(left, "id") == ["r0", "r2"]


@pytest.mark.parametrize(
    ("policy", "left"), [("majority", ["r0", "r2", "r5"]), ("drop", ["r5"])]
)  # r3 and r4 are a tie
def test_conflicting_targets_go_by_policy(policy: Any, left: list[str]) -> None:
    table = rows(["x", "x", "X ", "tie", "tie", "alone"], ["a", "b", "a", "a", "b", "a"])
    assert values(apply(Conflicts(policy=policy), table)[0], "id") == left


def test_examples_hold_no_personal_data() -> None:
    _, report = apply(DropEmpty(min_chars=500), rows(["write to me@example.com or call 555-123-4567"]))
    assert report.examples == ("too short: 'write to <EMAIL> or call <PHONE>'",)
    _, report = apply(Scrub(), rows(["write to me@example.com", "no data"]))
    assert (report.rows_changed, report.examples) == (1, ("write to <EMAIL>",))
    _, report = apply(Normalise(), rows(["two  words"]))
    assert report.examples == ("'two  words' -> 'two words'",)


def test_only_training_rows_are_cleaned() -> None:
    table = rows(["  a  ", "  b  ", "  c  "], split=["golden", "train", ""])
    cleaned, reports, _ = clean(table, [Normalise()])
    assert dict(zip(values(cleaned, "id"), values(cleaned, "text"), strict=True)) == {
        "r0": "  a  ",
        "r1": "b",
        "r2": "c",
    }
    assert reports[0].rows_in == 2


def test_a_step_that_would_remove_more_than_half_is_refused() -> None:
    with pytest.raises(DataError, match="'exact_duplicates' would remove 3 of 4 training rows"):
        clean(rows(["same"] * 4), [Normalise(), ExactDuplicates()])
    with pytest.raises(DataError, match="'drop_empty' would remove 1 of 1"):
        clean(rows([" "]), [DropEmpty()])


def test_no_training_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no training rows"):
        clean(rows(["x"], split="golden"), [Normalise()])


def test_an_unknown_step_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no cleaning step is registered for str"):
        apply("normalise", rows(["x"]))
