"""Opening any candidate in the runtime that its manifest names."""

from serving.artifact import ArtifactInvalid
from serving.loading import open_predictor
from serving.predictors import Predictor
from tasks.artifacts import open_artifact
from tasks.errors import ArtifactError
from tasks.records import Candidate


def load(candidate: Candidate, threads: int | None = None) -> Predictor:
    """Return a ready predictor; `threads` pins its worker threads.

    Raises:
        ArtifactError: the artifact is missing or changed, or its runtime cannot open it.
    """
    folder, manifest = open_artifact(candidate)
    if manifest["runtime"] == "torch":
        from tasks.train.model import TorchPredictor

        return TorchPredictor(folder, manifest, threads)
    try:
        return open_predictor(folder, manifest, threads)
    except ArtifactInvalid as error:
        raise ArtifactError(str(error)) from error
