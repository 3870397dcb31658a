"""The TensorRT export pass: the model as ONNX, which TensorRT builds its engine from where it serves. Builds none."""

import logging
from pathlib import Path

from serving.runtimes.ort import TENSORRT, import_onnxruntime
from tasks.artifacts import OF_THE_MODEL, seal
from tasks.compress.exporting.onnx_export import TOLERANCES, open_torch, write_onnx
from tasks.compress.exporting.parity import check_parity, measure_parity, parity_texts
from tasks.compress.material import Material
from tasks.compress.methods import TensorRt
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.records import Candidate

log = logging.getLogger(__name__)


def export_tensorrt(method: TensorRt, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source as an artifact that TensorRT serves, compared with it row by row in TensorRT.

    Raises:
        ModelError: TensorRT is not there, the source is no torch model, or the export answers differently.
    """
    offered = import_onnxruntime().get_available_providers()
    if TENSORRT not in offered:
        raise ModelError(
            f"compress: tensorrt needs an ONNX Runtime with {TENSORRT}; this one has "
            f"{', '.join(offered)}; on a machine with an NVIDIA GPU install `onnxruntime-gpu` and "
            "`tensorrt` in place of `onnxruntime`, or use the pass `onnx` or `openvino`"
        )
    origin, manifest = open_torch(source, "tensorrt", folder)
    write_onnx(origin, manifest, folder / "model.onnx", fused=False)  # TensorRT narrows the weights itself
    model = {name: manifest[name] for name in OF_THE_MODEL} | {"onnx": "model.onnx", "precision": method.precision}
    made = seal(folder, runtime="tensorrt", notes={}, **model)
    parity = measure_parity(load(source), load(made), parity_texts(material))
    check_parity(parity, "TensorRT", TOLERANCES[method.precision])
    log.info("tensorrt: %s, differs by %.2g in probability at most", method.precision, parity.difference)
    return seal(folder, runtime="tensorrt", notes=parity.as_notes(), **model)
