"""Opening an artifact in the runtime that its manifest names, without torch."""

from pathlib import Path
from typing import Any

from serving.artifact import ArtifactInvalid, read_manifest
from serving.predictors import Predictor


def load_predictor(folder: Path, threads: int | None = None) -> Predictor:
    """Return a ready predictor for an artifact whose runtime needs no torch.

    Raises:
        ArtifactInvalid: the folder is no intact artifact, or its runtime is not one that this room can run.
    """
    return open_predictor(folder, read_manifest(folder), threads)


def open_predictor(folder: Path, manifest: dict[str, Any], threads: int | None = None) -> Predictor:
    """Return a ready predictor for an artifact whose manifest was checked; `threads` pins its worker threads.

    Raises:
        ArtifactInvalid: its runtime is not one that this room can run.
    """
    if manifest.get("runtime") != "onnx" or "onnx" not in manifest:
        raise ArtifactInvalid(f"{folder}: runtime {manifest.get('runtime')!r} has no ONNX form; serve one that has")
    from serving.runtimes.ort import OnnxPredictor

    return OnnxPredictor(folder, manifest, threads)
