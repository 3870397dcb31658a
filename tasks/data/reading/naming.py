"""Ids of rows: the source's own where they name every row and no two alike, else a hash of what the row says.

A row's id does not depend on its place, so rows that are added or moved leave the others' ids alone; only of rows that
say exactly the same the second, third, ... are counted in their order.
"""

import hashlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

CONTENT = ("source", "text", "target")


def name_rows(table: "pa.Table") -> "pa.Table":
    """Return the table with an `id` for every row, unique in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    own = table.column("id")
    gaps = pc.sum(pc.equal(own, "")).as_py()
    if not gaps and pc.count_distinct(own).as_py() == table.num_rows:
        return table
    if gaps < table.num_rows:
        log.warning("column 'id' is not unique or has gaps: rows are named by their content instead")
    named = pa.chunked_array(
        [pa.array([_id(content, 1) for content in part], pa.string()) for part in _contents(table)]
    )
    return table.set_column(table.schema.get_field_index("id"), "id", _count_repeats(table, named))


def _count_repeats(table: "pa.Table", named: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Return the ids with those of rows that repeat an earlier one made anew, with how often it stood before."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = named.combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))[:-1]])
    earlier = np.empty(len(codes), np.int64)  # rows before this one with the same content
    earlier[order] = np.arange(len(codes)) - starts[codes[order]]
    repeats = np.flatnonzero(earlier)
    if not len(repeats):
        return named
    contents = (content for part in _contents(table.take(repeats)) for content in part)
    again = [_id(content, 1 + count) for content, count in zip(contents, earlier[repeats].tolist(), strict=True)]
    return pa.chunked_array([pc.replace_with_mask(named.combine_chunks(), earlier > 0, pa.array(again, pa.string()))])


def _contents(table: "pa.Table") -> Iterator[list[str]]:
    """Yield what the rows of each batch say."""
    for batch in table.select(list(CONTENT)).to_batches():
        columns: list[list[Any]] = [column.to_pylist() for column in batch.columns]
        yield ["\x1f".join(cells) for cells in zip(*columns, strict=True)]


def _id(content: str, count: int) -> str:
    return hashlib.sha256(f"{content}\x1f{count}".encode()).hexdigest()[:20]
