"""Values of any format as text: one column of a batch at a time, quickly where all of it is text already.

What a value means is not asked, but for times, which become comparable. A value that is no text, number or time is
refused with its place.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from datetime import time as midnight
from decimal import Decimal
from typing import Any

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import mend_text, shorten
from tasks.errors import DataError

MAX_TEXT_BYTES = 1 << 20
SECONDS, MILLISECONDS = (1e8, 1e11), (1e11, 1e14)  # what a number must be to be read as a time: 1973 to 5138

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)

Where = Callable[[int], str]  # the name of a value's place, for messages


def make_texts(values: Sequence[Any], column: str, where: Where) -> list[str]:
    """Return the values as text: "" for none and NaN, 3 and 3.0 as "3", true as "true".

    NUL and lone surrogates become U+FFFD. So values that differ only in type, such as 3 and "3", are the same.

    Raises:
        DataError: a value is a list, an object, bytes, an infinite number or longer than `MAX_TEXT_BYTES`.
    """
    texts = list(values)
    if any(kind is not str for kind in set(map(type, texts))):
        texts = [
            value if type(value) is str else _as_text(value, column, where, index) for index, value in enumerate(values)
        ]
    if not _storable(texts):
        texts = [mend_text(text) for text in texts]
    if max(map(len, texts), default=0) > MAX_TEXT_BYTES // 4:
        _check_sizes(texts, column, where)
    return texts


def make_times(values: Sequence[Any], column: str, where: Where) -> list[str]:
    """Return the times as ISO 8601 in UTC, whose text order is time order; "" for none.

    Read are ISO dates and date-times (UTC where they name no zone), their objects, and seconds or milliseconds since
    1970 from 1973 on, as numbers or as text.

    Raises:
        DataError: a value is none of these.
    """
    return [_as_time(value, column, where, index) for index, value in enumerate(values)]


def format_time(moment: datetime) -> str:
    """Return the moment in UTC, with microseconds where it has some: "+" sorts before ".", so text order is time order.

    A moment without a zone is in UTC.
    """
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if type(utc) is not datetime:  # pandas' times may have nanoseconds
        utc = datetime.combine(utc.date(), utc.time().replace(tzinfo=UTC))
    return utc.isoformat()


def is_fraction(value: Any) -> bool:
    """Return whether the value is a number that is no whole one."""
    return isinstance(value, float | Decimal) and math.isfinite(value) and value % 1 != 0


def _as_text(value: Any, column: str, where: Where, index: int) -> str:
    match value:
        case None:
            return ""
        case str():
            return str(value)
        case bool():
            return str(value).lower()
        case float() | Decimal():
            if math.isnan(value):
                return ""
            if math.isinf(value):
                raise DataError(f"{where(index)}: column {column!r} holds {value}; expected text or a finite number")
            return str(int(value)) if value % 1 == 0 else repr(value) if isinstance(value, float) else str(value)
        case list() | dict() | tuple() | set() | bytes() | bytearray() | memoryview():
            kind = type(value).__name__
            raise DataError(f"{where(index)}: column {column!r} holds a {kind}; expected text or a number")
        case _:
            return str(value)


def _storable(texts: Sequence[str]) -> bool:
    """Return whether no text needs mending, for all of them at once."""
    joined = "".join(texts)
    try:
        joined.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in joined


def _check_sizes(texts: Sequence[str], column: str, where: Where) -> None:
    for index, text in enumerate(texts):
        if (size := len(text.encode())) > MAX_TEXT_BYTES:
            raise DataError(
                f"{where(index)}: column {column!r} holds {size} bytes, the limit is {MAX_TEXT_BYTES}; split or remove "
                "the row"
            )


def _as_time(value: Any, column: str, where: Where, index: int) -> str:
    try:
        match value:
            case str():
                text = value.strip()
                return _parse_time(text) if text else ""
            case datetime():
                return "" if value != value else format_time(value)  # pandas' NaT
            case date():
                return format_time(datetime.combine(value, midnight()))
            case bool():
                raise ValueError("a Boolean")
            case _:
                text = _as_text(value, column, where, index).strip()
                return _parse_time(text) if text else ""
    except (ValueError, OverflowError) as error:
        shown = shorten(scrub_text(str(value)), 40)
        raise DataError(
            f"{where(index)}: column {column!r} (data.time) holds {shown!r}, which is no time; write ISO 8601, such as "
            "2026-03-01 or 2026-03-01T12:30:00Z, or seconds or milliseconds since 1970"
        ) from error


def _parse_time(text: str) -> str:
    if NUMBER.fullmatch(text):
        number = float(text)
        for (low, high), unit in ((SECONDS, 1), (MILLISECONDS, 1000)):
            if low <= number < high:
                return format_time(datetime.fromtimestamp(number / unit, UTC))
    return format_time(datetime.fromisoformat(text))
