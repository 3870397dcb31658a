"""Opening ONNX models that a pass works on, with clear errors for those that ONNX Runtime refuses. Serves nothing."""

from pathlib import Path
from typing import Any

from serving.classes import first_line
from serving.runtimes.ort import import_onnxruntime
from tasks.errors import ModelError

SAID = 300  # characters of what ONNX Runtime says of an error


def open_model(model: Any, threads: int | None = None) -> Any:
    """Return an ONNX Runtime session on the CPU over a model: an `onnx.ModelProto`, or the path of a file.

    Raises:
        ModelError: ONNX Runtime cannot open it.
    """
    onnxruntime = import_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not steal the CPU
    if threads is not None:
        options.intra_op_num_threads = threads
    given = str(model) if isinstance(model, str | Path) else model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.InvalidArgument, errors.NotImplemented,
            errors.RuntimeException) as error:  # fmt: skip
        raise ModelError(f"expected a model that ONNX Runtime opens; {first_line(error)[:SAID]}") from error


def read_model(path: Path) -> Any:
    """Return the `onnx.ModelProto` of a file that ONNX Runtime opens.

    Raises:
        ModelError: the file is damaged.
    """
    import onnx

    try:
        open_model(path)
    except ModelError as error:
        raise ModelError(f"compress: {path}: {error}; delete {path.parent} and run again") from error
    return onnx.load(path)
