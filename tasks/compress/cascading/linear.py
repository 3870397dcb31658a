"""Multinomial logistic regression on rows of n-gram features, towards soft targets: another model's probabilities.

Minimises the mean cross-entropy plus the squared weights, by L-BFGS (Liu and Nocedal 1989), from the last solution where
there is one. Chooses neither features nor rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from tasks.compress.cascading.features import TextRows

CORRECTIONS = 6  # of the inverse Hessian that L-BFGS keeps


@dataclass(frozen=True)
class Linear:
    """Weights of the features, [features, labels], and the labels' biases, [labels]; float32."""

    weights: np.ndarray
    bias: np.ndarray


def logits(model: Linear, rows: TextRows) -> np.ndarray:
    """Return each text's logits, [texts, labels] float32."""
    inside = rows.spelling.shape[1]
    added = rows.tokens @ (rows.spelling @ model.weights[:inside]) + rows.pairs @ model.weights[inside:]
    found: np.ndarray = rows.scale * added + model.bias
    return found


def fit(rows: TextRows, targets: np.ndarray, strength: float, steps: int, start: Linear | None = None) -> Linear:
    """Return the model after at most `steps` steps towards `targets`, [texts, labels] probabilities.

    `strength` is C: the loss is the sum over the rows of the cross-entropy plus |weights|^2 / (2 C).
    """
    features, labels = rows.spelling.shape[1] + rows.pairs.shape[1], targets.shape[1]
    transposed = _transpose(rows)
    start = start or Linear(np.zeros((features, labels), np.float32), np.zeros(labels, np.float32))

    def unpack(flat: np.ndarray) -> Linear:
        narrow = flat.astype(np.float32)
        return Linear(narrow[:-labels].reshape(features, labels), narrow[-labels:])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        model = unpack(flat)
        shifted = logits(model, rows)
        shifted -= shifted.max(axis=1, keepdims=True)
        odds = np.exp(shifted)
        totals = odds.sum(axis=1, keepdims=True)
        shifted -= np.log(totals)
        value = -float(np.vdot(targets, shifted)) + float(np.vdot(model.weights, model.weights)) / (2 * strength)
        slope = np.divide(odds, totals, out=odds) - targets
        gradient = np.empty(len(flat))
        gradient[:-labels] = (_pull(transposed, rows.scale * slope) + model.weights / strength).ravel()
        gradient[-labels:] = slope.sum(axis=0)
        return value / len(targets), gradient / len(targets)

    found = minimize(
        loss, np.concatenate([start.weights.ravel(), start.bias]).astype(np.float64), jac=True, method="L-BFGS-B",
        options={"maxiter": steps, "maxcor": CORRECTIONS},
    )  # fmt: skip
    return unpack(found.x)


def _transpose(rows: TextRows) -> tuple[csr_matrix, csr_matrix, csr_matrix]:
    return rows.tokens.T.tocsr(), rows.spelling.T.tocsr(), rows.pairs.T.tocsr()


def _pull(transposed: tuple[csr_matrix, csr_matrix, csr_matrix], slope: np.ndarray) -> np.ndarray:
    """Return the gradient of the weights, [features, labels], for the slopes of the texts' sums."""
    tokens, spelling, pairs = transposed
    return np.concatenate([spelling @ (tokens @ slope), pairs @ slope])
