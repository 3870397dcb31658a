"""What of texts is compared: keys, 3-grams of characters as integers, and MinHash bands, in arrays.

Shingles are packed into 64-bit integers (three code points of 21 bits), so that equal integers are equal shingles. It
compares nothing: that is `tasks.data.similarity`'s part.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.text_pass import as_array, batches, map_texts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from scipy.sparse import csr_matrix

SHINGLE_CHARS = 3
_SIGNATURE_SLOTS = 256
_MISSED_SHARE = 1e-4  # of the pairs exactly at the threshold that LSH may fail to propose
_SEED = 7
_BITS = 21  # of a code point


def text_key(text: str) -> str:
    """Return the text as duplicates are told: NFKC, case folded, white space collapsed."""
    if text.isascii():  # the same, sooner
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def number_keys(texts: "Sequence[str] | pa.ChunkedArray") -> "tuple[np.ndarray, pa.ChunkedArray]":
    """Return the number of each text's key, by first appearance from 0, and the distinct keys by their numbers."""
    import numpy as np
    import pyarrow as pa

    parts = [pa.array(map(text_key, batch), pa.large_string()) for batch in batches(as_array(texts))]
    coded = pa.concat_arrays(parts or [pa.array([], pa.large_string())]).dictionary_encode()
    keys = pa.chunked_array([coded.dictionary], pa.large_string())
    return coded.indices.to_numpy().astype(np.int64), keys


def first_rows(numbers: "np.ndarray", count: int) -> "np.ndarray":
    """Return for each of `count` numbers the first row that has it; [count]."""
    import numpy as np

    first = np.full(count, len(numbers), np.int64)
    np.minimum.at(first, numbers, np.arange(len(numbers)))
    return first


def find_bands(keys: "pa.ChunkedArray", threshold: float, memory: Path | None = None) -> "np.ndarray":
    """Return the MinHash bands of the keys, [keys, bands] of uint32.

    Two keys of similarity `threshold` differ in all bands with a probability of at most `_MISSED_SHARE`. `memory` is a
    folder where they are kept for later passes.
    """
    import numpy as np
    import pyarrow as pa

    rows, bands = band_shape(threshold)
    schema = pa.schema([("bands", pa.large_binary())])
    folder = memory / f"bands-{rows}-{bands}" if memory else None
    made = map_texts("near duplicates", keys, partial(_band_bytes, rows, bands), schema, folder)
    parts = [_integers(chunk) for chunk in made.column("bands").chunks if len(chunk)]
    return np.concatenate([np.empty(0, np.uint32), *parts]).reshape(-1, bands)


def _integers(chunk: "pa.LargeBinaryArray") -> "np.ndarray":
    """Return all bytes of the values, one after another, as integers; nothing is copied."""
    import numpy as np

    _, offsets, content = chunk.buffers()
    first, last = np.frombuffer(offsets, np.int64)[[chunk.offset, chunk.offset + len(chunk)]]
    return np.frombuffer(content, np.uint8)[first:last].view(np.uint32)


def _band_bytes(rows: int, bands: int, keys: list[str]) -> Mapping[str, Any]:
    """Return the bands of a batch of keys, each as bytes."""
    import numpy as np
    from rensa import RMinHash

    shingles, offsets = pack_shingles(keys)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        _mix(shingles), offsets.astype(np.uint64), rows * bands, _SEED
    )
    slots = np.array(matrix.to_rows(), np.uint64).reshape(len(keys), bands, rows)
    band = np.zeros((len(keys), bands), np.uint64)
    for row in range(rows):
        band = _mix(band + slots[:, :, row] + np.uint64(row + 1))
    return {"bands": [line.tobytes() for line in (band >> np.uint64(32)).astype(np.uint32)]}


def band_shape(threshold: float) -> tuple[int, int]:
    """Return (rows per band, bands): the most selective shape that misses few pairs at the threshold.

    A pair of similarity s shares at least one of b bands of r rows with probability 1 - (1 - s^r)^b (Leskovec,
    Rajaraman and Ullman, "Mining of Massive Datasets", 3.4.2).
    """
    for rows in range(16, 1, -1):
        hit = threshold**rows
        bands = 1 if hit >= 1 else math.ceil(math.log(_MISSED_SHARE) / math.log1p(-hit))
        if rows * bands <= _SIGNATURE_SLOTS:
            return rows, bands
    return 1, _SIGNATURE_SLOTS


def pack_shingles(keys: Sequence[str]) -> "tuple[np.ndarray, np.ndarray]":
    """Return the shingles of all keys one after another as uint64, repeats included, and where each key's begin.

    The second array has one entry more than there are keys. A key of fewer than three characters is one shingle.
    """
    import numpy as np

    gap = "\0" * (SHINGLE_CHARS - 1)
    points = np.frombuffer(f"{gap.join(keys)}{gap}".encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    packed = (points[:-2] << np.uint64(2 * _BITS)) | (points[1:-1] << np.uint64(_BITS)) | points[2:]
    counts = np.maximum(lengths - SHINGLE_CHARS + 1, 1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    starts = np.concatenate([[0], np.cumsum(lengths + len(gap))[:-1]])
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
    padded = np.append(packed, np.uint64(0))  # where the last key is empty
    return padded[np.minimum(places, len(packed))], offsets


def shingle_sets(keys: Sequence[str]) -> "csr_matrix":
    """Return the sets of shingles as a sparse matrix of ones; [keys, distinct shingles of these keys]."""
    import numpy as np
    from scipy.sparse import csr_matrix

    shingles, offsets = pack_shingles(keys)
    distinct, columns = np.unique(shingles, return_inverse=True)
    sets = csr_matrix((np.ones(len(columns), np.int32), columns, offsets), shape=(len(keys), len(distinct)))
    sets.sum_duplicates()
    sets.data[:] = 1
    return sets


def _mix(values: "np.ndarray") -> "np.ndarray":
    """Return well spread 64-bit integers, one to one (the finaliser of SplitMix64; Steele, Lea and Flood 2014)."""
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
