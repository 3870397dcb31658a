"""Opening any candidate in the runtime that its manifest names."""

from serving.predictors import OnnxPredictor, Predictor
from tasks.artifacts import open_artifact
from tasks.records import Candidate


def load(candidate: Candidate, threads: int | None = None) -> Predictor:
    """Return a ready predictor; `threads` pins its worker threads.

    Raises:
        ArtifactError: the artifact is missing or changed.
    """
    folder, manifest = open_artifact(candidate)
    if manifest["runtime"] == "torch":
        from tasks.train.model import TorchPredictor

        return TorchPredictor(folder, manifest, threads)
    return OnnxPredictor(folder, manifest, threads)
