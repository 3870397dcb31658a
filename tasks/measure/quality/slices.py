"""Which evaluation rows belong together: boolean row masks by column, label, length, language and likeness of texts.

All come from the rows alone and from no model's answers, so that slices may be judged on the very rows that made them,
with no correction but the one for their number. It judges nothing, orders nothing and reads no files.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tasks.data.cleaning.language import UNSPACED, UNSURE, count_words, tell_languages
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.similarity import text_key
from tasks.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Masks = dict[str, np.ndarray]  # name -> [rows] bool

MAX_VALUES = 1000  # of one column or of the labels; more are no groups, and their masks would fill the memory
MIN_LANGUAGE_SHARE = 0.02  # of the rows, and
MIN_LANGUAGE_ROWS = 20  # that must be told with confidence before a language counts: misnamed texts stay below both
MAX_CLUSTERS = 12
MIN_ROWS = 50  # below, the gate reports a slice and does not judge it, unless the spec says otherwise

_TERM = rf"[{UNSPACED}]|[^\W\d_{UNSPACED}]+(?:'[^\W\d_{UNSPACED}]+)*"
_MIN_TERM_TEXTS = 5  # distinct ones that hold a word before it may tell clusters apart or name one
_MAX_TERMS = 20_000
_COMPONENTS = 50
_NAME_WORDS = (2, 3)
# What English sentences are made of whatever they are about; without them clusters gather what is asked, not how.
_FUNCTION_WORDS = """
    a about all also am an and any are as at be been but by can can't cannot could did didn't do does doesn't don't for
    from get go got had has have he her here hi him his how i i'd i'll i'm i've if in into is isn't it it's its just let
    like may me might my need no not of off on or our out over please she should so some still than thank thanks that
    that's the their them then there there's these they this those to u under us very want was we were what what's when
    where which while who why will with would yes you your
"""


def all_masks(
    texts: Sequence[str],
    targets: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    seed: int = 7,
    min_rows: int = MIN_ROWS,
) -> dict[str, Masks]:
    """Return the masks `[rows]` of the families column, label, length, language and found, by family and name.

    No mask is empty. One that holds all rows is left out, except a column's: the spec names those, and what the gate
    cannot judge of them it has to say.

    Raises:
        ValueError: targets or a column have another number of rows than the texts.
        DataError: a column has more than `MAX_VALUES` values.
    """
    for name, values in {"targets": targets, **columns}.items():
        if len(values) != len(texts):
            raise ValueError(f"{name} must have a value for each of the {len(texts)} texts, not {len(values)}")
    families = {
        "label": label_masks(targets),
        "length": length_masks(texts),
        "language": language_masks(texts),
        "found": found_masks(texts, seed, min_rows),
    }
    parts = {
        family: {name: mask for name, mask in masks.items() if not mask.all()} for family, masks in families.items()
    }
    return {"column": column_masks(columns), **parts}


def column_masks(columns: Mapping[str, Sequence[str]]) -> Masks:
    """Return a mask for every value of every column, named `column=value`; those of one column part the rows.

    Raises:
        DataError: a column has more than `MAX_VALUES` values.
    """
    masks: Masks = {}
    for column, values in columns.items():
        if (count := len(set(values))) > MAX_VALUES:
            raise DataError(f"data.slices: column {column!r} has {count} values in these rows and may have "
                            f"{MAX_VALUES}; take it out of data.slices or group its values")  # fmt: skip
        masks |= _group_masks(column, values)
    return masks


def label_masks(targets: Sequence[str]) -> Masks:
    """Return a mask for every target, named `label=target`, which part the rows.

    Empty where targets are no labels: at least half as many distinct ones as rows, or more than `MAX_VALUES`.
    """
    distinct = len(set(targets))
    return _group_masks("label", targets) if distinct <= MAX_VALUES and 2 * distinct < len(targets) else {}


def length_masks(texts: Sequence[str]) -> Masks:
    """Return masks of the shortest, middle and longest third by number of words, named like `length=5-9 words`.

    They part the rows; texts of one length stay together, so there may be two, and none where all are equally long. In
    scripts without spaces each character counts as a word.
    """
    words = np.array([count_words(text) for text in texts])
    lengths = np.unique(words)
    if len(lengths) < 2:
        return {}
    thirds = np.quantile(words, [1 / 3, 2 / 3], method="inverted_cdf")
    # The longest length ends no slice but the last; where both thirds end with it, it is a slice of its own.
    ends = [int(end) for end in np.unique(thirds) if end < lengths[-1]] or [int(lengths[-2])]
    bounds = [int(lengths[0]) - 1, *ends, int(lengths[-1])]
    return {f"length={_length_name(low + 1, high)}": (low < words) & (words <= high) for low, high in pairwise(bounds)}


def language_masks(texts: Sequence[str]) -> Masks:
    """Return a mask for every language, named by its ISO 639 code as `language=en`, and `language=unsure` for the rest.

    They part the rows. A language counts when `MIN_LANGUAGE_SHARE` of the rows, and `MIN_LANGUAGE_ROWS`, are told to be
    in it (`cleaning.language`); all other rows, such as short ones, are unsure. Empty where fewer than two languages
    count.
    """
    languages = tell_languages(texts)
    names, counts = np.unique(np.array(languages, dtype=str), return_counts=True)
    enough = counts >= max(MIN_LANGUAGE_ROWS, MIN_LANGUAGE_SHARE * len(texts))
    counted = {str(name) for name in names[enough] if name != UNSURE}
    if len(counted) < 2:
        return {}
    return _group_masks("language", [name if name in counted else UNSURE for name in languages])


def found_masks(texts: Sequence[str], seed: int, min_rows: int) -> Masks:
    """Return masks of clusters of similar texts, named by their most characteristic words: `found=refund, money`.

    They share no rows; rows of clusters with fewer than `min_rows` rows, and texts without a common word, are in none.
    There is a cluster for every four times `min_rows` rows, at most `MAX_CLUSTERS`, and none where that makes one. They
    depend on the distinct texts and the seed, not on the rows' order. Function words are left out in English alone.

    Latent semantic analysis (Deerwester et al., JASIS 1990): TF-IDF of words and word pairs, a truncated singular value
    decomposition scaled to unit length, then mini-batch k-means (Sculley, WWW 2010).

    Raises:
        ValueError: `min_rows` is below 1.
    """
    if min_rows < 1:
        raise ValueError(f"min_rows must be 1 or more, not {min_rows}")
    count = min(MAX_CLUSTERS, len(texts) // (4 * min_rows))
    cleaned = {text: text_key(scrub_text(text)).replace("\u2019", "'") for text in set(texts)} if count > 1 else {}
    distinct = sorted(set(cleaned.values()))
    if len(distinct) < 2 * _MIN_TERM_TEXTS:
        return {}
    terms, weights = _weigh_terms(distinct)
    if len(terms) < 2:
        return {}
    clusters = _cluster(weights, min(count, len(distinct)), seed)
    place = {text: int(cluster) for text, cluster in zip(distinct, clusters, strict=True)}
    rows = np.array([place[cleaned[text]] for text in texts])
    large = [cluster for cluster in range(count) if (rows == cluster).sum() >= min_rows]
    names = _cluster_names(terms, weights, clusters, large)
    return {f"found={names[cluster]}": rows == cluster for cluster in large}


def _group_masks(family: str, values: Sequence[str]) -> Masks:
    array = np.array(values, dtype=object)
    return {f"{family}={value}": array == value for value in sorted(set(values))}


def _length_name(low: int, high: int) -> str:
    if low == high:
        return f"{low} word" if low == 1 else f"{low} words"
    return f"{low}-{high} words"


def _weigh_terms(texts: Sequence[str]) -> "tuple[list[str], csr_matrix]":
    """Return the words and word pairs that several texts hold, and their TF-IDF weights `[texts, terms]`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(lowercase=False, token_pattern=_TERM, stop_words=_FUNCTION_WORDS.split(),
                                 ngram_range=(1, 2), min_df=_MIN_TERM_TEXTS, max_features=_MAX_TERMS,
                                 sublinear_tf=True, dtype=np.float32)  # fmt: skip
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # scikit-learn's answer where no term is left
        return [], None
    return vectorizer.get_feature_names_out().tolist(), weights


def _cluster(weights: "csr_matrix", count: int, seed: int) -> np.ndarray:
    """Return the cluster `[texts]` of each text, from 0; -1 for one without any term."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    components = min(_COMPONENTS, weights.shape[1] - 1)
    with np.errstate(invalid="ignore"):  # a share of the variance, which nobody reads, where all texts weigh the same
        points = normalize(TruncatedSVD(components, random_state=seed).fit_transform(weights))
    clusters: np.ndarray = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=4096).fit_predict(points)
    clusters[np.diff(weights.indptr) == 0] = -1
    return clusters


def _cluster_names(
    terms: Sequence[str], weights: "csr_matrix", clusters: np.ndarray, chosen: Sequence[int]
) -> dict[int, str]:
    """Return a name of its own for each chosen cluster: the words most of its texts hold and most others do not."""
    words = np.array([place for place, term in enumerate(terms) if " " not in term])
    held = weights[:, words] > 0
    names: dict[int, str] = {}
    for cluster in chosen:
        inside = clusters == cluster
        within = np.asarray(held[inside].sum(axis=0)).ravel()
        without = np.asarray(held[~inside].sum(axis=0)).ravel()
        lead = within / max(1, inside.sum()) - without / max(1, (~inside).sum())
        lead[within < _MIN_TERM_TEXTS] = -np.inf  # a word of few texts may be a name
        best = [scrub_text(terms[words[at]]) for at in np.argsort(-lead, kind="stable") if lead[at] > 0]
        options = [", ".join(best[:length]) for length in _NAME_WORDS if best]
        free = [name for name in options if name not in names.values()]
        names[cluster] = free[0] if free else f"cluster {cluster + 1}"
    return names
