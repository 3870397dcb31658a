"""Where rows come from: files, Hugging Face datasets and SQL queries, all into one table of strings.

Parsing is in `files`, `hub` and `sql`; here a batch of records at a time becomes Arrow, and what cannot be used is
refused with file, row, column and mend. It draws no splits and cleans nothing beyond what storage demands.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.reading.batches import Batch, Columns, Part
from tasks.data.reading.cells import NUMBER, Where, is_fraction, make_texts, make_times
from tasks.data.reading.files import hash_file, read_file
from tasks.data.reading.hub import read_hub
from tasks.data.reading.naming import name_rows
from tasks.data.reading.sql import read_sql
from tasks.data.rows import COLUMNS, PROVENANCE, make_rows, shorten
from tasks.errors import DataError, SpecError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

MAX_NUMBERS = 50  # a column of more different numbers than this measures something; labels are few

NonEmpty = Annotated[str, Field(min_length=1)]
SplitName = Literal["train", "valid", "select", "golden"]
Splits = dict[SplitName, NonEmpty]


def _train_only() -> Splits:
    return {"train": "train"}


@dataclass(frozen=True, config={"extra": "forbid"})
class FileSource:
    """CSV, TSV, JSON lines or Parquet, told by the suffix: one `path` to be split, or one file for each named split.

    Splits are train (required), valid, select and golden; relative paths start at the spec's folder.
    """

    kind: Literal["file"] = "file"
    path: NonEmpty | None = None
    splits: Splits = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_one_of("path", self.path, self.splits)
        return self


@dataclass(frozen=True, config={"extra": "forbid"})
class HubSource:
    """A Hugging Face dataset id or a local folder of one; `splits` maps our split names to the dataset's own.

    Without a network only a local folder or a dataset in the local cache works.
    """

    dataset: NonEmpty
    kind: Literal["hub"] = "hub"
    config: NonEmpty | None = None
    revision: NonEmpty | None = None
    splits: Splits = Field(default_factory=_train_only)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_one_of("splits", None, self.splits)
        return self


@dataclass(frozen=True, config={"extra": "forbid"})
class SqlSource:
    """One `query` to be split, or one for each named split; `url` is SQLAlchemy's and may hold `${VARIABLE}`."""

    url: NonEmpty
    kind: Literal["sql"] = "sql"
    query: NonEmpty | None = None
    splits: Splits = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_one_of("query", self.query, self.splits)
        return self


def read_source(
    source: FileSource | HubSource | SqlSource,
    *,
    text: str,
    target: str,
    slices: Sequence[str] = (),
    time: str = "",
    group: str = "",
    labelled: bool = True,
    root: Path,
) -> "pa.Table":
    """Return all rows of the source as strings: `id`, `text`, `target`, `split`, `source`, `line` and the slices.

    `line` is the row's line or number in its source; `time` (ISO 8601 in UTC) and `group` stand beside it where they
    name a column. A missing value becomes "", white space around a target goes, NUL bytes and lone surrogates become
    U+FFFD, rows with neither text nor target are skipped. Values that differ only in type, such as 3, 3.0 and "3", are
    one label. `id` is the source's column of that name where it is unique, else a hash of content, so that appended
    rows leave old ids alone. `root` is where relative paths start. A batch of rows is read at a time.

    Raises:
        DataError: the source cannot be read, lacks a column, is empty, a row cannot be used or, where `labelled`, the
            targets are measurements: a number with a fraction, or different numbers on most rows.
    """
    if taken := sorted(set(slices) & {*COLUMNS, *PROVENANCE}):
        raise SpecError(f"data.slices: {taken[0]!r} is a name that Ratchet uses itself; rename that column")
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = Columns(text, target, tuple(slices), time, group)
    parts = [_read_rows(split, part, columns, labelled) for split, part in _read_parts(source, columns, root)]
    table = name_rows(pa.concat_tables(parts))
    if labelled:
        _check_labels(table, target)
    mended = pc.sum(pc.match_substring(table["text"], "\ufffd")).as_py()
    log.info("read %d rows from %s (%d with characters that are not text)", len(table), table["source"][0], mended)
    return table


def hash_files(source: FileSource, root: Path) -> list[list[str]]:
    """Return split, path and SHA-256 of each of the source's files, in their order.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    return [[split, path, hash_file(root / path)] for split, path in _named(source.splits, source.path)]


def _check_one_of(name: str, whole: str | None, splits: Splits) -> None:
    if (whole is None) == (not splits):
        raise ValueError(f"give exactly one of `{name}` and `splits`")
    if splits and "train" not in splits:
        raise ValueError("`splits` must name `train`")


def _read_parts(source: FileSource | HubSource | SqlSource, columns: Columns, root: Path) -> Iterator[tuple[str, Part]]:
    """Yield each split's name ("" where rows are still to be split) and what was read for it."""
    match source:
        case FileSource():
            for split, path in _named(source.splits, source.path):
                yield split, read_file(root / path, columns)
        case HubSource():
            for split, name in source.splits.items():
                yield split, read_hub(source.dataset, source.config, source.revision, name, columns, root)
        case SqlSource():
            for split, query in _named(source.splits, source.query):
                yield split, read_sql(source.url, query, split, columns, root)


def _named(splits: Splits, whole: str | None) -> list[tuple[str, str]]:
    return [("", whole)] if whole is not None else [*splits.items()]


def _read_rows(split: str, part: Part, columns: Columns, labelled: bool) -> "pa.Table":
    """Return the part's rows, without ids where the source has none."""
    import pyarrow as pa

    with closing(part.batches) as batches:
        tables = [_make_table(split, part, batch, columns, labelled) for batch in batches]
    if not sum(table.num_rows for table in tables):
        raise DataError(
            f"{part.name}: no rows; expected at least one with columns {columns.text!r} and {columns.target!r}"
        )
    return pa.concat_tables(tables)


def _make_table(split: str, part: Part, batch: Batch, columns: Columns, labelled: bool) -> "pa.Table":
    """Return the records of a batch as strings under our own names, without those that have neither text nor target."""

    def where(index: int) -> str:
        return f"{part.name} {part.unit} {batch.places[index]}"

    text, target = columns.text, columns.target
    wanted = [name for name in ("id", text, target, columns.group, *columns.slices) if name in batch.columns]
    texts = {name: make_texts(batch.columns[name], name, where) for name in dict.fromkeys(wanted)}
    if labelled:
        _refuse_fractions(batch.columns[target], target, where)
    rows = len(batch.places)
    table = {
        "id": [value.strip() for value in texts.get("id", [""] * rows)],
        "text": texts[text],
        "target": [value.strip() for value in texts[target]],
        "split": [split] * rows,
        "source": [part.source] * rows,
        "line": [str(place) for place in batch.places],
    }
    if columns.time:
        table["time"] = make_times(batch.columns[columns.time], columns.time, where)
    if columns.group:
        table["group"] = [value.strip() for value in texts[columns.group]]
    table |= {name: texts[name] for name in columns.slices}
    if "" in table["target"]:
        kept = _used(table, target, where)
        table = {name: [values[index] for index in kept] for name, values in table.items()}
    return make_rows(table)


def _used(table: Mapping[str, Sequence[str]], column: str, where: Where) -> list[int]:
    """Return the places of the rows with a target; others must have no text either."""
    texts, targets = table["text"], table["target"]
    lost = [index for index, target in enumerate(targets) if not target and texts[index].strip()]
    if not lost:
        return [index for index, target in enumerate(targets) if target]
    also = f", and so it is on all {len(targets)} rows read" if len(lost) == len(targets) > 1 else ""
    raise DataError(
        f"{where(lost[0])}: column {column!r} is empty (text {shorten(scrub_text(texts[lost[0]]), 60)!r}){also}; give "
        "the row a value or remove it"
    )


def _refuse_fractions(values: Sequence[Any], column: str, where: Where) -> None:
    for index, value in enumerate(values):
        if type(value) is not str and is_fraction(value):
            raise DataError(
                f"{where(index)}: column {column!r} holds the number {value}: a score is no label; name another column "
                "(data.target), or write the labels as text"
            )


def _check_labels(table: "pa.Table", column: str) -> None:
    """Refuse targets that are written as text but are numbers which measure or name, and so repeat too seldom."""
    import pyarrow.compute as pc

    found: list[str] = pc.unique(table.column("target")).to_pylist()
    if not all(NUMBER.fullmatch(target) for target in found):
        return
    fraction = next((target for target in found if not float(target).is_integer()), None)
    many, rare = len(found) > MAX_NUMBERS, 2 * len(found) > table.num_rows
    if (many or rare) if fraction else (many and rare):
        example = fraction or found[0]
        row = pc.index(table.column("target"), example).as_py()
        raise DataError(
            f"{table['source'][row]} line {table['line'][row]}: column {column!r} holds {len(found)} different numbers "
            f"on {table.num_rows} rows, here {scrub_text(example)}: a score or a key is no label; name another column "
            "(data.target), or write the labels as words"
        )
