"""Values of every kind as text and as times: what they become, what is refused, and that text order is time order."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.reading.cells import MAX_TEXT_BYTES, format_time, make_texts, make_times
from tasks.data.rows import mend_text
from tasks.errors import DataError

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def where(index: int) -> str:
    return f"a.csv line {index + 2}"


def texts(*values: Any) -> list[str]:
    return make_texts(values, "c", where)


def times(*values: Any) -> list[str]:
    return make_times(values, "at", where)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (Decimal("NaN"), ""),
        (" as it is ", " as it is "),
        (3, "3"),
        (3.0, "3"),
        (-0.0, "0"),
        (Decimal("3.00"), "3"),
        (Decimal("2.50"), "2.50"),
        (2.5, "2.5"),
        (1e22, "10000000000000000000000"),
        (True, "true"),
        (date(2026, 3, 1), "2026-03-01"),
    ],
)
def test_a_value_becomes_text(value: Any, text: str) -> None:
    assert texts(value) == [text]
    assert texts("beside it", value, "\0") == ["beside it", text, "\ufffd"]


@pytest.mark.parametrize("value", [[1], {"a": 1}, (1,), {1}, b"x", bytearray(b"x"), memoryview(b"x")])
def test_what_is_no_text_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(DataError, match=rf"a\.csv line 3: column 'c' holds a {type(value).__name__}; expected text"):
        texts("x", value)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), Decimal("Infinity")])
def test_an_infinite_number_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"line 3: column 'c' holds -?[Ii]nf.*; expected text or a finite number"):
        texts("x", value)


def test_a_text_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = "é" * (MAX_TEXT_BYTES // 2)
    assert texts("x", longest) == ["x", longest]
    with pytest.raises(DataError, match=f"line 4: column 'c' holds {MAX_TEXT_BYTES + 1} bytes, the limit is"):
        texts("x", longest, longest + "a")


@given(st.lists(st.text(st.characters() | st.sampled_from("\0\ud800\udfff"))))
def test_a_column_is_mended_like_each_of_its_texts(values: list[str]) -> None:
    assert texts(*values) == [mend_text(value) for value in values]


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (None, ""),
        (" ", ""),
        (float("nan"), ""),
        (pd.NaT, ""),
        ("2026-03-01", "2026-03-01T00:00:00+00:00"),
        ("20260301", "2026-03-01T00:00:00+00:00"),
        (20260301, "2026-03-01T00:00:00+00:00"),
        (date(2026, 3, 1), "2026-03-01T00:00:00+00:00"),
        (" 2026-03-01 10:00 ", "2026-03-01T10:00:00+00:00"),
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00+00:00"),
        ("2026-03-01T10:00:00.5+02:00", "2026-03-01T08:00:00.500000+00:00"),
        (datetime(2026, 3, 1, 10), "2026-03-01T10:00:00+00:00"),
        (datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=2))), "2026-03-01T08:00:00+00:00"),
        (pd.Timestamp("2026-03-01T10:00:00.000000001"), "2026-03-01T10:00:00+00:00"),
        (1772359200, "2026-03-01T10:00:00+00:00"),
        (1772359200.25, "2026-03-01T10:00:00.250000+00:00"),
        (1772359200250, "2026-03-01T10:00:00.250000+00:00"),
        ("1772359200", "2026-03-01T10:00:00+00:00"),
        ("1772359200250", "2026-03-01T10:00:00.250000+00:00"),
        (Decimal(1772359200), "2026-03-01T10:00:00+00:00"),
    ],
)
def test_a_time_becomes_iso_8601_in_utc(value: Any, time: str) -> None:
    assert times(value) == [time]


@pytest.mark.parametrize(
    "value", ["yesterday", "01.03.2026", "03/01/2026", "2026-13-01", "2026", 7, -5.0, 1e15, True, "1e999",
              "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(DataError, match=r"a\.csv line 3: column 'at' .data.time. holds .*, which is no time; write"):
        times("2026-03-01", value)


def test_personal_data_is_not_shown() -> None:
    with pytest.raises(DataError, match="holds 'write to <EMAIL>', which is no time"):
        times("write to me@example.org")


def test_an_object_is_no_time() -> None:
    with pytest.raises(DataError, match="line 2: column 'at' holds a list"):
        times([1])


@given(MOMENTS, MOMENTS, ZONES, ZONES)
def test_the_order_of_texts_is_the_order_of_times(one: datetime, other: datetime, here: Any, there: Any) -> None:
    for second in (other, one.replace(microsecond=other.microsecond), one.replace(microsecond=0)):
        left, right = one.replace(tzinfo=here), second.replace(tzinfo=there)
        assert (format_time(left) < format_time(right)) is (left < right)
        assert (format_time(left) == format_time(right)) is (left == right)


@given(MOMENTS, ZONES)
def test_a_time_written_in_any_way_is_the_same_time(moment: datetime, zone: Any) -> None:
    local = moment.replace(tzinfo=zone)
    assert times(local.isoformat(), local, str(local)) == [format_time(local)] * 3
    assert datetime.fromisoformat(format_time(local)) == local
    assert times(moment.isoformat()) == times(moment.replace(tzinfo=UTC).isoformat())
