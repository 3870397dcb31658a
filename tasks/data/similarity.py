"""Which texts are equal or nearly so: MinHash LSH proposes pairs, exact Jaccard similarity decides.

Similarity is the Jaccard index of the sets of character 3-grams of the normalised texts (Broder 1997, "On the
resemblance and containment of documents"): 1 for texts equal but for case, width and white space. It knows no meaning:
paraphrases are not near duplicates.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence

SHINGLE_CHARS = 3
THRESHOLD = 0.9

_SIGNATURE_SLOTS = 256
_MISSED_SHARE = 1e-4  # of the pairs exactly at the threshold that LSH may fail to propose
_SEED = 7


def text_key(text: str) -> str:
    """Return the text as duplicates are told: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def near_duplicate_clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """Return for each text the index of the first text of its cluster.

    Two texts share a cluster when their similarity, or that of a chain of texts between them, is at least `threshold`.
    """
    keys = [text_key(text) for text in texts]
    unique = list(dict.fromkeys(keys))
    shingles = [_shingles(key) for key in unique]
    parents = list(range(len(unique)))
    for here, candidates in enumerate(_candidates(shingles, shingles, threshold)):
        for other in candidates:
            if other >= here or (pair := {_root(parents, here), _root(parents, other)}) == {_root(parents, here)}:
                continue
            if _is_similar(shingles[here], shingles[other], threshold):
                parents[max(pair)] = min(pair)
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    cluster = {key: first[unique[_root(parents, index)]] for index, key in enumerate(unique)}
    return [cluster[key] for key in keys]


def find_similar(texts: Sequence[str], among: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Return (index in `texts`, index in `among`) for each text that has a similar one there, the first such one."""
    indexed = [_shingles(text_key(text)) for text in among]
    queries = [_shingles(text_key(text)) for text in texts]
    found = []
    for here, candidates in enumerate(_candidates(queries, indexed, threshold)):
        match = next((there for there in candidates if _is_similar(queries[here], indexed[there], threshold)), None)
        if match is not None:
            found.append((here, match))
    return found


def _shingles(key: str) -> frozenset[str]:
    return frozenset(key[i : i + SHINGLE_CHARS] for i in range(max(1, len(key) - SHINGLE_CHARS + 1)))


def _is_similar(left: frozenset[str], right: frozenset[str], threshold: float) -> bool:
    if min(len(left), len(right)) < threshold * max(len(left), len(right)):
        return False
    shared = len(left & right)
    return shared >= threshold * (len(left) + len(right) - shared)


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _candidates(
    queries: Sequence[frozenset[str]], indexed: Sequence[frozenset[str]], threshold: float
) -> Iterator[list[int]]:
    """Yield for each query the indices, ascending, of the sets that share a band of its MinHash signature."""
    from rensa import RMinHash, RMinHashLSH

    rows, bands = _band_shape(threshold)
    lsh = RMinHashLSH(threshold, rows * bands, bands)
    signatures = RMinHash.from_token_sets(indexed, rows * bands, _SEED)
    lsh.insert_many(signatures)
    if queries is not indexed:
        signatures = RMinHash.from_token_sets(queries, rows * bands, _SEED)
    for signature in signatures:
        yield sorted(lsh.query(signature))


def _band_shape(threshold: float) -> tuple[int, int]:
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
