"""The n-gram features of texts: which of them are known, what each counts for, and texts as sparse rows of them.

The features are those of `serving.runtimes.ngram_text`. A feature's value is its count times its inverse document
frequency, and a row is divided by the square root of the sum over all its features, each as often as it occurs, of the
squared frequency: a word then adds the same to every text, which is what makes serving it a table lookup. Fits nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.sparse import csr_matrix

from serving.runtimes.ngram_text import character_grams, find_tokens, neighbours

MIN_N, MAX_N = 3, 4  # of character n-grams: 5 and 6 add features, and no agreement
MIN_TEXTS = 2  # that a feature must occur in


@dataclass(frozen=True)
class Features:
    """The known features and what each counts for."""

    words: tuple[str, ...]
    grams: tuple[str, ...]
    pairs: tuple[str, ...]
    idf: np.ndarray  # [words + grams + pairs] float32, in this order

    @property
    def inside(self) -> int:
        """How many features lie inside one token: words and character n-grams."""
        return len(self.words) + len(self.grams)


@dataclass(frozen=True)
class TextRows:
    """Texts as rows of features: `scale * (tokens @ (spelling @ weights[:inside]) + pairs @ weights[inside:])`."""

    tokens: csr_matrix  # [texts, distinct tokens]: how often each token occurs
    spelling: csr_matrix  # [distinct tokens, words + grams]: the values of each token's known features
    pairs: csr_matrix  # [texts, pairs]: the values of the known pairs
    scale: np.ndarray  # [texts, 1] float32; 0 where nothing is known


def find_features(texts: Sequence[str], max_features: int) -> Features:
    """Return the features that at least two of the texts have, at most `max_features` of them: the most frequent."""
    spelt: dict[str, set[str]] = {}
    counters: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
    for text in texts:
        tokens = find_tokens(text.lower())
        distinct = set(tokens)
        for token in distinct - spelt.keys():
            spelt[token] = set(character_grams(token, MIN_N, MAX_N))
        counters[0].update(distinct)
        counters[1].update(set().union(*(spelt[token] for token in distinct)))
        counters[2].update(set(neighbours(tokens)))
    ranked = sorted(
        (-count, kind, name) for kind, counter in enumerate(counters) for name, count in counter.items()
        if count >= MIN_TEXTS
    )[:max_features]  # fmt: skip
    kept = sorted((kind, name, -count) for count, kind, name in ranked)
    words, grams, pairs = (tuple(name for of, name, _ in kept if of == kind) for kind in range(len(counters)))
    frequency = np.array([count for _, _, count in kept], np.float64)
    idf = np.log((1 + len(texts)) / (1 + frequency)) + 1  # smoothed, as scikit-learn's
    return Features(words, grams, pairs, idf.astype(np.float32))


def text_rows(texts: Sequence[str], features: Features) -> TextRows:
    """Return the texts as rows of the known features."""
    split = [find_tokens(text.lower()) for text in texts]
    vocabulary = {token: at for at, token in enumerate(dict.fromkeys(chain.from_iterable(split)))}
    tokens = _count(([vocabulary[token] for token in found] for found in split), len(vocabulary))
    spelling = spell(list(vocabulary), features)
    place = {pair: at for at, pair in enumerate(features.pairs)}
    pairs = _count(([place[pair] for pair in neighbours(found) if pair in place] for found in split), len(place))
    weight = features.idf[features.inside :]
    mass = tokens @ token_mass(spelling, features) + pairs @ weight**2  # [texts]
    scale = np.divide(1, np.sqrt(mass), out=np.zeros_like(mass), where=mass > 0)[:, None]
    return TextRows(tokens, spelling, pairs.multiply(weight).tocsr(), scale.astype(np.float32))


def spell(tokens: Sequence[str], features: Features) -> csr_matrix:
    """Return the values of each token's known features, [tokens, words + grams] float32."""
    words = {word: at for at, word in enumerate(features.words)}
    grams = {gram: at for at, gram in enumerate(features.grams, len(words))}
    places = ([words.get(token), *map(grams.get, character_grams(token, MIN_N, MAX_N))] for token in tokens)
    counts = _count(([place for place in of if place is not None] for of in places), features.inside)
    return counts.multiply(features.idf[: features.inside]).tocsr()


def token_mass(spelling: csr_matrix, features: Features) -> np.ndarray:
    """Return the sum of squared frequencies over each token's known features, [tokens] float32."""
    mass: np.ndarray = spelling @ features.idf[: features.inside]
    return mass


def _count(rows: Iterable[Sequence[int]], width: int) -> csr_matrix:
    """Return how often each row names each column, [rows, width] float32."""
    listed = list(rows)
    ends = np.cumsum([0, *map(len, listed)])
    columns = np.fromiter(chain.from_iterable(listed), np.int32, int(ends[-1]))
    counts = csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=(len(listed), width))
    counts.sum_duplicates()
    return counts
