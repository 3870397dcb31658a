"""The ONNX export pass: a torch artifact becomes one that ONNX Runtime serves, checked against the original."""

import logging
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.classes import first_line
from serving.runtimes.ort import OnnxPredictor, import_onnxruntime
from tasks.artifacts import onnx_manifest, open_artifact, seal_onnx
from tasks.compress.exporting.fusing import fuse_graph
from tasks.compress.exporting.parity import check_parity, measure_parity, parity_texts
from tasks.compress.material import Material
from tasks.compress.methods import Onnx
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.records import Candidate

if TYPE_CHECKING:
    from tasks.train.model import EncoderClassifier

PARITY_TOLERANCE = 1e-3
TOLERANCES = {"fp32": PARITY_TOLERANCE, "fp16": 3e-2}  # of a probability, by precision: fp16 has 11 bits

log = logging.getLogger(__name__)


def export_onnx(method: Onnx, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source as an ONNX artifact in `folder`, compared with it row by row.

    Its notes: `parity`, the largest difference of probabilities, and `answers_changed`, a share of the rows.

    Raises:
        ModelError: the source is no torch model, has an operator that ONNX lacks, or the export answers differently.
    """
    origin, manifest = open_torch(source, "onnx", folder)
    write_onnx(origin, manifest, folder / "model.onnx", fused=True, precision=method.precision)
    parity = measure_parity(load(source), OnnxPredictor(folder, onnx_manifest(manifest)), parity_texts(material))
    check_parity(parity, "ONNX", TOLERANCES[method.precision])
    log.info("onnx: %s, differs by %.2g in probability at most", method.precision, parity.difference)
    weights = {} if method.precision == "fp32" else {"weights": method.precision}
    return seal_onnx(folder, manifest, parity.as_notes(), **weights)


def open_torch(source: Candidate, kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder and manifest of a torch model, for an export `kind` into `folder`, which has its tokenizer now.

    Raises:
        ModelError: the source is no torch model.
    """
    origin, manifest = open_artifact(source)
    if manifest["runtime"] != "torch":
        raise ModelError(f"compress: {kind} needs a torch model, not {manifest['runtime']!r}; make it the first export")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(origin / "tokenizer.json", folder)
    return origin, manifest


def write_onnx(origin: Path, manifest: dict[str, Any], target: Path, *, fused: bool, precision: str = "fp32") -> None:
    """Write the model of a torch artifact as ONNX; `fused` is for ONNX Runtime on a CPU, others know their own ways.

    Raises:
        ModelError: it has an operator that ONNX lacks.
    """
    import onnx

    _export(origin, manifest, target)
    model = onnx.load(target)
    if fused:
        model = fuse_graph(model, manifest["max_length"])
    if precision == "fp16":
        model = _to_fp16(model)
    _forget_origin(model)
    onnx.save(model, target)


def _forget_origin(model: Any) -> None:
    """Take out which line of which file each node comes from: paths of this machine, larger than a small model."""
    for node in model.graph.node:
        del node.metadata_props[:]


def _to_fp16(model: Any) -> Any:
    """Return the model with fp16 weights; it takes and gives what it did."""
    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of every weight that fp16 rounds to zero
        return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=False)


def _export(origin: Path, manifest: dict[str, Any], target: Path) -> None:
    from torch.onnx.errors import OnnxExporterError

    from tasks.train.bases.families import ENCODER_HALVES
    from tasks.train.model import load_artifact

    model = load_artifact(origin, manifest)
    if model.config.model_type in ENCODER_HALVES:
        model.encoder.set_attn_implementation("eager")  # the fused form with T5's position bias does not export
    try:
        write_module(model, manifest["inputs"], target)
    except (OnnxExporterError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"compress: this model does not export to ONNX ({_reason(error)}); drop the passes `onnx`, `openvino` and "
            "`tensorrt`, or replace that operator"
        ) from error


def _reason(error: BaseException) -> str:
    """Return the innermost cause of a failed export in one line: the exporter wraps what names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)[:200]


def write_module(model: "EncoderClassifier", names: list[str], target: Path) -> None:
    """Write a module that takes int64 arrays of these names, [texts, tokens], and gives `logits`."""
    import torch
    from torch.export import Dim

    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in names}
    axes = {name: {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for name in names}
    for name in ("torch.onnx", "onnxscript", "torch.fx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        torch.onnx.export(
            model, (), str(target), kwargs=example, dynamo=True, verbose=False, dynamic_shapes=axes, input_names=names,
            output_names=["logits"], external_data=False,
        )  # fmt: skip
