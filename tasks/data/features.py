"""Texts as vectors for the steps that judge rows: sentence embeddings, or n-grams where no encoder should be loaded.

Judges nothing itself.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from tasks.data.embeddings import embed_texts

Features = Literal["embeddings", "ngrams"]
Encoder = Callable[[Sequence[str]], np.ndarray]

CHUNK = 50_000  # texts encoded at a time: 77 MB of vectors of width 384
_TERMS = 20_000  # of words and of letters each, the most frequent
_WIDTH = 256
_SEED = 7


def make_encoder(features: Features, base: str, texts: Sequence[str]) -> Encoder:
    """Return the function from texts to vectors [texts, width] of length 1 in float32.

    `embeddings` are the base encoder's and know meanings; `ngrams` are the principal directions (latent semantic
    analysis) of the TF-IDF weights of words, pairs of words and groups of 2 to 4 letters in `texts`.

    Raises:
        ModelError: nothing loads under the name of the base.
    """
    if features == "embeddings":
        return lambda batch: embed_texts(batch, base)
    return _fit_ngrams(texts)


def remember(encode: Encoder, texts: Sequence[str], vectors: np.ndarray) -> Encoder:
    """Return the encoder with the vectors [texts, width] of these texts known, so that only others are encoded."""
    places = {text: place for place, text in enumerate(texts)}

    def recall(batch: Sequence[str]) -> np.ndarray:
        new = [text for text in batch if text not in places]
        if new:
            found = np.empty((len(batch), vectors.shape[1]), np.float32)
            mask = np.array([text in places for text in batch])
            found[mask] = vectors[[places[text] for text in batch if text in places]]
            found[~mask] = encode(new)
            return found
        known: np.ndarray = vectors[[places[text] for text in batch]]
        return known

    return recall


def _fit_ngrams(texts: Sequence[str]) -> Encoder:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union
    from sklearn.preprocessing import normalize

    weights = make_union(*(
        TfidfVectorizer(analyzer=unit, ngram_range=sizes, token_pattern=r"\S+" if unit == "word" else None,
                        max_features=_TERMS, sublinear_tf=True, dtype=np.float32)
        for unit, sizes in (("word", (1, 2)), ("char_wb", (2, 4)))
    ))  # fmt: skip
    found = weights.fit_transform(texts)
    with np.errstate(divide="ignore", invalid="ignore"):  # texts that are all alike have no variance to explain
        reduce = TruncatedSVD(min(_WIDTH, *found.shape), random_state=_SEED).fit(found)

    def encode(batch: Sequence[str]) -> np.ndarray:
        vectors: np.ndarray = normalize(reduce.transform(weights.transform(batch))).astype(np.float32)
        return vectors

    return encode
