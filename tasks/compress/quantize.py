"""Quantisation passes. Here: dynamic int8 of an ONNX model."""

import logging
import shutil
from pathlib import Path
from typing import Literal

from pydantic.dataclasses import dataclass

from tasks.artifacts import open_artifact, seal_onnx
from tasks.errors import ModelError
from tasks.records import Candidate


@dataclass(frozen=True, config={"extra": "forbid"})
class Int8Dynamic:
    """Weights to int8 per channel, activations quantised as they come. Legal on an ONNX artifact only.

    `reduce_range` uses 7 bits: set it for CPUs without VNNI, whose 8-bit products saturate.
    """

    kind: Literal["int8"] = "int8"
    reduce_range: bool = False


def quantize_int8(method: Int8Dynamic, source: Candidate, folder: Path) -> Candidate:
    """Return the source with int8 weights as an artifact in `folder`.

    Raises:
        ModelError: the source is no float ONNX model.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    origin, manifest = open_artifact(source)
    if manifest["runtime"] != "onnx" or manifest.get("weights") == "int8":
        raise ModelError("compress: int8 needs a float ONNX model; put the pass `onnx` before it, and int8 only once")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(origin / "tokenizer.json", folder)
    prepared = folder / "prepared.onnx"
    logging.getLogger().addFilter(_not_advice)
    try:
        quant_pre_process(str(origin / manifest["onnx"]), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        del model.graph.value_info[:]  # the quantiser transposes weights, which makes the recorded shapes wrong
        quantize_dynamic(
            model, str(folder / "model.onnx"), per_channel=True, weight_type=QuantType.QInt8,
            reduce_range=method.reduce_range,
        )  # fmt: skip
    finally:
        logging.getLogger().removeFilter(_not_advice)
        prepared.unlink(missing_ok=True)
    return seal_onnx(folder, manifest, weights="int8")


def _not_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()
