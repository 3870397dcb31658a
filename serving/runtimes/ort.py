"""A classifier in ONNX Runtime, on the CPU or by TensorRT. Imports neither torch nor MLflow, and never unpickles."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.artifact import ArtifactInvalid
from serving.classes import BATCH_SIZE, first_line, predict_classes, tokenizer_function
from serving.predictors import Predictions

TENSORRT = "TensorrtExecutionProvider"


def import_onnxruntime() -> Any:
    """Return the package `onnxruntime`, its telemetry switched off where the user has not decided: it names the device.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the package is first imported
    import onnxruntime

    return onnxruntime


def open_session(folder: Path, manifest: dict[str, Any], threads: int | None = None, trace_prefix: str = "") -> Any:
    """Return the ONNX Runtime session that serves an artifact; with a `trace_prefix` it writes a trace of every run.

    Raises:
        ArtifactInvalid: ONNX Runtime or what the artifact's runtime needs is not installed, or the file is no model.
    """
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise ArtifactInvalid(f"{folder}: needs ONNX Runtime; `pip install onnxruntime` ({error})") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not steal the CPU
    if threads is not None:
        options.intra_op_num_threads = threads
    if trace_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = trace_prefix
    path = Path(folder) / manifest["onnx"]
    providers = _providers(folder, manifest, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its exceptions share no other class
        raise ArtifactInvalid(f"{path}: ONNX Runtime cannot open it ({first_line(error)}); build it again") from error
    if manifest.get("runtime") == "tensorrt" and TENSORRT not in session.get_providers():
        raise ArtifactInvalid(f"{folder}: TensorRT does not start here; install it with a driver and GPU that it takes")
    return session


def _providers(folder: Path, manifest: dict[str, Any], available: Sequence[str]) -> list[Any]:
    if manifest.get("runtime") != "tensorrt":
        return ["CPUExecutionProvider"]
    if TENSORRT not in available:
        raise ArtifactInvalid(
            f"{folder}: runtime 'tensorrt' needs an NVIDIA GPU and `pip install onnxruntime-gpu tensorrt`; "
            f"this ONNX Runtime has {', '.join(available)}"
        )
    return [(TENSORRT, tensorrt_options(manifest)), "CUDAExecutionProvider", "CPUExecutionProvider"]


def tensorrt_options(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return TensorRT's options: its precision, and the shapes of one engine, lest each new length build its own."""
    longest, names = manifest["max_length"], manifest["inputs"]
    shapes = {"min": (1, 1), "opt": (1, min(32, longest)), "max": (BATCH_SIZE, longest)}
    return {
        "trt_fp16_enable": manifest.get("precision") == "fp16",
        **{
            f"trt_profile_{kind}_shapes": ",".join(f"{name}:{batch}x{tokens}" for name in names)
            for kind, (batch, tokens) in shapes.items()
        },
    }


class OnnxPredictor:
    """A text classifier in ONNX Runtime: tokenizer, session and label list. Threads may share it."""

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int | None = None) -> None:
        self._labels: list[str] = manifest["labels"]
        self._tokenize = tokenizer_function(folder, manifest["max_length"])
        self._session = open_session(folder, manifest, threads)
        self._inputs = [node.name for node in self._session.get_inputs()]

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the most probable label of each text with its probability."""
        return predict_classes(texts, self._labels, self._tokenize, self._logits)

    def _logits(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        feed = {name: batch[name] for name in self._inputs}
        logits: np.ndarray = self._session.run(["logits"], feed)[0]
        return logits  # [batch, labels]
