"""The OpenVINO export pass: a torch artifact becomes one that OpenVINO serves; int8 by NNCF on real rows."""

import contextlib
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from serving.runtimes.openvino_runtime import import_openvino
from tasks.artifacts import OF_THE_MODEL, seal
from tasks.compress.exporting.hardware import note_int8
from tasks.compress.exporting.onnx_export import TOLERANCES, open_torch, write_onnx
from tasks.compress.exporting.parity import check_parity, measure_parity, parity_texts
from tasks.compress.material import Material
from tasks.compress.methods import OpenVino
from tasks.compress.quantising.graphs import prepare
from tasks.compress.quantising.sensitivity import most_sensitive
from tasks.compress.quantising.source import Batch, calibration_texts, encode_batches
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.records import Candidate

log = logging.getLogger(__name__)


def export_openvino(method: OpenVino, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source as an OpenVINO artifact in `folder`, compared with it row by row.

    Its notes: `parity`, the largest difference of probabilities, and `answers_changed`, a share of the rows.

    Raises:
        ModelError: the source is no torch model, has an operator that ONNX lacks, answers differently in fp32, or
            there are too few rows to calibrate int8 on.
    """
    texts = calibration_texts("openvino int8", material, method.rows) if method.precision == "int8" else []
    origin, manifest = open_torch(source, "openvino", folder)
    exported = folder / "exported.onnx"
    write_onnx(origin, manifest, exported, fused=True)
    batches = encode_batches(folder, manifest, texts, manifest["inputs"]) if texts else []
    notes = _write(method, exported, folder / "model.xml", batches)
    exported.unlink()
    sealed = {name: manifest[name] for name in OF_THE_MODEL} | {"openvino": "model.xml", "precision": method.precision}
    parity = measure_parity(load(source), load(seal(folder, runtime="openvino", notes={}, **sealed)),
                            parity_texts(material))  # fmt: skip
    check_parity(parity, f"OpenVINO {method.precision}", TOLERANCES.get(method.precision, math.inf))
    log.info("openvino: %s, %.2f %% of the answers changed", method.precision, 100 * parity.changed)
    return seal(folder, runtime="openvino", notes=notes | parity.as_notes(), **sealed)


def _write(method: OpenVino, exported: Path, target: Path, batches: Sequence[Batch]) -> dict[str, float]:
    """Write the model in the precision asked for; return notes on it."""
    openvino = import_openvino()
    model = openvino.Core().read_model(exported)
    notes: dict[str, float] = {}
    if method.precision == "int8":
        kept, notes = _choose_float(method, exported, batches)
        model = _quantise(model, batches, kept)
        notes |= note_int8() | {"calibration_rows": float(sum(len(batch["input_ids"]) for batch in batches))}
    _name_by_order(model)
    openvino.save_model(model, target, compress_to_fp16=method.precision == "bf16")  # computed with in bf16
    return notes


def _name_by_order(model: Any) -> None:
    """Name what computes by its place, that equal models have equal files: OpenVINO counts through the whole process.

    NNCF's notes in the model, which nothing reads, hold names of before.
    """
    if "nncf" in model.rt_info:
        del model.rt_info["nncf"]
    for number, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        if kind not in ("Parameter", "Result"):
            node.set_friendly_name(f"{kind}_{number}")


def _choose_float(method: OpenVino, exported: Path, batches: Sequence[Batch]) -> tuple[list[str], dict[str, float]]:
    """Return the weights of the layers to leave in float, as ONNX Runtime's int8 measures them, and notes on it."""
    import onnx

    if not method.float_layers:
        return [], {}
    model = prepare(onnx.load(exported), split_attention=False)
    kept, notes = most_sensitive(model, batches, method.float_layers)
    return [node.input[1] for node in model.graph.node if node.name in kept], notes


def _quantise(model: Any, batches: Sequence[Batch], kept: Sequence[str]) -> Any:
    nncf = import_nncf()
    ignored = nncf.IgnoredScope(names=_products_with(model, kept), validate=False) if kept else None
    with contextlib.redirect_stdout(io.StringIO()):  # its bars are drawn there
        return nncf.quantize(
            model, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches),
            ignored_scope=ignored,
        )  # fmt: skip


def _products_with(model: Any, weights: Sequence[str]) -> list[str]:
    """Return the products of an OpenVINO model with the ONNX weights of these names: it gives the nodes other names."""
    found: dict[str, str] = {}
    for node in model.get_ops():
        if node.get_type_name() == "MatMul":
            factors = [node.input_value(side).get_node().get_friendly_name() for side in (0, 1)]
            found |= {node.get_friendly_name(): factor for factor in factors if factor in weights}
    lost = sorted(set(weights) - set(found.values()))
    if lost:
        raise ModelError(f"compress: openvino: the weights {', '.join(lost)} are not found again; set float_layers: 0")
    return list(found)


def import_nncf() -> ModuleType:
    """Return NNCF, imported so that it sends nothing anywhere, prints nothing and leaves the loggers alone."""
    import_openvino()  # hides the telemetry from both
    kind = logging.getLoggerClass()
    import nncf

    logging.setLoggerClass(kind)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own way changes handlers that others attached there too
    module: ModuleType = nncf
    return module
