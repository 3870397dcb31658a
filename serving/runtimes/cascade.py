"""A cascade: a cheap first stage answers what it is sure of, the model behind it all the rest. Chooses no threshold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving.artifact import ArtifactInvalid
from serving.predictors import Predictions, Predictor


class FirstStage(Protocol):
    """What a cascade asks first: n-grams (`serving.runtimes.ngrams.NgramStage`) or a model (`ModelStage`)."""

    def judge(self, text: str) -> tuple[int, float, np.ndarray]:
        """Return the index of the most probable label, the confidence in it and the probabilities `[labels]`."""
        ...

    def answers(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices `[texts]`, confidences `[texts]` float64 and probabilities `[texts, labels]` of many texts."""
        ...


class ModelStage:
    """Any served classifier as a first stage; its confidence is its largest probability."""

    def __init__(self, model: Predictor) -> None:
        self.model = model

    def judge(self, text: str) -> tuple[int, float, np.ndarray]:
        """Return the index of the most probable label, its probability and all probabilities `[labels]` float32."""
        best, confidences, probabilities = self.answers([text])
        return int(best[0]), float(confidences[0]), probabilities[0]

    def answers(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices `[texts]`, confidences `[texts]` float64 and probabilities `[texts, labels]`, in one call."""
        found = self.model.predict(texts)
        assert found.probabilities is not None  # it classifies
        return found.probabilities.argmax(axis=1), found.scores.astype(np.float64), found.probabilities


class CascadePredictor:
    """A first stage before any predictor of the same labels, which may be a cascade itself."""

    def __init__(self, folder: Path, manifest: dict[str, Any], rest: Predictor, first: FirstStage) -> None:
        self._labels: list[str] = manifest["labels"]
        threshold = manifest.get("threshold")
        if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not 0 <= threshold <= 1:
            raise ArtifactInvalid(f"{folder}: expected a threshold between 0 and 1, got {threshold!r}; build it again")
        self.threshold = float(threshold)
        self.first = first
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
        stages = [0 if confidence >= self.threshold else 1 for confidence in self.first.answers(texts)[1]]
        if isinstance(self.rest, CascadePredictor):
            left = [row for row, stage in enumerate(stages) if stage]
            for row, stage in zip(left, self.rest.stages_of([texts[row] for row in left]), strict=True):
                stages[row] += stage
        return stages
