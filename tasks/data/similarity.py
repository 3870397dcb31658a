"""Which texts are equal or nearly so: MinHash LSH and prefix filtering propose pairs, exact Jaccard similarity decides.

Similarity is the Jaccard index of the sets of character 3-grams of the normalised texts (Broder 1997, "On the
resemblance and containment of documents"): 1 for texts equal but for case, width and white space. It knows no meaning:
paraphrases are not near duplicates.
"""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

SHINGLE_CHARS = 3
THRESHOLD = 0.9

_SIGNATURE_SLOTS = 256
_MISSED_SHARE = 1e-4  # of the pairs exactly at the threshold that LSH may fail to propose
_SEED = 7
_SHARED_SHINGLES = 3  # of the rarest, that a pair must have in common to be compared
_MAX_LINKS = 20  # rows of one cluster that stand for all of it behind one shingle, so that big clusters cost no squares


def text_key(text: str) -> str:
    """Return the text as duplicates are told: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def near_duplicate_clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """Return for each text the index of the first text of its cluster.

    Two texts share a cluster when their similarity, or that of a chain of texts between them, is at least `threshold`.
    """
    keys = [text_key(text) for text in texts]
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    suspects, sketches = _sketch(list(first), threshold)
    parents = list(range(len(suspects)))
    for bucket in _buckets(sketches, threshold):
        _join_bucket(bucket, sketches, threshold, parents)
    places = list(first.values())
    joined = {places[suspect]: places[suspects[_root(parents, at)]] for at, suspect in enumerate(suspects)}
    return [joined.get(first[key], first[key]) for key in keys]


def find_similar(texts: Sequence[str], among: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Return (index in `texts`, index in `among`) for each text that has a similar one there, with one such."""
    suspects, sketches = _sketch([text_key(text) for text in (*among, *texts)], threshold)
    found: dict[int, int] = {}
    for bucket in _buckets(sketches, threshold):
        index: dict[str, list[int]] = defaultdict(list)
        for here in bucket:
            if suspects[here] < len(among):
                for shingle in sketches[here].rare:
                    index[shingle].append(here)
            elif here not in found:
                for other in _candidates(index, sketches[here]):
                    if _is_similar(sketches[here].shingles, sketches[other].shingles, threshold):
                        found[here] = other
                        break
    return sorted((suspects[here] - len(among), suspects[match]) for here, match in found.items())


class _Sketch(NamedTuple):
    """What is compared of one text."""

    shingles: frozenset[str]
    rare: list[str]  # those of them that fewest texts have
    shared: int  # how many of `rare` a similar text has among its own


def _sketch(keys: Sequence[str], threshold: float) -> tuple[list[int], list[_Sketch]]:
    """Return the indices of the keys that may be similar to another one, ascending, and their sketches.

    The rare shingles are for prefix filtering, which tells texts of one template apart as MinHash cannot. Similar texts
    share at least s = ceil(threshold * n) of n shingles, so at least k of the rarest n - s + k (Chaudhuri, Ganti and
    Kaushik 2006, "A primitive operator for similarity joins in data cleaning").
    """
    sets = [frozenset(key[i : i + SHINGLE_CHARS] for i in range(max(1, len(key) - SHINGLE_CHARS + 1))) for key in keys]
    suspects = _find_suspects(sets, threshold)
    counts = Counter(chain.from_iterable(sets[suspect] for suspect in suspects))
    sketches = []
    for shingles in (sets[suspect] for suspect in suspects):
        common = math.ceil(threshold * len(shingles) - 1e-9)
        shared = min(_SHARED_SHINGLES, common)
        rarest = sorted(shingles, key=lambda shingle: (counts[shingle], shingle))
        sketches.append(_Sketch(shingles, rarest[: len(shingles) - common + shared], shared))
    return suspects, sketches


def _find_suspects(sets: Sequence[frozenset[str]], threshold: float) -> list[int]:
    """Return the indices, ascending, of the sets whose MinHash signature agrees with another one's in a band."""
    from rensa import RMinHash, RMinHashLSH

    rows, bands = _band_shape(threshold)
    signatures = RMinHash.digest_matrix_from_token_sets(sets, rows * bands, _SEED)
    flags = RMinHashLSH(threshold, rows * bands, bands).query_duplicate_flags_matrix_one_shot(signatures)
    return [index for index, flag in enumerate(flags) if flag]


def _is_similar(left: frozenset[str], right: frozenset[str], threshold: float) -> bool:
    if min(len(left), len(right)) < threshold * max(len(left), len(right)):
        return False
    shared = len(left & right)
    return shared >= threshold * (len(left) + len(right) - shared)


def _join_bucket(bucket: Sequence[int], sketches: Sequence[_Sketch], threshold: float, parents: list[int]) -> None:
    """Join, in `parents`, the clusters of the similar texts of one bucket."""
    index: dict[str, list[int]] = defaultdict(list)
    links: Counter[tuple[str, int]] = Counter()
    for here in bucket:
        for other in _candidates(index, sketches[here]):
            ends = _root(parents, here), _root(parents, other)
            if ends[0] != ends[1] and _is_similar(sketches[here].shingles, sketches[other].shingles, threshold):
                parents[max(ends)] = min(ends)
        for shingle in sketches[here].rare:
            link = shingle, _root(parents, here)
            if links[link] < _MAX_LINKS:
                links[link] += 1
                index[shingle].append(here)


def _candidates(index: Mapping[str, Sequence[int]], sketch: _Sketch) -> list[int]:
    """Return who stands in the index behind enough of the sketch's rare shingles."""
    counts = Counter(chain.from_iterable(index.get(shingle, ()) for shingle in sketch.rare))
    return [other for other, count in counts.items() if count >= sketch.shared]


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _buckets(sketches: Sequence[_Sketch], threshold: float) -> Iterator[tuple[int, ...]]:
    """Yield the groups, of ascending indices, whose MinHash signatures agree in a band; each group once."""
    from rensa import RMinHash

    rows, bands = _band_shape(threshold)
    sets = [sketch.shingles for sketch in sketches]
    signatures = RMinHash.digest_matrix_from_token_sets(sets, rows * bands, _SEED).to_rows()
    seen: set[tuple[int, ...]] = set()
    for start in range(0, rows * bands, rows):
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, signature in enumerate(signatures):
            groups[tuple(signature[start : start + rows])].append(index)
        for group in map(tuple, groups.values()):
            if len(group) > 1 and group not in seen:
                seen.add(group)
                yield group


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
