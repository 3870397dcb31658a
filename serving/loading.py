"""Opening an artifact in the runtime that its manifest names, without torch."""

import json
from pathlib import Path
from typing import Any

from serving.artifact import MANIFEST, REST, ArtifactInvalid, read_manifest
from serving.predictors import Predictor

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

        rest = Path(folder) / REST
        behind = json.loads((rest / MANIFEST).read_text("utf-8"))  # which was checked with the whole
        return CascadePredictor(folder, manifest, open_predictor(rest, behind, threads))
    if runtime == "openvino":
        from serving.runtimes.openvino_runtime import OpenVinoPredictor

        return OpenVinoPredictor(folder, manifest, threads)
    from serving.runtimes.ort import OnnxPredictor

    return OnnxPredictor(folder, manifest, threads)
