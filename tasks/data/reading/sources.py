"""Where rows come from: files, Hugging Face datasets and SQL queries, all into one table of strings.

Parsing is in `readers`; here values become text, rows get their ids, and what cannot be used is refused with
file, row, column and mend. It draws no splits and cleans nothing beyond what storage demands.
"""

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.reading.readers import Columns, Part, read_file, read_hub, read_sql
from tasks.data.rows import COLUMNS, PROVENANCE, make_rows, mend_text, shorten
from tasks.errors import DataError, SpecError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

MAX_TEXT_BYTES = 1 << 20

NonEmpty = Annotated[str, Field(min_length=1)]
SplitName = Literal["train", "valid", "select", "golden"]
Splits = dict[SplitName, NonEmpty]
Row = dict[str, str]


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
    source: FileSource | HubSource | SqlSource, *, text: str, target: str, slices: Sequence[str] = (), root: Path
) -> "pa.Table":
    """Return all rows of the source as strings: `id`, `text`, `target`, `split`, `source` and the slice columns.

    A missing text or slice becomes "", white space around a target goes, NUL bytes and lone surrogates become U+FFFD,
    rows with neither text nor target are skipped. `id` is the source's column of that name where it is unique, else a
    hash of content, so that appended rows leave old ids alone. `root` is where relative paths start.

    Raises:
        DataError: the source cannot be read, lacks a column, is empty, or a row cannot be used.
    """
    if taken := sorted(set(slices) & {*COLUMNS, *PROVENANCE}):
        raise SpecError(f"data.slices: {taken[0]!r} is a name that Ratchet uses itself; rename that column")
    columns = Columns(text, target, tuple(slices))
    rows: list[Row] = []
    for split, part in _read_parts(source, columns, root):
        read = [row for row in (_read_row(part, *record, columns) for record in part.records) if row]
        if not read:
            raise DataError(f"{part.name}: no rows; expected at least one with columns {text!r} and {target!r}")
        rows += [{**row, "split": split, "source": part.source} for row in read]
    _name_rows(rows)
    mended = sum("\ufffd" in row["text"] for row in rows)
    log.info("read %d rows from %s (%d with characters that are not text)", len(rows), rows[0]["source"], mended)
    return make_rows({name: [row[name] for row in rows] for name in (*COLUMNS, *slices)})


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


def _read_row(part: Part, number: int, record: Mapping[str, Any], columns: Columns) -> Row | None:
    """Return the record as strings under our own names; None where it has neither text nor target."""
    cells = {name: _as_text(value, f"{part.name} {part.unit} {number}", name) for name, value in record.items()}
    row = {"id": cells.get("id", "").strip(), "text": cells[columns.text], "target": cells[columns.target].strip()}
    if row["target"]:
        return {**row, **{name: cells[name] for name in columns.slices}}
    if not row["text"].strip():
        return None
    raise DataError(
        f"{part.name} {part.unit} {number}: column {columns.target!r} is empty (text "
        f"{shorten(scrub_text(row['text']), 60)!r}); give the row a value or remove it"
    )


def _as_text(value: Any, where: str, column: str) -> str:
    """Return the value as text: "" for none, 3 and 3.0 as "3", true as "true"."""
    match value:
        case None:
            text = ""
        case str():
            text = mend_text(value)
        case bool():
            text = str(value).lower()
        case float():
            text = "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
        case list() | dict() | tuple() | bytes():
            raise DataError(f"{where}: column {column!r} holds a {type(value).__name__}; expected text or a number")
        case _:
            text = str(value)
    if len(text) > MAX_TEXT_BYTES // 4 and (size := len(text.encode())) > MAX_TEXT_BYTES:
        raise DataError(
            f"{where}: column {column!r} holds {size} bytes, the limit is {MAX_TEXT_BYTES}; split or remove the row"
        )
    return text


def _name_rows(rows: Sequence[Row]) -> None:
    """Give every row an id, in place: its own where all have one and no two the same, else a hash of its content."""
    own = {row["id"] for row in rows}
    if len(own) == len(rows) and "" not in own:
        return
    if own != {""}:
        log.warning("column 'id' is not unique or has gaps: rows are named by their content instead")
    seen: Counter[str] = Counter()
    for row in rows:
        content = "\x1f".join((row["source"], row["text"], row["target"]))
        seen[content] += 1
        row["id"] = hashlib.sha256(f"{content}\x1f{seen[content]}".encode()).hexdigest()[:20]
