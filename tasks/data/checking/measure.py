"""What the guard measures of rows: one pass over the texts, the rest by hashes and counts in arrays.

It keeps no text, knows no limit and judges nothing.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.data.cleaning.language import UNSURE, tell_languages
from tasks.data.cleaning.scrub import has_pii
from tasks.data.rows import COLUMNS, values
from tasks.data.similarity import find_similar, text_key

if TYPE_CHECKING:
    import pyarrow as pa

LANGUAGE_ROWS = 2000  # whose language is told, about: it costs 50 us a text
NEAR_LEAK_ROWS = 200_000  # of train and golden; above, only exact repeats are looked for: the snapshot did the rest
_BATCH_ROWS = 65_536


def measure_texts(texts: Sequence[str], told_share: float) -> "pa.Table":
    """Return one row per text: `chars`, `empty`, `key`, `pii` and `language`.

    `key` is a 64-bit hash of what duplicates are told by, equal for texts equal but for case, width and white space.
    `language` is an ISO 639 code; null where it cannot be told, and for texts whose hash does not lie in the first
    `told_share` (0 to 1) of all hashes, which are not looked at. Each text is measured for itself, so that batches can
    be measured anywhere and in any order.
    """
    import pyarrow as pa

    normal = [text_key(text) for text in texts]
    keys = np.array([_hash(key) for key in normal], dtype=np.uint64)
    last = np.uint64(min(int(told_share * 2**64), 2**64 - 1))
    asked: list[int] = np.flatnonzero(keys <= last).tolist()
    languages: list[str | None] = [None] * len(texts)
    for row, language in zip(asked, _tell(texts, asked), strict=True):
        languages[row] = None if language == UNSURE else language
    return pa.table(
        {
            "chars": pa.array([len(text) for text in texts], pa.int32()),
            "empty": pa.array([not key for key in normal], pa.bool_()),
            "key": pa.array(keys, pa.uint64()),
            "pii": pa.array([has_pii(text) for text in texts], pa.bool_()),
            "language": pa.array(languages, pa.string()),
        }
    )


def measure_rows(table: "pa.Table") -> "pa.Table":
    """Return one row per row of the table: what `measure_texts` says of its text, and `duplicate`.

    A row is a duplicate when its text stands in an earlier row.
    """
    import pyarrow as pa

    share = min(1.0, LANGUAGE_ROWS / max(1, table.num_rows))
    texts = table.select(["text"])
    parts = [
        measure_texts(values(texts.slice(start, _BATCH_ROWS), "text"), share)
        for start in range(0, max(1, table.num_rows), _BATCH_ROWS)
    ]
    measures = pa.concat_tables(parts).combine_chunks()
    return measures.append_column("duplicate", pa.array(repeats(measures["key"].to_numpy())))


def repeats(keys: "np.ndarray") -> "np.ndarray":
    """Return for each key whether an earlier one equals it."""
    _, first = np.unique(keys, return_index=True)
    repeated = np.ones(len(keys), dtype=bool)
    repeated[first] = False
    return repeated


def find_leaks(table: "pa.Table", measures: "pa.Table") -> "np.ndarray":
    """Return for each row whether it is a training row that repeats a golden one, exactly or nearly.

    Nearly is looked for up to `NEAR_LEAK_ROWS` rows of train and golden. Empty texts repeat nothing.
    """
    import pyarrow.compute as pc

    keys, told = measures["key"].to_numpy(), ~measures["empty"].to_numpy()
    train, golden = (pc.equal(table["split"], split).to_numpy() & told for split in ("train", "golden"))
    leaks: np.ndarray = train & np.isin(keys, keys[golden])
    rest = np.flatnonzero(train & ~leaks)
    if len(rest) and golden.any() and len(rest) + int(golden.sum()) <= NEAR_LEAK_ROWS:
        texts, among = (values(table.take(rows), "text") for rows in (rest, np.flatnonzero(golden)))
        leaks[rest[[here for here, _ in find_similar(texts, among)]]] = True
    return leaks


def as_rows(table: "pa.Table") -> "tuple[pa.Table, np.ndarray]":
    """Return the table with every column as text, none missing, and for each row whether it had to be mended for that.

    A column of `COLUMNS` that is not there is empty; a column that is not text counts against all rows.
    """
    import pyarrow as pa

    mended = np.zeros(table.num_rows, dtype=bool)
    columns = dict.fromkeys(COLUMNS, pa.array([""] * table.num_rows, pa.string()))
    for name in table.column_names:
        column = table[name]
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        mended |= column.is_null().to_numpy() if text else True
        columns[name] = _as_text(column).fill_null("")
    return pa.table(columns), mended


def _as_text(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow as pa

    try:
        return column.cast(pa.string())
    except pa.ArrowException:  # a list or a struct
        return pa.chunked_array([[None if value is None else str(value) for value in column.to_pylist()]], pa.string())


def _tell(texts: Sequence[str], rows: Sequence[int]) -> list[str]:
    return tell_languages([texts[row] for row in rows]) if rows else []  # the model takes seconds to load


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
