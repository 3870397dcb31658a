"""Dynamic int8 of an ONNX model: weights per channel, activations as they come."""

import logging
import shutil
from pathlib import Path

from tasks.artifacts import open_artifact, seal_onnx
from tasks.compress.material import Material
from tasks.compress.methods import Int8Dynamic
from tasks.errors import ModelError
from tasks.records import Candidate


def quantise_dynamic(method: Int8Dynamic, source: Candidate, folder: Path, material: Material) -> Candidate:
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
