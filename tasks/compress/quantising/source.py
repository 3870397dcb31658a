"""What every quantising pass begins and ends with: a float ONNX model, real rows, the sealed outcome."""

import logging
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.classes import tokenizer_function
from serving.runtimes.ort import OnnxPredictor
from tasks.artifacts import onnx_manifest, open_artifact, seal_onnx
from tasks.compress.exporting.parity import check_parity, measure_parity, parity_texts
from tasks.compress.exporting.sessions import read_model
from tasks.compress.material import Material
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.records import Candidate

MIN_ROWS = 8  # a range seen on fewer texts says little of the next
BATCH = 8
SEED = 13

Batch = dict[str, np.ndarray]  # the model's inputs by name, each int64 [texts, tokens]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FloatModel:
    """A float ONNX model to quantise: its graph, its manifest, where it came from."""

    graph: Any  # onnx.ModelProto
    manifest: dict[str, Any]
    source: Candidate
    folder: Path  # the source's

    def batches(self, texts: Sequence[str]) -> list[Batch]:
        """Return the texts as the model takes them, in batches padded as in serving."""
        return encode_batches(self.folder, self.manifest, texts, [each.name for each in self.graph.graph.input])


def open_float(kind: str, source: Candidate, folder: Path) -> FloatModel:
    """Return the float ONNX model of a source, for the pass `kind` into `folder`, which has its tokenizer now.

    Raises:
        ModelError: the source is no float ONNX model, or its file is damaged.
    """
    origin, manifest = open_artifact(source)
    if manifest["runtime"] != "onnx" or "weights" in manifest:
        found = manifest.get("weights", manifest["runtime"])
        raise ModelError(
            f"compress: {kind} needs a float ONNX model, not {found!r}; put the pass `onnx` before it, once"
        )
    model = read_model(origin / manifest["onnx"])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(origin / "tokenizer.json", folder)
    return FloatModel(model, manifest, source, origin)


def calibration_texts(kind: str, material: Material, rows: int) -> list[str]:
    """Return up to `rows` distinct texts of `train`, drawn from a seed: the same for the same rows.

    Raises:
        ModelError: there are too few to calibrate on.
    """
    texts = sorted({text for text, _ in material.train})
    if min(rows, len(texts)) < MIN_ROWS:
        given = f"{len(texts)} distinct rows of train" if len(texts) < MIN_ROWS else f"`rows: {rows}`"
        mend = "set float_layers: 0" if kind == "float_layers" else "use the pass `int8`, which needs none"
        raise ModelError(
            f"compress: {kind} is measured on at least {MIN_ROWS} rows and was given {given}; give it more, or {mend}"
        )
    return random.Random(SEED).sample(texts, min(rows, len(texts)))


def encode_batches(folder: Path, manifest: dict[str, Any], texts: Sequence[str], names: Sequence[str]) -> list[Batch]:
    """Return texts as batches of the named inputs, each int64 [texts, tokens], padded to the longest of the batch."""
    tokenize = tokenizer_function(folder, manifest["max_length"])
    found = []
    for start in range(0, len(texts), BATCH):
        batch = tokenize(texts[start : start + BATCH])
        found.append({name: batch[name] for name in names})
    return found


def seal_quantised(
    model: Any, given: FloatModel, folder: Path, material: Material, notes: dict[str, float], weights: str
) -> Candidate:
    """Return the quantised graph as a sealed artifact; `answers_changed` in its notes is a share of real rows."""
    import onnx

    onnx.save(model, folder / "model.onnx")
    after = OnnxPredictor(folder, onnx_manifest(given.manifest))
    parity = measure_parity(load(given.source), after, parity_texts(material))
    check_parity(parity, weights)
    made = seal_onnx(folder, given.manifest, {**notes, "answers_changed": parity.changed}, weights=weights)
    log.info(
        "%s: %.1f MB from %.1f MB, %.2f %% of the answers changed",
        weights, made.size_bytes / 1e6, given.source.size_bytes / 1e6, 100 * parity.changed,
    )  # fmt: skip
    return made
