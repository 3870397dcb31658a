"""A classifier in ONNX Runtime on the CPU. Imports neither torch nor MLflow, and never unpickles anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.classes import predict_classes, tokenizer_function
from serving.predictors import Predictions


def open_session(folder: Path, manifest: dict[str, Any], threads: int | None = None, trace_prefix: str = "") -> Any:
    """Return the ONNX Runtime session that serves an artifact; with a `trace_prefix` it writes a trace of every run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not steal the CPU
    if threads is not None:
        options.intra_op_num_threads = threads
    if trace_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = trace_prefix
    return onnxruntime.InferenceSession(
        str(Path(folder) / manifest["onnx"]), options, providers=["CPUExecutionProvider"]
    )


class OnnxPredictor:
    """A text classifier in ONNX Runtime on the CPU: tokenizer, session and label list."""

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
