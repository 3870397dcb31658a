"""Reading CSV, TSV, JSON lines and Parquet files, batch by batch, and telling whether a file has changed.

The one module that knows these formats. A row that is ragged, a line that is no JSON, text that is not UTF-8 and a file
that is damaged are refused with their place; empty lines are skipped, a byte order mark is left out.
"""

import csv
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.data.reading.batches import (
    BATCH_ROWS,
    Batch,
    Batches,
    Columns,
    Part,
    arrow_values,
    batched,
    first_line,
    pick_columns,
)
from tasks.errors import DataError

MAX_FIELD_CHARS = 1 << 20


def read_file(path: Path, columns: Columns) -> Part:
    """Return the records of a CSV, TSV, JSON lines or Parquet file; it is read while its batches are asked for.

    Raises:
        DataError: the file is missing, of another kind, lacks a column or cannot be parsed; the latter two from the
            batches.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown kind of file {path.suffix!r}; expected one of {', '.join(_READERS)}")
    _check_there(path)
    unit = "row" if reader is _read_parquet else "line"
    return Part(str(path), f"file:{path.name}", unit, _named(path, reader(path, columns)))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    _check_there(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _check_there(path: Path) -> None:
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], 1)
        hint = f"did you mean {near[0]!r}?" if near else "check the path (relative ones start at the spec's folder)"
        raise DataError(f"{path}: no such file; {hint}")


def _named(path: Path, batches: Batches) -> Batches:
    """Yield the batches; what the system refuses to read names the file."""
    try:
        yield from batches
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error}); check the file and its rights")


def _read_csv(path: Path, columns: Columns) -> Batches:
    with _wide_fields():
        rows = _csv_rows(path)
        line, names = next(rows, (1, []))
        header = [name.strip() for name in names]
        if not header:
            raise DataError(f"{path}: is empty; expected a header with {columns.text!r} and {columns.target!r}")
        if len(set(header)) < len(header):
            raise DataError(f"{path} line {line}: a column name stands twice in {header}; rename one")
        wanted = pick_columns(str(path), header, columns)
        yield from batched(_checked(path, rows, len(header)), header, wanted)


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not empty, and the line it starts on."""
    rows = csv.reader(_decode_lines(path), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    line = 1
    try:
        for row in rows:
            if row:
                yield line, row
            line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} line {line}: not CSV ({error}); a row may hold {MAX_FIELD_CHARS} characters, every quote must be "
            "closed, and lines end in LF or CRLF"
        ) from error


def _checked(path: Path, rows: Iterator[tuple[int, list[str]]], width: int) -> Iterator[tuple[int, list[str]]]:
    for line, row in rows:
        if len(row) != width:
            raise DataError(
                f"{path} line {line}: {len(row)} fields, expected {width} as in the header; quote fields that hold "
                "commas or line breaks"
            )
        yield line, row


def _read_json_lines(path: Path, columns: Columns) -> Batches:
    wanted = list(dict.fromkeys([*_check_keys(path, columns), "id"]))
    records = ((line, [record.get(name) for name in wanted]) for line, record in _json_records(path))
    yield from batched(records, wanted, wanted)


def _check_keys(path: Path, columns: Columns) -> list[str]:
    """Return the columns to read once each stood in some record: mostly the first, so little is read twice."""
    keys: dict[str, None] = {}
    missing = set(columns.fields.values())
    for _, record in _json_records(path):
        keys |= dict.fromkeys(record)
        missing -= record.keys()
        if not missing:
            break
    return pick_columns(str(path), list(keys), columns) if keys else list(columns.fields.values())


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(_decode_lines(path), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} line {line}: not JSON ({error}); expected one object per line") from error
        if not isinstance(record, dict):
            raise DataError(f"{path} line {line}: a JSON {type(record).__name__}; expected one object per line")
        yield line, record


def _read_parquet(path: Path, columns: Columns) -> Batches:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            wanted, start = pick_columns(str(path), file.schema_arrow.names, columns), 1
            for found in file.iter_batches(BATCH_ROWS, columns=wanted):
                places = range(start, start := start + found.num_rows)
                yield Batch(places, {name: arrow_values(found.column(name)) for name in wanted})
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not Parquet or damaged ({first_line(error)}); write the file again") from error


_READERS: dict[str, Callable[[Path, Columns], Batches]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
}


def _decode_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file; a byte order mark is left out."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path} line {number}: byte {error.start} is not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from error


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Let a CSV field be as long as a text may be; Python's own limit is lower and the same for all readers."""
    before = csv.field_size_limit(MAX_FIELD_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(before)
