"""Which texts are equal or nearly so: MinHash LSH proposes pairs, exact Jaccard similarity decides.

Similarity is the Jaccard index of the sets of character 3-grams of the normalised texts (Broder 1997, "On the
resemblance and containment of documents"): 1 for texts equal but for case, width and white space. It knows no meaning:
paraphrases are not near duplicates. All work is on arrays and in blocks, for a million texts and more.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.shingles import find_bands, first_rows, number_keys, shingle_sets, text_key
from tasks.data.text_pass import as_array

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["THRESHOLD", "find_similar", "near_duplicate_clusters", "text_key"]

THRESHOLD = 0.9

_ALL_PAIRS = 32  # texts of one bucket up to which all of its pairs are compared
_WINDOW_PAIRS = 200_000  # of one band, at most, in bigger buckets
_MIN_WINDOW = 4
_SHIFTS = (1, 2, 3)  # the bands, counted from a big bucket's own, by which it is ordered
_BLOCK = 25_000  # pairs compared at a time


def near_duplicate_clusters(
    texts: "Sequence[str] | pa.ChunkedArray", threshold: float = THRESHOLD, memory: Path | None = None
) -> list[int]:
    """Return for each text the index of the first text of its cluster.

    Two texts share a cluster when their similarity, or that of a chain of texts between them, is at least `threshold`.
    In buckets of thousands of lookalikes that are not similar enough, some pairs just above the threshold are missed.
    `memory` is a folder where the texts' sketches are kept for later passes.
    """
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    numbers, keys = number_keys(texts)
    first = first_rows(numbers, len(keys))
    left, right = _similar_pairs(keys, find_bands(keys, threshold, memory), threshold)
    links = coo_matrix((np.ones(len(left), bool), (left, right)), shape=(len(keys), len(keys)))
    count, labels = connected_components(links, directed=False)
    heads = np.full(count, len(numbers), np.int64)
    np.minimum.at(heads, labels, first)
    clusters: list[int] = heads[labels][numbers].tolist()
    return clusters


def find_similar(
    texts: "Sequence[str] | pa.ChunkedArray", among: "Sequence[str] | pa.ChunkedArray", threshold: float = THRESHOLD,
    memory: Path | None = None,
) -> list[tuple[int, int]]:  # fmt: skip
    """Return (index in `texts`, index in `among`) for each text that has a similar one there, with the first such."""
    import numpy as np
    import pyarrow as pa

    here, there = as_array(texts), as_array(among)
    if not len(here) or not len(there):
        return []
    numbers, keys = number_keys(pa.chunked_array([*there.chunks, *here.chunks]))
    mine, theirs = np.zeros(len(keys), bool), np.full(len(keys), len(numbers), np.int64)
    mine[numbers[len(there) :]] = True
    np.minimum.at(theirs, numbers[: len(there)], np.arange(len(there)))
    bands = find_bands(keys, threshold, memory)
    left, right = _similar_pairs(keys, bands, threshold, sides=(mine, theirs < len(numbers)))
    match = theirs.copy()
    for one, other in ((left, right), (right, left)):
        np.minimum.at(match, one, theirs[other])
    found = match[numbers[len(there) :]]
    return [(int(at), int(found[at])) for at in np.flatnonzero(found < len(numbers))]


def _similar_pairs(
    keys: "pa.ChunkedArray", bands: "np.ndarray", threshold: float, sides: "tuple[np.ndarray, np.ndarray] | None" = None
) -> "tuple[np.ndarray, np.ndarray]":
    """Return the pairs of keys, each once, that share a band and are similar; with `sides`, only pairs across them."""
    import numpy as np

    proposed = [np.empty(0, np.int64)]
    for band in range(bands.shape[1]):
        for low, high in _bucket_pairs(bands, band):
            proposed.append(np.unique(_across(low, high, sides) if sides else low * len(bands) + high))
    codes = np.unique(np.concatenate(proposed))
    similar = [codes[start : start + _BLOCK] for start in range(0, len(codes), _BLOCK)]
    codes = np.concatenate([np.empty(0, np.int64), *(_keep_similar(keys, block, threshold) for block in similar)])
    return codes // max(1, len(keys)), codes % max(1, len(keys))


def _across(low: "np.ndarray", high: "np.ndarray", sides: "tuple[np.ndarray, np.ndarray]") -> "np.ndarray":
    """Return the codes of those pairs that have one key on each side."""
    mine, theirs = sides
    crossing = (mine[low] & theirs[high]) | (theirs[low] & mine[high])
    codes: np.ndarray = low[crossing] * len(mine) + high[crossing]
    return codes


def _bucket_pairs(bands: "np.ndarray", band: int) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Yield pairs (lower index, higher index) of keys that agree in a band: all, of a bucket too big those near it.

    A big bucket holds many texts that look alike. It is ordered by further bands, so that the most alike ones stand
    side by side, and only neighbours that share another band are proposed.
    """
    import numpy as np

    order = np.argsort(bands[:, band], kind="stable")
    starts, sizes = _runs(bands[order, band])
    small = np.repeat(sizes <= _ALL_PAIRS, sizes)
    yield from _neighbours(order[small], np.repeat(starts, sizes)[small], _ALL_PAIRS)
    big = order[~small]
    if not len(big):
        return
    window = max(_MIN_WINDOW, _WINDOW_PAIRS // len(big))
    count = bands.shape[1]
    for shift in _SHIFTS:
        further = [bands[big, (band + step * shift) % count] for step in (3, 2, 1, 0)]
        rows = big[np.lexsort(further)]
        for low, high in _neighbours(rows, bands[rows, band], window):
            close = (bands[low] == bands[high]).sum(axis=1) > 1
            yield low[close], high[close]


def _runs(ranked: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Return where runs of equal values start, and how long they are."""
    import numpy as np

    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]])) if len(ranked) else np.empty(0, int)
    return starts, np.diff(np.append(starts, len(ranked)))


def _neighbours(rows: "np.ndarray", buckets: "np.ndarray", window: int) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Yield the pairs of rows at most `window` apart in the same bucket, those of each distance together."""
    import numpy as np

    for distance in range(1, min(window, len(rows) - 1) + 1):
        same = np.flatnonzero(buckets[distance:] == buckets[:-distance])
        if not len(same):
            return
        left, right = rows[same], rows[same + distance]
        yield np.minimum(left, right), np.maximum(left, right)


def _keep_similar(keys: "pa.ChunkedArray", codes: "np.ndarray", threshold: float) -> "np.ndarray":
    """Return the codes of the pairs whose Jaccard similarity is at least the threshold."""
    import numpy as np
    import pyarrow as pa

    rows, places = np.unique(np.concatenate([codes // len(keys), codes % len(keys)]), return_inverse=True)
    sets = shingle_sets(keys.take(pa.array(rows)).to_pylist())
    sizes = np.diff(sets.indptr)
    left, right = places[: len(codes)], places[len(codes) :]
    shared = np.asarray(sets[left].multiply(sets[right]).sum(axis=1)).ravel()
    similar: np.ndarray = codes[shared >= threshold * (sizes[left] + sizes[right] - shared)]
    return similar
