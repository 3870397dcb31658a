"""Reading the wanted columns of one file, dataset split or query, with the place of every record for messages.

Values stay as the format gives them; making them text is `sources`' part. The one module that knows CSV,
JSON lines, Hugging Face `datasets` and SQLAlchemy.
"""

import csv
import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import DataError

MAX_FIELD_CHARS = 1 << 20

Record = tuple[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Columns:
    """The columns to read; `id` is read too where there is one."""

    text: str
    target: str
    slices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """What was read: its name in messages, what its rows say of their source, and its records by line or row number."""

    name: str
    source: str
    unit: str
    records: Sequence[Record]


def read_file(path: Path, columns: Columns) -> Part:
    """Return the records of a CSV, TSV, JSON lines or Parquet file.

    Raises:
        DataError: the file is missing, of another kind, lacks a column or cannot be parsed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown kind of file {path.suffix!r}; expected one of {', '.join(_READERS)}")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], 1)
        hint = f"did you mean {near[0]!r}?" if near else "check the path (relative ones start at the spec's folder)"
        raise DataError(f"{path}: no such file; {hint}")
    try:
        records = reader(path, columns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); check the file and its rights") from error
    return Part(str(path), f"file:{path.name}", "row" if reader is _read_parquet else "line", records)


def read_hub(dataset: str, config: str | None, revision: str | None, split: str, columns: Columns, root: Path) -> Part:
    """Return the records of one split of a Hugging Face dataset, class labels by their names.

    Raises:
        DataError: the dataset cannot be loaded (offline, unknown, no such split) or lacks a column.
    """
    import datasets

    name = f"dataset {dataset} split {split}"
    folder = root / dataset
    try:
        with _quiet(datasets):
            data = datasets.load_dataset(
                str(folder) if folder.is_dir() else dataset, name=config, revision=revision, split=split
            )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{name}: cannot be loaded ({_first_line(error)}); check its id, config and split, or, without a network, "
            "give a local folder"
        ) from error
    wanted = _pick(name, data.column_names, columns)
    names = {
        column: feature.int2str
        for column in wanted
        if isinstance(feature := data.features[column], datasets.ClassLabel)
    }
    records = []
    for number, row in enumerate(data.select_columns(wanted), start=1):
        for column, label_of in names.items():
            if row[column] is not None:
                row[column] = label_of(row[column]) if row[column] >= 0 else None
        records.append((number, row))
    return Part(name, f"hub:{Path(dataset).name if folder.is_dir() else dataset}", "row", records)


def read_sql(url: str, query: str, split: str, columns: Columns, root: Path) -> Part:
    """Return the rows of a query; a relative SQLite path starts at `root`, `${VARIABLE}` in the URL is filled in.

    Raises:
        DataError: a variable is not set, the database cannot be reached, or the query fails or lacks a column.
    """
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    name = f"query for {split}" if split else "query"
    try:
        engine = sqlalchemy.create_engine(_resolve_url(url, root), poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(query))
            if not result.returns_rows:
                raise DataError(f"{name}: returns no rows; expected a SELECT")
            wanted = _pick(name, list(result.keys()), columns)
            rows = [{column: row[column] for column in wanted} for row in result.mappings()]
    except (SQLAlchemyError, ImportError) as error:
        raise DataError(f"{name}: the database refused ({_first_line(error)}); check `url` and the query") from error
    return Part(name, "sql", "row", list(enumerate(rows, start=1)))


def _pick(name: str, available: Sequence[str], columns: Columns) -> list[str]:
    """Return the columns to read, or say which one is missing and what stands nearest."""
    fields = {
        "text": columns.text,
        "target": columns.target,
        **{f"slices: {column}": column for column in columns.slices},
    }
    for field, column in fields.items():
        if column not in available:
            near = difflib.get_close_matches(column, available, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, available[:20]))}"
            raise DataError(f"{name}: no column {column!r} (data.{field.split(':')[0]}); {hint}")
    return list(dict.fromkeys([*fields.values(), *(["id"] if "id" in available else [])]))


def _read_csv(path: Path, columns: Columns) -> list[Record]:
    lines = csv.reader(_decode_lines(path), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    records: list[Record] = []
    line = 1
    try:
        with _wide_fields():
            header = [name.strip() for name in next(lines, [])]
            if not header:
                raise DataError(f"{path}: is empty; expected a header with {columns.text!r} and {columns.target!r}")
            if len(set(header)) < len(header):
                raise DataError(f"{path} line 1: a column name stands twice in {header}; rename one")
            wanted = _pick(str(path), header, columns)
            line = lines.line_num + 1
            for row in lines:
                if row and len(row) != len(header):
                    raise DataError(
                        f"{path} line {line}: {len(row)} fields, expected {len(header)} as in the header; quote fields "
                        "that hold commas or line breaks"
                    )
                if row:
                    cells = dict(zip(header, row, strict=True))
                    records.append((line, {name: cells[name] for name in wanted}))
                line = lines.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} line {line}: not CSV ({error}); a row may hold {MAX_FIELD_CHARS} characters, and every quote must "
            "be closed"
        ) from error
    return records


def _read_json_lines(path: Path, columns: Columns) -> list[Record]:
    parsed: list[Record] = []
    for line, text in enumerate(_decode_lines(path), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} line {line}: not JSON ({error}); expected one object per line") from error
        if not isinstance(record, dict):
            raise DataError(f"{path} line {line}: a JSON {type(record).__name__}; expected one object per line")
        parsed.append((line, record))
    if not parsed:
        return []
    wanted = _pick(str(path), list(dict.fromkeys(name for _, record in parsed for name in record)), columns)
    return [(line, {name: record.get(name) for name in wanted}) for line, record in parsed]


def _read_parquet(path: Path, columns: Columns) -> list[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            wanted = _pick(str(path), file.schema_arrow.names, columns)
            rows = file.read(columns=wanted).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not Parquet or damaged ({_first_line(error)}); write the file again") from error
    return list(enumerate(rows, start=1))


_READERS = {
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


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Hide the progress bars of `datasets`, which are the terminal's business."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _resolve_url(url: str, root: Path) -> Any:
    """Return SQLAlchemy's URL with variables filled in and a SQLite file found."""
    from sqlalchemy.engine import make_url

    def fill(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise DataError(f"data.source.url: the environment variable {match[1]} is not set; set it")
        return os.environ[match[1]]

    parsed = make_url(re.sub(r"\$\{(\w+)\}", fill, url))
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        path = root / parsed.database
        if not path.is_file():
            raise DataError(f"{path}: no such database file; check data.source.url")
        parsed = parsed.set(database=str(path))
    return parsed


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
