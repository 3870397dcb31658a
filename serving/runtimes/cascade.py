"""A cascade: a cheap first stage answers what it is sure of, the model behind it all the rest. Chooses no threshold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.artifact import ArtifactInvalid
from serving.predictors import Predictions, Predictor
from serving.runtimes.ngrams import NgramStage

FIRST = "first"  # the folder of the first stage


class CascadePredictor:
    """A first stage of n-grams before any predictor of the same labels, which may be a cascade itself."""

    def __init__(self, folder: Path, manifest: dict[str, Any], rest: Predictor) -> None:
        self._labels: list[str] = manifest["labels"]
        threshold = manifest.get("threshold")
        if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not 0 <= threshold <= 1:
            raise ArtifactInvalid(f"{folder}: expected a threshold between 0 and 1, got {threshold!r}; build it again")
        self.threshold = float(threshold)
        self.first = NgramStage(Path(folder) / FIRST, len(self._labels))
        self.rest = rest

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the most probable label of each text with its probability; the rest answers in one call."""
        if len(texts) == 1:
            best, confidence, probabilities = self.first.judge(texts[0])
            if not confidence >= self.threshold:
                return self.rest.predict(texts)
            return Predictions([self._labels[best]], np.array([confidence], np.float32), probabilities[None])
        labels, confidences, probabilities = self.first.answers(texts)
        outputs = [self._labels[label] for label in labels]
        left = np.flatnonzero(~(confidences >= self.threshold)).tolist()  # in float64, as one text alone is judged
        scores = confidences.astype(np.float32)
        if left:
            answered = self.rest.predict([texts[row] for row in left])
            for row, output in zip(left, answered.outputs, strict=True):
                outputs[row] = output
            scores[left], probabilities[left] = answered.scores, answered.probabilities
        return Predictions(outputs, scores, probabilities)

    def stages_of(self, texts: Sequence[str]) -> list[int]:
        """Return which stage answers each text: 0 the first, 1 what is behind it, 2 behind that, and so on."""
        stages = [0 if self.first.answer(text)[1] >= self.threshold else 1 for text in texts]
        if isinstance(self.rest, CascadePredictor):
            left = [row for row, stage in enumerate(stages) if stage]
            for row, stage in zip(left, self.rest.stages_of([texts[row] for row in left]), strict=True):
                stages[row] += stage
        return stages
