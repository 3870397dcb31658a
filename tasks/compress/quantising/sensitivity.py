"""Which linear layers int8 harms most: each is quantised alone, and the answers compared. Keeps none of them in float."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serving.classes import softmax
from tasks.compress.exporting.sessions import open_model
from tasks.compress.quantising.graphs import linear_nodes
from tasks.compress.quantising.source import Batch
from tasks.progress import report_progress

ROWS = 64  # that sensitivity is measured on
TOLD = 5  # of the layers, in the log and the notes

log = logging.getLogger(__name__)


def most_sensitive(
    model: Any, batches: Sequence[Batch], quantise: Callable[[str], Any], count: int
) -> tuple[list[str], dict[str, float]]:
    """Return the names of the `count` layers that int8 harms most, and notes on the first five.

    A layer's harm is the mean Kullback-Leibler divergence of the answers, with it alone quantised, from the float
    model's; `quantise` returns the model with one layer quantised.
    """
    harm = measure_harm(model, batches, quantise)
    order = sorted(harm, key=lambda name: (-harm[name], name))
    for name in order[:TOLD]:
        log.info("sensitivity: %s changes the answers by %.3g nats in int8", name, harm[name])
    return order[:count], {f"harm_{name}": round(harm[name], 9) for name in order[:TOLD]}


def measure_harm(model: Any, batches: Sequence[Batch], quantise: Callable[[str], Any]) -> dict[str, float]:
    """Return by layer the mean divergence, in nats, that quantising it alone makes."""
    names = linear_nodes(model)
    right = _answers(model, batches)
    harm = {}
    for done, name in enumerate(names):
        report_progress("measuring which layers int8 harms", done, len(names))
        harm[name] = mean_divergence(right, _answers(quantise(name), batches))
    report_progress("measuring which layers int8 harms", len(names), len(names))
    return harm


def mean_divergence(right: np.ndarray, other: np.ndarray) -> float:
    """Return the mean Kullback-Leibler divergence of rows of probabilities, both [rows, labels], in nats."""
    tiny = np.finfo(np.float32).tiny
    return float((right * (np.log(right + tiny) - np.log(other + tiny))).sum(axis=1).mean())


def _answers(model: Any, batches: Sequence[Batch]) -> np.ndarray:
    session = open_model(model)
    return np.concatenate([softmax(session.run(None, batch)[0].astype(np.float64)) for batch in batches])
