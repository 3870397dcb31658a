"""Multinomial logistic regression on rows of n-gram features, towards soft targets: another model's probabilities.

The loss is the sum over the rows of the cross-entropy, plus |weights|^2 / (2 C), minimised by L-BFGS (Liu and Nocedal
1989), PyTorch's, which works in float32. Chooses neither features nor rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from tasks.compress.cascading.features import TextRows

CORRECTIONS = 6  # of the inverse Hessian that L-BFGS keeps
Watch = Callable[[int], None]  # is told how often the loss was computed


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


def fit(rows: TextRows, targets: np.ndarray, strength: float, steps: int, watch: Watch | None = None) -> Linear:
    """Return the model after at most `steps` steps from zero.

    Args:
        rows: what it learns from.
        targets: [texts, labels] float32, probabilities.
        strength: the C of the loss: the larger, the less the weights are held back.
        steps: of L-BFGS; fewer hold the weights back too.
        watch: is called each time that the loss was computed.
    """
    features, labels = rows.spelling.shape[1] + rows.pairs.shape[1], targets.shape[1]
    weights, bias = torch.zeros(features, labels), torch.zeros(labels)
    model = Linear(weights.numpy(), bias.numpy())  # the same memory
    transposed = (rows.tokens.T.tocsr(), rows.spelling.T.tocsr(), rows.pairs.T.tocsr())
    computed = 0

    def closure() -> torch.Tensor:
        nonlocal computed
        computed += 1
        if watch is not None:
            watch(computed)
        loss, slopes = _loss(model, rows, targets)
        pull = _pull(transposed, rows.scale * slopes) + model.weights / strength
        weights.grad, bias.grad = torch.from_numpy(pull / len(targets)), torch.from_numpy(slopes.sum(0) / len(targets))
        held = float(np.vdot(model.weights, model.weights)) / (2 * strength)
        return torch.tensor((loss + held) / len(targets))

    optimiser = torch.optim.LBFGS(
        [weights, bias], max_iter=steps, history_size=CORRECTIONS, line_search_fn="strong_wolfe", tolerance_grad=1e-7
    )
    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return model


def cross_entropy(model: Linear, rows: TextRows, targets: np.ndarray) -> float:
    """Return the mean cross-entropy of the model's probabilities to the targets, [texts, labels]; in nats."""
    return _loss(model, rows, targets)[0] / len(targets)


def _loss(model: Linear, rows: TextRows, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the summed cross-entropy and its slopes by the logits, [texts, labels]."""
    logs = logits(model, rows)
    logs -= logs.max(axis=1, keepdims=True)
    slopes = np.exp(logs)
    totals = slopes.sum(axis=1, keepdims=True)
    logs -= np.log(totals)
    slopes /= totals
    slopes -= targets
    return -float(np.vdot(targets, logs)), slopes


def _pull(transposed: tuple[csr_matrix, csr_matrix, csr_matrix], slopes: np.ndarray) -> np.ndarray:
    """Return the gradient by the weights, [features, labels], of slopes by the texts' scaled sums."""
    tokens, spelling, pairs = transposed
    return np.concatenate([spelling @ (tokens @ slopes), pairs @ slopes])
