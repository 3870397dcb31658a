"""How sure a model is of each row's label when it has not seen the row: the evidence that `label_errors` acts on.

The model is linear discriminant analysis with a shrunken covariance (Friedman 1989, "Regularized Discriminant
Analysis") on vectors of the texts: it has a closed form, and it learns wrong labels less readily than the logistic
regression tried beside it. How many labels are wrong is told by confident learning (Northcutt, Jiang and Chuang 2021,
JAIR 70, the library `cleanlab`), which ones by the confidence in the given label. It changes no rows.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.data.features import CHUNK, Encoder

SHRINKAGE = 0.5  # of the covariance towards a sphere; 0.3 to 0.6 do alike on the sets that it was chosen on
_CALIBRATED_ROWS = 20_000  # at most, that the temperature is chosen on
_EXAMPLE_LOSS = 1e-9


@dataclass(frozen=True)
class Discriminant:
    """A linear classifier; a class that it saw no row of has prior 0."""

    weights: np.ndarray  # [width, classes]
    offsets: np.ndarray  # [classes]
    log_priors: np.ndarray  # [classes]

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Return log likelihoods [rows, classes] up to a constant of each row, before calibration and priors."""
        found: np.ndarray = vectors @ self.weights + self.offsets
        return found


@dataclass(frozen=True)
class Judgement:
    """What the model thinks of each row's label, [rows] each."""

    given: np.ndarray  # probability of the given label; NaN where the row is not judged
    suggested: np.ndarray  # the most probable class
    sure: np.ndarray  # its probability
    flagged: np.ndarray  # whether the given label looks wrong


@dataclass(frozen=True)
class Model:
    """Discriminants learnt without each fold, the one learnt on all rows, and where a label begins to look wrong."""

    folds: tuple[Discriminant, ...]
    whole: Discriminant
    temperature: float
    cut: float  # a given label whose probability is at most this looks wrong


def fit_discriminant(vectors: np.ndarray, labels: np.ndarray, classes: int) -> Discriminant:
    """Return the discriminant of the vectors [rows, width] and their labels [rows], whole numbers below `classes`."""
    from scipy.sparse import csr_matrix

    rows, width = vectors.shape
    counts = np.bincount(labels, minlength=classes)
    members = csr_matrix((np.ones(rows, np.float32), (labels, np.arange(rows))), shape=(classes, rows))
    means = (members @ vectors) / np.maximum(counts, 1)[:, None]  # [classes, width]
    centred = vectors - means[labels]
    scatter = (centred.T @ centred).astype(np.float64) / max(1, rows)
    sphere = max(np.trace(scatter) / width, 1e-6) * np.eye(width)
    weights = np.linalg.solve((1 - SHRINKAGE) * scatter + SHRINKAGE * sphere, means.T)
    with np.errstate(divide="ignore"):
        priors = np.log(counts / max(1, rows))
    offsets = -0.5 * (means.T * weights).sum(0)
    return Discriminant(weights.astype(np.float32), offsets.astype(np.float32), priors.astype(np.float32))


def learn(vectors: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: int, max_share: float) -> Model:
    """Return the model of the rows, with its cut such that as many labels look wrong as confident learning counts.

    Args:
        vectors: [rows, width].
        labels: [rows], whole numbers below `classes`.
        folds: [rows], from 0; the rows of a fold are judged by a model that has not seen them.
        classes: how many labels there are, at least 2.
        max_share: of the rows, that may look wrong at most.
    """
    parts = tuple(fit_discriminant(vectors[folds != fold], labels[folds != fold], classes)
                  for fold in range(int(folds.max()) + 1))  # fmt: skip
    scores, priors = _out_of_fold(parts, vectors, folds)
    temperature = _calibrate(scores, priors, labels)
    probabilities = _softmax(temperature * scores + priors)
    given = np.where(np.isneginf(priors[np.arange(len(labels)), labels]), np.nan,
                     probabilities[np.arange(len(labels)), labels])  # fmt: skip
    count = min(_count_wrong(probabilities, labels, np.isfinite(given)), int(max_share * len(labels)))
    ranked = np.sort(given[np.isfinite(given)])
    cut = float(ranked[count - 1]) if count else -1.0
    return Model(parts, fit_discriminant(vectors, labels, classes), temperature, cut)


def judge(
    model: Model, encode: Encoder, texts: Sequence[str], labels: np.ndarray, folds: np.ndarray | None
) -> Judgement:
    """Return what the model thinks of the labels [texts], -1 for one that it does not know: those are not judged.

    Each row is judged by the discriminant that has not seen its fold; by that of all rows where no folds are given.
    """
    given, suggested, sure = np.full(len(texts), np.nan), np.zeros(len(texts), int), np.zeros(len(texts))
    for rows in chunks(len(texts)):
        vectors = encode([texts[row] for row in rows])
        parts, which = (model.folds, folds[rows]) if folds is not None else ((model.whole,), np.zeros(len(rows), int))
        scores, priors = _out_of_fold(parts, vectors, which)
        probabilities = _softmax(model.temperature * scores + priors)
        suggested[rows], sure[rows] = probabilities.argmax(1), probabilities.max(1)
        own = probabilities[np.arange(len(rows)), labels[rows]]
        known = (labels[rows] >= 0) & ~np.isneginf(priors[np.arange(len(rows)), labels[rows]])
        given[rows] = np.where(known, own, np.nan)
    flagged = (given <= model.cut) & (suggested != labels)  # a comparison with NaN is False
    return Judgement(given, suggested, sure, flagged)


def chunks(rows: int) -> Iterator[np.ndarray]:
    """Yield the numbers of the rows, `CHUNK` at a time."""
    for start in range(0, rows, CHUNK):
        yield np.arange(start, min(rows, start + CHUNK))


def hash_share(seed: int, key: str) -> float:
    """Return a number in [0, 1) that seed and key alone decide."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


def _out_of_fold(
    parts: Sequence[Discriminant], vectors: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores [rows, classes], the highest of each row 0, and log priors of the same shape."""
    scores = np.zeros((len(vectors), len(parts[0].offsets)), np.float32)
    priors = np.zeros_like(scores)
    for fold, part in enumerate(parts):
        mask = folds == fold
        found = part.scores(vectors[mask])
        scores[mask] = found - found.max(1, keepdims=True)
        priors[mask] = part.log_priors
    return scores, priors


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities [rows, classes]; a row of nothing but minus infinity gets equal ones."""
    highest = logits.max(1, keepdims=True)
    powers = np.exp(logits - np.where(np.isneginf(highest), 0, highest))
    total = powers.sum(1, keepdims=True)
    found: np.ndarray = np.where(total > 0, powers / np.maximum(total, 1e-30), 1 / logits.shape[1])
    return found


def _calibrate(scores: np.ndarray, priors: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature, as a factor, that makes the given labels most likely (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    some = np.linspace(0, len(labels) - 1, min(len(labels), _CALIBRATED_ROWS)).astype(int)
    scores, priors, labels = scores[some], priors[some], labels[some]
    rows = np.arange(len(labels))

    def loss(log_factor: float) -> float:
        own = _softmax(np.exp(log_factor) * scores + priors)[rows, labels]
        return float(-np.log(own + _EXAMPLE_LOSS).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-6, 1), method="bounded", options={"xatol": 0.02}).x))


def _count_wrong(probabilities: np.ndarray, labels: np.ndarray, known: np.ndarray) -> int:
    """Return how many labels are wrong by confident learning's joint of given and true labels, among known rows."""
    from cleanlab.filter import find_label_issues

    classes = np.unique(labels[known])
    if len(classes) < 2:
        return 0
    part = probabilities[np.ix_(known, classes)]
    part /= np.maximum(part.sum(1, keepdims=True), 1e-30)
    found = find_label_issues(np.searchsorted(classes, labels[known]), part, filter_by="prune_by_noise_rate", n_jobs=1)
    return int(found.sum())
