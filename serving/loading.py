"""Opening an artifact in the runtime that its manifest names, without torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.artifact import FIRST, MANIFEST, REST, ArtifactInvalid, has_model_first, read_manifest
from serving.predictors import Predictor

if TYPE_CHECKING:
    from serving.runtimes.cascade import FirstStage

RUNTIMES = {"onnx": "onnx", "tensorrt": "onnx", "openvino": "openvino", "cascade": "threshold"}  # and the key it needs


def load_predictor(folder: Path, threads: int | None = None) -> Predictor:
    """Return a ready predictor for an artifact whose runtime needs no torch.

    Raises:
        ArtifactInvalid: the folder is no intact artifact, or its runtime is not one that this room can run.
    """
    return open_predictor(folder, read_manifest(folder), threads)


def open_predictor(folder: Path, manifest: dict[str, Any], threads: int | None = None) -> Predictor:
    """Return a ready predictor for an artifact whose manifest was checked; `threads` pins its worker threads.

    Raises:
        ArtifactInvalid: its runtime is not one that this room can run or not installed, or a file is no model.
    """
    runtime = manifest.get("runtime")
    if runtime not in RUNTIMES:
        raise ArtifactInvalid(
            f"{folder}: runtime {runtime!r} is not served; export it to one of {', '.join(sorted(RUNTIMES))}"
        )
    if RUNTIMES[runtime] not in manifest:
        raise ArtifactInvalid(
            f"{folder}: a manifest of runtime {runtime!r} names {RUNTIMES[runtime]!r}; build it again"
        )
    if runtime == "cascade":
        from serving.runtimes.cascade import CascadePredictor

        rest = _open_part(Path(folder) / REST, threads)[0]
        return CascadePredictor(folder, manifest, rest, open_first(folder, manifest, threads))
    if runtime == "openvino":
        from serving.runtimes.openvino_runtime import OpenVinoPredictor

        return OpenVinoPredictor(folder, manifest, threads)
    from serving.runtimes.ort import OnnxPredictor

    return OnnxPredictor(folder, manifest, threads)


def open_first(folder: Path, manifest: dict[str, Any], threads: int | None = None) -> "FirstStage":
    """Return the first stage of the cascade with this checked manifest, ready to judge.

    Raises:
        ArtifactInvalid: a file does not fit, or it is a model that cannot be opened here or has other labels.
    """
    if not has_model_first(manifest):
        from serving.runtimes.ngrams import NgramStage

        return NgramStage(Path(folder) / FIRST, len(manifest["labels"]))
    from serving.runtimes.cascade import ModelStage

    model, labels = _open_part(Path(folder) / FIRST, threads)
    if labels != manifest["labels"]:
        raise ArtifactInvalid(f"{Path(folder) / FIRST}: its labels are not those of the cascade; build it again")
    return ModelStage(model)


def _open_part(folder: Path, threads: int | None) -> tuple[Predictor, list[str]]:
    """Return the model in a cascade's folder, whose manifest was checked with the whole, and its labels."""
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    return open_predictor(folder, manifest, threads), manifest.get("labels", [])
