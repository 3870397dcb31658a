"""Whether a model in its new form answers as it did, row by row. Exports nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.predictors import Predictor
from tasks.compress.material import Material
from tasks.errors import ModelError

ODD_TEXTS = ("", "a", "two words", "A longer sentence, with punctuation; it has twelve words in all.", "a " * 100)
ROWS = 256  # of the material that are compared at most


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
    """Return how far the answers of `after` are from those of `before`."""
    first, second = before.predict(texts), after.predict(texts)
    if first.probabilities is not None and second.probabilities is not None:
        apart = np.abs(first.probabilities - second.probabilities).max(axis=1)  # [texts]
    else:
        apart = np.abs(first.scores - second.scores)
    apart = np.where(np.isnan(apart), np.inf, apart)
    row = int(apart.argmax())
    changed = [one != other for one, other in zip(first.outputs, second.outputs, strict=True)]
    return Parity(float(apart[row]), float(np.mean(changed)), row, (first.outputs[row], second.outputs[row]))


def check_parity(parity: Parity, form: str, tolerance: float) -> None:
    """Refuse an export, called `form`, with a row that is further from the model's than the tolerance.

    Raises:
        ModelError: it is.
    """
    if parity.difference < tolerance:
        return
    before, after = parity.answers
    raise ModelError(
        f"compress: the {form} export differs from the model by {parity.difference:.2g} in probability on row "
        f"{parity.row} ({before!r} before, {after!r} after; at most {tolerance} is allowed); this architecture needs "
        "another export"
    )
