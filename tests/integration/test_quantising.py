"""Quantising ONNX models: dynamic, static, mixed, weights alone; what is refused, and a CPU that gains nothing."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tasks.artifacts import open_artifact, seal_onnx
from tasks.compress.exporting.hardware import measure_int8_speedup, note_int8
from tasks.compress.exporting.onnx_export import export_onnx
from tasks.compress.exporting.sessions import open_model
from tasks.compress.material import Material
from tasks.compress.methods import Int8Dynamic, Int8Static, Onnx, OpenVino, WeightOnly
from tasks.compress.pipeline import compress_pass
from tasks.compress.quantising.dynamic import quantise_graph
from tasks.compress.quantising.graphs import linear_nodes, prepare
from tasks.compress.quantising.sensitivity import mean_divergence, measure_harm, most_sensitive, round_columns
from tasks.compress.quantising.source import calibration_texts, encode_batches
from tasks.errors import ArtifactError, ModelError
from tasks.measure.runtime import load
from tasks.progress import progress_to
from tasks.records import Candidate
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tests.base_support import make_base
from tests.compress_support import material_of
from tests.loop_support import messages

ROWS = [(row["text"], row["label"]) for row in messages(400, seed=1)]
TRAIN, VALID, REST = ROWS[:260], ROWS[260:300], ROWS[300:]
TEXTS = [text for text, _ in REST]
LINEAR = 5  # attention's joined weights, its output, two of the feed-forward part, the head


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("source")
    make_base(root / "base", "bert", num_hidden_layers=1)
    method = FineTune(epochs=2, learning_rate=0.01, batch_size=16, precision="fp32", patience=9)
    lesson = Lesson(TRAIN, VALID, tuple(sorted({label for _, label in ROWS})))
    return finetune(str(root / "base"), method, lesson, root / "model")


@pytest.fixture(scope="module")
def material(source: Candidate) -> Material:
    return material_of(source, TRAIN, VALID)


@pytest.fixture(scope="module")
def exported(source: Candidate, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return export_onnx(Onnx(), source, tmp_path_factory.mktemp("onnx") / "model", material)


def accuracy(candidate: Candidate) -> float:
    found = load(candidate, 1).predict(TEXTS).outputs
    return float(np.mean([output == label for output, (_, label) in zip(found, REST, strict=True)]))


def graph_of(candidate: Candidate) -> Any:
    return onnx.load(Path(candidate.uri) / "model.onnx").graph


def weight_types(candidate: Candidate) -> list[int]:
    """Return the types of the matrices and tables that the model holds."""
    return [each.data_type for each in graph_of(candidate).initializer if np.prod(each.dims) >= 32 * 4]


@pytest.mark.parametrize("method", [Int8Dynamic(), Int8Dynamic(reduce_range=True), Int8Static(rows=64)])
def test_int8_takes_every_matrix_and_the_tables_and_keeps_the_answers(
    method: Any, exported: Candidate, material: Material, tmp_path: Path
) -> None:
    small = compress_pass(method, exported, tmp_path / "int8", material)
    narrow = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert set(weight_types(small)) <= narrow | {onnx.TensorProto.INT64}  # places of tokens
    assert accuracy(small) > accuracy(exported) - 0.05
    assert open_artifact(small)[1]["weights"] == "int8"
    assert small.notes["int8_speedup"] == measure_int8_speedup()
    assert "int8_speedup" not in open_artifact(small)[1]["notes"]  # it differs from run to run
    assert 0 <= small.notes["answers_changed"] < 0.1
    again = compress_pass(method, exported, tmp_path / "again", material)
    assert again.digest == small.digest


def test_static_ranges_need_nothing_measured_when_it_serves(
    exported: Candidate, material: Material, tmp_path: Path
) -> None:
    small = compress_pass(Int8Static(rows=64), exported, tmp_path / "int8", material)
    kinds = [node.op_type for node in graph_of(small).node]
    assert "DynamicQuantizeLinear" not in kinds
    assert kinds.count("QuantizeLinear") >= 3
    assert small.notes["calibration_rows"] == 64


@pytest.mark.parametrize("kind", [Int8Dynamic, Int8Static])
def test_the_most_sensitive_layers_stay_float(
    kind: Any, exported: Candidate, material: Material, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = list[tuple[str, int, int]]()
    with caplog.at_level(logging.INFO), progress_to(lambda *step: steps.append(step)):
        mixed = compress_pass(kind(float_layers=2), exported, tmp_path / "mixed", material)
    assert steps[-1] == ("measuring which layers int8 harms", LINEAR, LINEAR)
    harm = {name.removeprefix("harm_"): value for name, value in mixed.notes.items() if name.startswith("harm_")}
    assert len(harm) == LINEAR
    assert list(harm.values()) == sorted(harm.values(), reverse=True)
    assert all(name in caplog.text for name in harm)
    whole = compress_pass(kind(), exported, tmp_path / "whole", material)
    kept = [len(linear_nodes(onnx.load(Path(each.uri) / "model.onnx"))) for each in (mixed, whole)]
    assert kept == [2, 0]


def test_harm_is_what_quantising_a_layer_alone_does(exported: Candidate) -> None:
    model = prepare(onnx.load(Path(exported.uri) / "model.onnx"), split_attention=True)
    folder, manifest = open_artifact(exported)
    batches = encode_batches(folder, manifest, TEXTS[:32], [each.name for each in model.graph.input])
    harm = measure_harm(model, batches)
    assert list(harm) == linear_nodes(model)
    rows = [np.concatenate([session.run(None, batch)[0] for batch in batches]) for session in (
        open_model(model), *(open_model(quantise_graph(model, only=[name])) for name in harm))]  # fmt: skip
    shifted = [np.exp(each - each.max(axis=1, keepdims=True)) for each in rows]
    right, *others = [each / each.sum(axis=1, keepdims=True) for each in shifted]
    for name, other in zip(harm, others, strict=True):
        assert harm[name] == pytest.approx(mean_divergence(right, other), rel=0.35, abs=2e-7), name
    assert most_sensitive(model, batches, 2)[0] == sorted(harm, key=lambda name: -harm[name])[:2]


def test_columns_are_rounded_each_by_its_own_scale() -> None:
    weights = np.array([[1.0, 100.0, 0.0], [0.503, -40.0, 0.0]], np.float32)
    np.testing.assert_allclose(round_columns(weights), [[1.0, 100.0, 0.0], [64 / 127, -51 * 100 / 127, 0.0]], rtol=1e-6)
    assert mean_divergence(np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])) == pytest.approx(0.5108256)


@pytest.mark.parametrize(("bits", "kind"), [(4, "GatherBlockQuantized"), (8, "DequantizeLinear")])
def test_weights_alone_go_to_blocks_of_few_bits(
    bits: Any, kind: str, exported: Candidate, material: Material, tmp_path: Path
) -> None:
    small = compress_pass(WeightOnly(bits=bits, block=16), exported, tmp_path / "small", material)
    kinds = [node.op_type for node in graph_of(small).node]
    assert kinds.count("MatMulNBits") == LINEAR
    assert kind in kinds
    assert not linear_nodes(onnx.load(Path(small.uri) / "model.onnx"))
    assert accuracy(small) > accuracy(exported) - 0.1
    assert open_artifact(small)[1]["weights"] == f"int{bits}_blocks"


def test_too_few_rows_to_calibrate_on_are_refused(
    source: Candidate, exported: Candidate, material: Material, tmp_path: Path
) -> None:
    one = replace(material, train=TRAIN[:1] * 20)
    use, leave = "use the pass `int8`", "set float_layers: 0"
    for method, given, mend in ((Int8Static(), exported, use), (Int8Dynamic(float_layers=1), exported, leave),
                                (OpenVino(), source, use)):  # fmt: skip
        said = f"at least 8 rows and was given 1 distinct rows of train; give it more, or {mend}"
        with pytest.raises(ModelError, match=said):
            compress_pass(method, given, tmp_path / method.kind, one)
    with pytest.raises(ModelError, match=r"was given `rows: 7`"):
        compress_pass(Int8Static(rows=7), exported, tmp_path / "few", material)


def test_calibration_rows_are_drawn_the_same_whatever_their_order(material: Material) -> None:
    turned = replace(material, train=[*reversed(material.train), *material.train])
    assert calibration_texts("int8_static", material, 16) == calibration_texts("int8_static", turned, 16)
    assert len(set(calibration_texts("int8_static", material, 10_000))) == len({text for text, _ in TRAIN})


def test_a_damaged_model_is_refused_before_anything_is_written(
    exported: Candidate, material: Material, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    content = (Path(exported.uri) / "model.onnx").read_bytes()
    (broken / "tokenizer.json").write_bytes((Path(exported.uri) / "tokenizer.json").read_bytes())
    for damaged in (content[: len(content) // 2], b"not a model at all"):
        (broken / "model.onnx").write_bytes(damaged)
        source = seal_onnx(broken, open_artifact(exported)[1])
        for method in (Int8Dynamic(), Int8Static(), WeightOnly()):
            with pytest.raises(ModelError, match=r"expected a model that ONNX Runtime opens; .*; delete ") as caught:
                compress_pass(method, source, tmp_path / "out", material)
            assert "\n" not in str(caught.value)
    (broken / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="changed since it was built"):
        compress_pass(Int8Dynamic(), source, tmp_path / "out", material)
    assert not (tmp_path / "out").exists()


def test_a_quantised_model_is_quantised_once(exported: Candidate, material: Material, tmp_path: Path) -> None:
    small = compress_pass(Int8Dynamic(), exported, tmp_path / "small", material)
    for method in (Int8Dynamic(), Int8Static(), WeightOnly()):
        with pytest.raises(ModelError, match=f"{method.kind} needs a float ONNX model, not 'int8'"):
            compress_pass(method, small, tmp_path / method.kind, material)


def test_a_cpu_that_gains_nothing_by_int8_is_told_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    assert note_int8(lambda: 0.8, ("avx2",)) == {"int8_speedup": 0.8}
    assert "0.80 times as fast" in caplog.text
    assert "which has none of avx512_vnni, avx_vnni" in caplog.text
    assert "reduce_range" in caplog.text
    caplog.clear()
    note_int8(lambda: 1.0, ("avx2", "avx_vnni"))
    assert "though it has avx_vnni" in caplog.text
    caplog.clear()
    assert note_int8(lambda: 2.5, ()) == {"int8_speedup": 2.5}
    assert not caplog.records
    assert 0.05 < measure_int8_speedup() < 50
