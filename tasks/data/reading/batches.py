"""What readers give: the wanted columns of a file, dataset or query, a batch of records at a time, each with its place.

Values stay as the format gives them; making them text is the business of `cells`. Opens nothing.
"""

import difflib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tasks.errors import DataError

BATCH_ROWS = 10_000  # so many records are Python objects at a time; all others are Arrow


@dataclass(frozen=True)
class Columns:
    """The columns to read; "" where there is none. `id` is read too where there is one."""

    text: str
    target: str
    slices: tuple[str, ...] = ()
    time: str = ""
    group: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The columns by the field of the spec that names them."""
        named = {"text": self.text, "target": self.target, "time": self.time, "group": self.group}
        return {
            **{field: column for field, column in named.items() if column},
            **{f"slices: {column}": column for column in self.slices},
        }


@dataclass(frozen=True)
class Batch:
    """At most `BATCH_ROWS` records: their line or row numbers, and the values of each column that was read."""

    places: Sequence[int]
    columns: Mapping[str, Sequence[Any]]


Batches = Generator[Batch, None, None]  # whoever reads them closes them, and with them the file or connection


@dataclass(frozen=True)
class Part:
    """What is read: its name in messages, what its rows say of their source, and its records, read when asked for.

    `unit` says what a record's place counts: lines or rows.
    """

    name: str
    source: str
    unit: str
    batches: Batches


def pick_columns(name: str, available: Sequence[str], columns: Columns) -> list[str]:
    """Return the columns to read.

    Raises:
        DataError: one is missing (says what stands nearest) or stands twice.
    """
    fields = columns.fields
    for field, column in fields.items():
        if column not in available:
            near = difflib.get_close_matches(column, available, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, available[:20]))}"
            raise DataError(f"{name}: no column {column!r} (data.{field.split(':')[0]}); {hint}")
        if available.count(column) > 1:
            raise DataError(f"{name}: column {column!r} (data.{field.split(':')[0]}) stands twice; rename one")
    return list(dict.fromkeys([*fields.values(), *(["id"] if "id" in available else [])]))


def batched(records: Iterator[tuple[int, Sequence[Any]]], available: Sequence[str], wanted: Sequence[str]) -> Batches:
    """Yield the records, each its place and its values in the order of the available columns, in batches."""
    numbers = {name: available.index(name) for name in wanted}
    while found := list(islice(records, BATCH_ROWS)):
        places, rows = zip(*found, strict=True)
        columns = list(zip(*rows, strict=True))
        yield Batch(places, {name: columns[number] for name, number in numbers.items()})


def arrow_values(column: Any) -> list[Any]:
    """Return the values of an Arrow column; nanoseconds, which Python's date-times do not have, are cut off."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    found: list[Any] = column.to_pylist()
    return found


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
