"""Whether a model in its new form answers as it did, row by row. Exports nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.predictors import Predictions, Predictor
from tasks.compress.material import Material
from tasks.errors import ModelError

ODD_TEXTS = ("", "a", "two words", "A longer sentence, with punctuation; it has twelve words in all.", "a " * 100)
ROWS = 256  # of the material that are compared at most
ALONE = 8  # of the last texts, the odd ones, that are asked one by one too: runtimes have other graphs for that


@dataclass(frozen=True)
class Parity:
    """How far two models' answers are apart on the same rows."""

    difference: float  # the largest of any probability; of the confidences, where there are no probabilities
    changed: float  # share of the rows whose answer changed
    row: int  # where the difference is largest, from 0
    answers: tuple[str, str]  # that row's, before and after

    def as_notes(self) -> dict[str, float]:
        """Return the figures that an artifact's manifest keeps."""
        return {"parity": self.difference, "answers_changed": self.changed}


def parity_texts(material: Material) -> list[str]:
    """Return the texts to compare on: the first of `valid`, then of `train`, and a few odd ones."""
    real = [text for text, _ in [*material.valid[:ROWS], *material.train[:ROWS]]][:ROWS]
    return [*real, *ODD_TEXTS]


def measure_parity(before: Predictor, after: Predictor, texts: Sequence[str]) -> Parity:
    """Return how far the answers of `after` are from those of `before`, asked together and the last ones alone."""
    first, second = before.predict(texts), after.predict(texts)
    apart = _distances(first, second)
    for row in range(max(0, len(texts) - ALONE), len(texts)):
        same = before.predict([texts[row]])
        apart[row] = max(apart[row], _distances(same, after.predict([texts[row]]))[0])
    row = int(apart.argmax())
    changed = [one != other for one, other in zip(first.outputs, second.outputs, strict=True)]
    return Parity(float(apart[row]), float(np.mean(changed)), row, (first.outputs[row], second.outputs[row]))


def _distances(first: Predictions, second: Predictions) -> np.ndarray:
    """Return how far each text's answers are apart, [texts]; infinite where one is no number."""
    if first.probabilities is not None and second.probabilities is not None:
        apart = np.abs(first.probabilities - second.probabilities).max(axis=1)
    else:
        apart = np.abs(first.scores - second.scores)
    return np.where(np.isnan(apart), np.inf, apart)


def check_parity(parity: Parity, form: str, tolerance: float = math.inf) -> None:
    """Refuse an export, called `form`, with a row that is further from the model's than the tolerance, or no number.

    Raises:
        ModelError: it is.
    """
    if parity.difference < tolerance:
        return
    if math.isinf(parity.difference):
        raise ModelError(
            f"compress: the {form} export gives no number on row {parity.row}; this architecture needs another "
            "precision or another export"
        )
    before, after = parity.answers
    raise ModelError(
        f"compress: the {form} export differs from the model by {parity.difference:.2g} in probability on row "
        f"{parity.row} ({before!r} before, {after!r} after; at most {tolerance} is allowed); this architecture needs "
        "another export"
    )
