"""The ONNX export pass: a torch artifact becomes one that ONNX Runtime serves, checked against the original."""

import logging
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.predictors import Predictor
from serving.runtimes.ort import OnnxPredictor
from tasks.artifacts import onnx_manifest, open_artifact, seal_onnx
from tasks.compress.material import Material
from tasks.compress.methods import Onnx
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.records import Candidate

if TYPE_CHECKING:
    from tasks.train.model import EncoderClassifier

PARITY_TEXTS = ["a", "two words", "A longer sentence, with punctuation; it has twelve words in all.", "a " * 100]
PARITY_TOLERANCE = 1e-3


def export_onnx(method: Onnx, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source as an ONNX artifact in `folder`; its note `parity` is the largest difference of probabilities.

    Raises:
        ModelError: the source is no torch model, has an operator that ONNX lacks, or the export answers differently.
    """
    origin, manifest = open_artifact(source)
    if manifest["runtime"] != "torch":
        raise ModelError(f"compress: onnx needs a torch model, not {manifest['runtime']!r}; make it the first pass")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(origin / "tokenizer.json", folder)
    _export(origin, manifest, folder / "model.onnx")
    difference = _largest_difference(load(source), OnnxPredictor(folder, onnx_manifest(manifest)))
    if not difference < PARITY_TOLERANCE:
        raise ModelError(
            f"compress: the ONNX export differs from the model by {difference:.2g} in probability "
            f"(at most {PARITY_TOLERANCE} is allowed); this architecture needs another export"
        )
    return seal_onnx(folder, manifest, {"parity": difference})


def _export(origin: Path, manifest: dict[str, Any], target: Path) -> None:
    from torch.onnx.errors import OnnxExporterError

    from tasks.train.bases.families import ENCODER_HALVES
    from tasks.train.model import load_artifact

    model = load_artifact(origin, manifest)
    if model.config.model_type in ENCODER_HALVES:
        model.encoder.set_attn_implementation("eager")  # the fused form with T5's position bias does not export
    try:
        _write(model, manifest["inputs"], target)
    except (OnnxExporterError, RuntimeError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"compress: this model does not export to ONNX ({first_line}); drop the pass `onnx`"
        ) from error


def _write(model: "EncoderClassifier", names: list[str], target: Path) -> None:
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


def _largest_difference(source: Predictor, exported: Predictor) -> float:
    before, after = (predictor.predict(PARITY_TEXTS).probabilities for predictor in (source, exported))
    assert before is not None and after is not None
    return float(np.abs(before - after).max())
