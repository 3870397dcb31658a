"""What every runtime offers: texts in, outputs and confidences out. Runs no model; the runtimes are beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """What a predictor answers: one output and one confidence for each text, in the order of the texts."""

    outputs: list[str]
    scores: np.ndarray  # [texts] float32, confidence in [0, 1]
    probabilities: np.ndarray | None = None  # [texts, labels] float32, for a classifier


class Predictor(Protocol):
    """Texts in, outputs out: what every runtime offers."""

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return one output per text; an empty list of texts gives empty predictions."""
        ...
