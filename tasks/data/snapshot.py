"""Putting a snapshot together and keeping it: one table of all rows, checked, stored as Parquet, known by its digest.

The digest is over the rows' content, so that it says the same whatever wrote the file. Where snapshots lie, and their
manifests, is the store's business.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.rows import COLUMNS, SPLITS
from tasks.errors import ArtifactError, DataError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


def make_snapshot_table(tables: "Sequence[pa.Table]", *, labelled: bool, out_of_scope: str = "") -> "pa.Table":
    """Return the rows of all tables as one table, with every further column of any of them ("" where a table has none).

    `out_of_scope` is the target of rows that no label fits: `select` and `golden` may have it although train does not.

    Raises:
        DataError: a split is empty or unknown, an id stands twice or, where `labelled`, train has one class only or an
            evaluation split has a label that train does not.
    """
    import pyarrow as pa

    further = dict.fromkeys(name for table in tables for name in table.column_names if name not in COLUMNS)
    table = pa.concat_tables([_with_columns(table, (*COLUMNS, *further)) for table in tables])
    _check_splits(table)
    _check_ids(table)
    if labelled:
        _check_labels(table, out_of_scope)
    log.info("snapshot: %d rows, %s", table.num_rows, _count(table, "split"))
    return table


def write_table(table: "pa.Table", path: Path) -> str:
    """Write the table as Parquet, wholly or not at all, and return its digest.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    import pyarrow.parquet as pq

    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, partial)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(f"{path}: the table could not be written ({error}): free space or mend rights") from error
    return digest_table(table)


def read_table(path: Path, digest: str | None = None) -> "pa.Table":
    """Return the table that `write_table` wrote.

    Raises:
        ArtifactError: the file is missing, is no Parquet file or does not have the digest.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: the table cannot be read ({error}): run again to rebuild it") from error
    if digest is not None and (found := digest_table(table)) != digest:
        raise ArtifactError(
            f"{path}: the rows have digest {found[:12]}, expected {digest[:12]}: the file was changed; delete it and "
            "run again to rebuild it"
        )
    return table


def digest_table(table: "pa.Table") -> str:
    """Return the SHA-256 over the column names and rows in order, whatever the file format, chunks or width of offsets.

    It is over two digests of each column: of the cells' lengths, so that text that moves from a cell to the next one
    changes it, and of their bytes. Columns that are not text count as what they are cast to.
    """
    columns = [[name, *_digest_column(table.column(name))] for name in table.column_names]
    return hashlib.sha256(json.dumps([table.num_rows, columns]).encode()).hexdigest()


def _digest_column(column: "pa.ChunkedArray") -> tuple[str, str]:
    """Return the SHA-256 of the lengths in bytes, -1 where a cell is null, and of the bytes of all cells."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths, content = hashlib.sha256(), hashlib.sha256()
    for chunk in column.cast(pa.large_string()).chunks:
        if not len(chunk):
            continue
        present = pc.fill_null(chunk, "") if chunk.null_count else chunk  # what lies under a null is arbitrary
        _, places, data = present.buffers()
        offsets = np.frombuffer(places, np.int64)[present.offset : present.offset + len(present) + 1]
        sizes = np.diff(offsets).astype("<i8")
        if chunk.null_count:
            sizes[chunk.is_null().to_numpy(zero_copy_only=False)] = -1
        lengths.update(sizes.tobytes())
        if data is not None:
            content.update(memoryview(data)[offsets[0] : offsets[-1]])
    return lengths.hexdigest(), content.hexdigest()


def _with_columns(table: "pa.Table", names: Sequence[str]) -> "pa.Table":
    import pyarrow as pa

    empty = pa.array([""] * table.num_rows, pa.string())
    columns = [table.column(name) if name in table.column_names else empty for name in names]
    return pa.table(columns, names=list(names)).cast(pa.schema([(name, pa.string()) for name in names]))


def _count(table: "pa.Table", column: str) -> dict[str, int]:
    """Return how often each value of the column stands, in the order in which they first stand."""
    import pyarrow.compute as pc

    return {pair["values"]: pair["counts"] for pair in pc.value_counts(table.column(column)).to_pylist()}


def _check_splits(table: "pa.Table") -> None:
    counts = _count(table, "split")
    if unknown := set(counts) - set(SPLITS):
        raise DataError(f"rows with split {sorted(unknown)}: expected one of {', '.join(SPLITS)}; assign splits first")
    for split in SPLITS:
        if split not in counts:
            raise DataError(
                f"split '{split}' has no rows ({table.num_rows} rows in all): give the source more rows, name the "
                f"split under `data.source.splits`, or raise its share under `data.split`"
            )


def _check_ids(table: "pa.Table") -> None:
    import pyarrow.compute as pc

    if pc.count_distinct(table.column("id")).as_py() < table.num_rows:
        row_id, count = max(_count(table, "id").items(), key=lambda pair: pair[1])
        raise DataError(
            f"id '{row_id}' stands on {count} rows: ids must be unique over all sources; rename or drop them"
        )


def _check_labels(table: "pa.Table", out_of_scope: str) -> None:
    import pyarrow.compute as pc

    parts = {split: table.filter(pc.equal(table.column("split"), split)) for split in SPLITS}
    taught = set(_count(parts["train"], "target"))
    if len(taught) < 2:
        raise DataError(f"train has one class only, {taught.pop()!r}: a classifier needs rows of at least two")
    for split in SPLITS[1:]:
        known = taught if split == "valid" else taught | {out_of_scope}  # early stopping needs a label to learn from
        unseen = {label: count for label, count in _count(parts[split], "target").items() if label not in known}
        if unseen:
            label, count = max(unseen.items(), key=lambda pair: pair[1])
            row = pc.index(parts[split].column("target"), label).as_py()
            raise DataError(
                f"{split} has {len(unseen)} labels that train does not, e.g. {label!r} on {count} rows (row "
                f"{parts[split]['id'][row]}): add training rows with them or remove the rows"
            )
