"""The step `filter`: each reason a row goes for, boilerplate lines, and what the door refuses."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tasks.data.cleaning.clean import apply, clean
from tasks.data.cleaning.filter import MIN_LINE_TEXTS, Filter, filter_texts
from tasks.data.cleaning.language import LANGUAGES, UNSURE, count_words, load_identifier, tell_languages
from tasks.data.rows import values
from tasks.errors import DataError
from tasks.specs import CleanStep
from tests.unit.data_rows import rows

ENGLISH = ["where is the card that I ordered last week?", "I would like to speak to someone about my refund"]
GERMAN, FRENCH = "Wo bleibt die Karte, die ich letzte Woche bestellt habe?", "je voudrais savoir où est ma carte"
FOOTER = "Sent from my phone"
LINES = st.lists(st.sampled_from(["a", "b b", "c c c", FOOTER, "", "Sent  from my PHONE"]), max_size=4).map("\n".join)


def left(step: Filter, texts: list[str]) -> list[str]:
    return values(apply(step, rows(texts))[0], "text")


def test_short_and_long_texts_go() -> None:
    texts = ["one", "one two", "one two three", "one two three four", "", "卡在哪"]
    assert left(Filter(min_words=2, max_words=3), texts) == ["one two", "one two three", "卡在哪"]
    assert left(Filter(), texts) == [text for text in texts if text]


@given(st.lists(st.text(alphabet="ab \n", max_size=12), max_size=8), st.integers(1, 4), st.integers(0, 3))
def test_words_are_those_between_white_space(texts: list[str], least: int, more: int) -> None:
    step = Filter(min_words=least, max_words=least + more)
    assert left(step, texts) == [text for text in texts if least <= len(text.split()) <= least + more]


def test_texts_told_to_be_in_another_language_go_and_short_ones_stay() -> None:
    texts = [*ENGLISH, GERMAN, FRENCH, "hola", "ok", "12345", ":-)"]
    assert left(Filter(languages=("en",)), texts) == [*ENGLISH, "hola", "ok", "12345", ":-)"]
    assert left(Filter(languages=("fr", "de")), texts) == [GERMAN, FRENCH, "hola", "ok", "12345", ":-)"]
    assert left(Filter(), texts) == texts


def test_languages_of_texts() -> None:
    assert tell_languages([GERMAN, "ok", GERMAN, FRENCH, ""]) == ["de", UNSURE, "de", "fr", UNSURE]
    assert tell_languages([]) == []


def test_the_codes_at_the_door_are_those_that_can_be_told() -> None:
    assert set(load_identifier().labels) - {"zxx"} == LANGUAGES


def test_texts_with_a_pattern_go() -> None:
    texts = ["this is an automatic reply, thanks", "AUTOMATIC REPLY", "no reply yet", "***"]
    assert left(Filter(patterns=("(?i)automatic reply", r"^\W+$")), texts) == ["no reply yet"]


def test_lines_that_many_texts_repeat_are_cut_and_texts_of_one_line_stay() -> None:
    texts = [f"question {number}\n{FOOTER}" for number in range(MIN_LINE_TEXTS)] + [FOOTER, "other\nlines"]
    new, report = apply(Filter(boilerplate_share=0.5), rows(texts))
    assert values(new, "text") == [f"question {number}" for number in range(MIN_LINE_TEXTS)] + [FOOTER, "other\nlines"]
    assert (report.rows_out, report.rows_changed) == (12, 10)
    assert report.examples[0] == "without 'Sent from my phone': 'question 0'"
    assert left(Filter(boilerplate_share=0.9), texts) == texts  # 10 of 12 are fewer
    assert left(Filter(boilerplate_share=0.01), texts[1:]) == texts[1:]  # nine texts prove nothing
    assert left(Filter(), texts) == texts


def test_a_text_repeated_as_a_whole_is_no_boilerplate() -> None:
    texts = ["my card\nis lost"] * 30 + ["other"]
    assert left(Filter(boilerplate_share=0.1), texts) == texts


def test_a_text_of_nothing_but_boilerplate_goes() -> None:
    texts = [f"question {number}\nRegards\n{FOOTER}" for number in range(20)] + [f"Regards\n\n{FOOTER}"]
    assert left(Filter(boilerplate_share=0.5), texts) == [f"question {number}" for number in range(20)]


def test_lengths_and_patterns_are_those_of_the_text_without_boilerplate() -> None:
    texts = [f"question {number}\n{FOOTER}" for number in range(20)]
    assert len(left(Filter(boilerplate_share=0.5, max_words=2, patterns=("phone",)), texts)) == 20


@settings(deadline=None)
@given(st.lists(LINES, max_size=40), st.sampled_from([0.1, 0.5, None]), st.integers(1, 3))
def test_filtering_again_changes_nothing_and_what_is_left_fits(texts: list[str], share: Any, least: int) -> None:
    step = Filter(min_words=least, max_words=6, patterns=("c c",), boilerplate_share=share)
    new, reasons = filter_texts(step, texts)
    kept = [text for text, reason in zip(new, reasons, strict=True) if not reason]
    assert filter_texts(step, kept) == (kept, [""] * len(kept))
    assert all(least <= count_words(text) <= 6 and "c c" not in text for text in kept)
    for before, after in zip(texts, new, strict=True):
        assert not Counter(after.splitlines()) - Counter(before.splitlines())  # nothing is written, only cut
        assert share is not None or before == after


def test_each_reason_has_its_example_without_personal_data() -> None:
    texts = ["a", "b", "c", "write to me@x.org again and again", *ENGLISH, GERMAN, "spam spam"]
    _, report = apply(Filter(min_words=2, max_words=11, languages=("en",), patterns=("spam", "me@")), rows(texts))
    assert (report.rows_in, report.rows_out, report.rows_changed) == (8, 2, 0)
    assert report.examples == (
        "too short: 'a'",
        "with the pattern 'me@': 'write to <EMAIL> again and again'",
        f"in the language de: {GERMAN!r}",
        "with the pattern 'spam': 'spam spam'",
        "too short: 'b'",
        "too short: 'c'",
    )


def test_a_filter_that_would_remove_more_than_half_is_refused() -> None:
    with pytest.raises(DataError, match=r"'filter' would remove 3 of 4 training rows.*in the language de"):
        clean(rows([ENGLISH[0], GERMAN, GERMAN, GERMAN]), [Filter(languages=("en",))])


@pytest.mark.parametrize("texts", [[], ["where is it"]])
def test_no_rows_and_one_row_are_taken(texts: list[str]) -> None:
    assert left(Filter(languages=("en",), patterns=("x",), boilerplate_share=0.5), texts) == texts


@pytest.mark.parametrize(
    ("settings_of", "message"),
    [
        ({"min_words": 0}, "greater than or equal to 1"),
        ({"min_words": 5, "max_words": 4}, "max_words 4 is below min_words 5"),
        ({"languages": ["english"]}, "no language 'english' can be told"),
        ({"languages": ["EN"]}, "no language 'EN' can be told"),
        ({"languages": "en"}, "valid tuple"),
        ({"patterns": ["("]}, r"the pattern '(' is no regular expression (missing )"),
        ({"patterns": [""]}, "at least 1 character"),
        ({"boilerplate_share": 0}, "greater than 0"),
        ({"boilerplate_share": 1.5}, "less than or equal to 1"),
        ({"boilerplate_share": float("nan")}, "less than or equal to 1"),
        ({"language": ["en"]}, "language"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_door(settings_of: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        TypeAdapter(CleanStep).validate_python({"kind": "filter", **settings_of})


def test_a_spec_names_the_step() -> None:
    door: TypeAdapter[Any] = TypeAdapter(CleanStep)
    assert door.validate_python("filter") == Filter()
    assert door.validate_python({"kind": "filter", "languages": ["en"], "patterns": ["x"]}) == Filter(
        languages=("en",), patterns=("x",)
    )
    assert "filter" in str(door.json_schema())
