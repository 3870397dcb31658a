"""Exports to ONNX, OpenVINO and TensorRT: what they answer, what they refuse, and that none of them phones home."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from serving.artifact import MANIFEST
from serving.predictors import Predictions
from serving.runtimes import openvino_runtime
from serving.runtimes.openvino_runtime import import_openvino
from tasks.artifacts import open_artifact
from tasks.compress.exporting import onnx_export
from tasks.compress.exporting.onnx_export import export_onnx, write_module
from tasks.compress.exporting.openvino_export import export_openvino, import_nncf
from tasks.compress.exporting.parity import check_parity, measure_parity
from tasks.compress.exporting.tensorrt_export import export_tensorrt
from tasks.compress.material import Material
from tasks.compress.methods import Int8Dynamic, Onnx, OpenVino, TensorRt
from tasks.compress.quantising.dynamic import quantise_dynamic
from tasks.errors import ArtifactError, ModelError
from tasks.measure.runtime import load
from tasks.records import Candidate
from tasks.train.bases.loading import load_base
from tasks.train.model import save_artifact
from tests.base_support import make_base
from tests.compress_support import material_of
from tests.loop_support import messages

ROWS = [(row["text"], row["label"]) for row in messages(60, seed=1)]
TEXTS = [text for text, _ in ROWS]
LABELS = sorted({label for _, label in ROWS})


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def made(folder: Path, family: str, **changes: Any) -> Candidate:
    """Return an untrained model of a family, which answers something."""
    make_base(folder / "base", family, num_hidden_layers=1, **changes)
    model, tokenizer = load_base(str(folder / "base"), len(LABELS), "mean", 0.0)
    return save_artifact(folder / "model", model.eval(), tokenizer, pooling="mean", notes={}, labels=LABELS,
                         max_length=64)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return made(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(scope="module")
def exported(source: Candidate, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return export_onnx(Onnx(), source, tmp_path_factory.mktemp("onnx"), material)


@pytest.fixture(scope="module")
def material(source: Candidate) -> Material:
    return material_of(source, ROWS[:40], ROWS[40:])


def operators(candidate: Candidate) -> list[str]:
    folder, manifest = open_artifact(candidate)
    return [node.op_type for node in onnx.load(folder / manifest["onnx"]).graph.node]


def probabilities(candidate: Candidate) -> np.ndarray:
    found = load(candidate, 1).predict(TEXTS).probabilities
    assert found is not None
    return found


def test_an_encoder_goes_into_few_nodes_and_answers_the_same_in_any_company(
    source: Candidate, exported: Candidate
) -> None:
    kinds = operators(exported)
    assert kinds.count("Attention") == 1
    assert kinds.count("Sum") == 3  # one of them is of embeddings
    assert len(kinds) < 35  # 83 without fusions
    assert exported.notes["parity"] < 1e-5
    assert exported.notes["answers_changed"] == 0
    np.testing.assert_allclose(probabilities(source), probabilities(exported), atol=1e-5)
    alone = load(exported, 1).predict(TEXTS[:1]).probabilities  # the other rows padded it
    np.testing.assert_allclose(alone, probabilities(exported)[:1], atol=1e-6)  # type: ignore[arg-type]


def test_attention_that_is_masked_otherwise_stays_as_it_was(tmp_path: Path) -> None:
    source = made(tmp_path, "gpt2")  # causal
    exported = export_onnx(Onnx(), source, tmp_path / "onnx", material_of(source, ROWS))
    assert not {"Attention", "MultiHeadAttention"} & set(operators(exported))
    np.testing.assert_allclose(probabilities(source), probabilities(exported), atol=1e-5)


def test_fp16_halves_the_file_and_takes_and_gives_what_fp32_does(
    source: Candidate, exported: Candidate, material: Material, tmp_path: Path
) -> None:
    half = export_onnx(Onnx(precision="fp16"), source, tmp_path / "half", material)
    folder, manifest = open_artifact(half)
    assert manifest["weights"] == "fp16"
    graph = onnx.load(folder / "model.onnx").graph
    assert {each.type.tensor_type.elem_type for each in graph.input} == {onnx.TensorProto.INT64}
    assert [each.type.tensor_type.elem_type for each in graph.output] == [onnx.TensorProto.FLOAT]
    weights, before = (
        sum(np.prod(each.dims) * onnx.helper.tensor_dtype_to_np_dtype(each.data_type).itemsize for each in part)
        for part in (graph.initializer, onnx.load(Path(exported.uri) / "model.onnx").graph.initializer)
    )
    assert weights < 0.6 * before
    assert 0 < half.notes["parity"] < 0.03
    np.testing.assert_allclose(probabilities(source), probabilities(half), atol=0.03)
    with pytest.raises(ModelError, match="int8 needs a float ONNX model, not 'fp16'"):
        quantise_dynamic(Int8Dynamic(), half, tmp_path / "int8", material)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_openvino_serves_every_precision(precision: Any, source: Candidate, material: Material, tmp_path: Path) -> None:
    found = export_openvino(OpenVino(precision=precision, float_layers=precision == "int8"), source, tmp_path, material)
    _, manifest = open_artifact(found)
    assert (manifest["runtime"], manifest["openvino"], manifest["precision"]) == ("openvino", "model.xml", precision)
    assert sorted(manifest["files"]) == ["model.bin", "model.xml", "tokenizer.json"]
    tolerance = {"fp32": 1e-4, "bf16": 0.03, "int8": 0.1}[precision]
    np.testing.assert_allclose(probabilities(source), probabilities(found), atol=tolerance)
    text = (tmp_path / "model.xml").read_text("utf-8")
    assert ("FakeQuantize" in text) == (precision == "int8")
    if precision == "int8":
        assert found.notes["calibration_rows"] == 40
        assert sum(name.startswith("harm_") for name in found.notes) == 5


@pytest.mark.parametrize("layers", [2, 99])
def test_layers_that_openvino_leaves_in_float_are_those_of_attention_too(
    layers: int, source: Candidate, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = export_openvino(OpenVino(float_layers=layers, rows=8), source, tmp_path, material)
    model = import_openvino().Core().read_model(tmp_path / "model.xml")
    products = [node for node in model.get_ops() if node.get_type_name() == "MatMul"]
    wide = [node for node in products if node.input_value(1).get_node().get_type_name() == "Constant"]
    assert len(wide) == min(layers, 5)  # of one layer: queries, keys and values in one, the others, and the head
    assert any(name.startswith("harm_node_Attention") for name in found.notes)
    served = alone(found)
    monkeypatch.setattr(openvino_runtime, "keep_embeddings_narrow", lambda model: None)
    assert served == pytest.approx(alone(found), abs=1e-5)  # of narrow embeddings the plugin once made wrong numbers


def alone(candidate: Candidate) -> np.ndarray:
    """Return the answers to texts that are asked one by one."""
    rng = np.random.default_rng(1)
    _ = [np.full(size, np.nan, np.float32) for size in rng.integers(10, 5000, 400)]  # in memory that is used again
    del _
    predictor = load(candidate, 1)
    return np.concatenate([predictor.predict([text]).probabilities for text in ("a b", "a " * 20, "a " * 40)])


def test_an_openvino_export_is_the_same_when_it_is_made_again(
    source: Candidate, material: Material, tmp_path: Path
) -> None:
    method = OpenVino(float_layers=2, rows=8)
    first, second = (export_openvino(method, source, tmp_path / name, material) for name in ("one", "two"))
    assert first.digest == second.digest


def test_nncf_comes_without_telemetry_and_leaves_the_loggers() -> None:
    import logging

    before = logging.getLoggerClass()
    nncf = import_nncf()
    assert logging.getLoggerClass() is before
    assert logging.getLogger("nncf").level == logging.ERROR
    from nncf.telemetry import wrapper

    assert not isinstance(wrapper.telemetry, wrapper.NNCFTelemetry)
    assert not hasattr(wrapper, "Telemetry")  # what would send: its import failed, as if it were not installed
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert nncf.__name__ == "nncf"


def test_tensorrt_says_what_it_needs(source: Candidate, material: Material, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"TensorrtExecutionProvider.*CPUExecutionProvider.*install `onnxruntime-gpu`"):
        export_tensorrt(TensorRt(), source, tmp_path, material)


def test_only_torch_models_are_exported(exported: Candidate, material: Material, tmp_path: Path) -> None:
    for export, method in ((export_onnx, Onnx()), (export_openvino, OpenVino(precision="fp32"))):
        with pytest.raises(ModelError, match="needs a torch model, not 'onnx'"):
            export(method, exported, tmp_path, material)  # type: ignore[operator]


class _Unknown(torch.nn.Module):
    """A head with an operator that ONNX has not."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.special.airy_ai(rows)


def test_an_operator_that_onnx_lacks_is_named(
    source: Candidate, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_unknown(model: Any, names: list[str], target: Path) -> None:
        model.dropout = _Unknown()
        write_module(model, names, target)

    monkeypatch.setattr(onnx_export, "write_module", with_unknown)
    with pytest.raises(ModelError, match=r"does not export to ONNX \(.*airy_ai.*\); drop the passes") as caught:
        export_onnx(Onnx(), source, tmp_path, material)
    assert "\n" not in str(caught.value)


def test_a_row_that_differs_is_told_by_number_and_answers_never_by_text(
    source: Candidate, exported: Candidate, tmp_path: Path
) -> None:
    other = made(tmp_path, "bert", hidden_act="relu")
    parity = measure_parity(load(source), load(other), TEXTS)
    apart = np.abs(probabilities(source) - probabilities(other)).max(axis=1)
    assert parity.row == apart.argmax()
    assert parity.difference == pytest.approx(apart.max())
    check_parity(parity, "ONNX", tolerance=1.0)
    with pytest.raises(ModelError, match=rf"on row {parity.row} \('\w+' before, '\w+' after") as caught:
        check_parity(parity, "ONNX", 1e-3)
    assert TEXTS[parity.row] not in str(caught.value)


class Fake:
    """Answers every text alike; alone, with `alone` as the probability."""

    def __init__(self, alone: float) -> None:
        self.alone = alone

    def predict(self, texts: Sequence[str]) -> Predictions:
        found = np.full((len(texts), 1), self.alone if len(texts) == 1 else 1.0, np.float32)
        return Predictions(["a"] * len(texts), found[:, 0], found)


def test_what_is_no_number_is_refused_in_every_precision_though_it_comes_to_single_texts_only() -> None:
    """As of DeBERTa in OpenVINO's bf16, whose graphs of one text are others than those of batches."""
    parity = measure_parity(Fake(1.0), Fake(float("nan")), TEXTS)
    assert (parity.difference, parity.row) == (float("inf"), len(TEXTS) - 8)
    with pytest.raises(ModelError, match=f"the OpenVINO bf16 export gives no number on row {parity.row}"):
        check_parity(parity, "OpenVINO bf16")
    check_parity(measure_parity(Fake(1.0), Fake(0.5), TEXTS), "int8")
    with pytest.raises(ModelError, match=r"differs from the model by 0\.5"):
        check_parity(measure_parity(Fake(1.0), Fake(0.5), TEXTS), "ONNX", 1e-3)


def test_a_source_that_is_not_the_one_that_was_built_is_refused(
    source: Candidate, material: Material, tmp_path: Path
) -> None:
    for export, method in ((export_onnx, Onnx()), (export_openvino, OpenVino(precision="fp32"))):
        with pytest.raises(ArtifactError, match="not the artifact"):
            export(method, replace(source, digest="0" * 64), tmp_path, material)  # type: ignore[operator]
    assert not (tmp_path / MANIFEST).exists()
