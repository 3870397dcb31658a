"""Each runtime's own rules: OpenVINO's silence, precision and narrow embeddings, TensorRT, what a process loads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serving.artifact import ArtifactInvalid
from serving.classes import tokenizer_function
from serving.loading import load_predictor, open_predictor
from serving.runtimes.openvino_runtime import Graphs, import_openvino, keep_embeddings_narrow
from serving.runtimes.ort import tensorrt_options
from tasks.artifacts import open_artifact
from tasks.measure.speed.closed_loop import measure_speed
from tasks.measure.speed.fresh_process import measure_fresh_process
from tasks.specs import BenchmarkSpec
from tests.serving_support import make_cascade, make_onnx, make_openvino

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "scipy", "pydantic", "pandas", "mlflow", "prefect", "transformers", "nncf", "sklearn", "onnx",
         "openvino_telemetry"}  # fmt: skip

SERVE = """
import json, sys
from serving.loading import load_predictor
answered = load_predictor(sys.argv[1], 1).predict(["beta", "gamma gamma"])
print(json.dumps([answered.outputs, [name for name, loaded in sys.modules.items() if loaded is not None]]))
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("artifacts")
    made = {"onnx": make_onnx(root / "onnx"), "openvino": make_openvino(root / "openvino")}
    made["cascade"] = make_cascade(root / "cascade", made["onnx"], {"alpha": [9, 0, 0]})
    return made


@pytest.mark.parametrize(("form", "runtime"), [("onnx", "onnxruntime"), ("openvino", "openvino"),
                                               ("cascade", "onnxruntime")])  # fmt: skip
def test_serving_loads_its_runtime_numpy_and_tokenizers_alone(artifacts, tmp_path, form, runtime):
    """In an empty home, where the telemetry of both runtimes would leave its files."""
    done = subprocess.run(
        [sys.executable, "-c", SERVE, artifacts[form].uri], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True,
    )  # fmt: skip
    outputs, modules = json.loads(done.stdout)
    assert outputs == ["b", "c"]
    roots = {name.partition(".")[0] for name in modules}
    assert {runtime, "numpy", "tokenizers"} <= roots
    assert roots & (HEAVY | {"onnxruntime", "openvino"}) == {runtime}
    assert list(tmp_path.iterdir()) == []
    assert done.stderr == ""


@pytest.mark.parametrize("form", ["onnx", "openvino", "cascade"])
def test_a_text_without_tokens_is_answered_alike_alone_and_among_others(artifacts, form):
    predictor = load_predictor(artifacts[form].uri, 1)
    alone = predictor.predict([""]).probabilities
    for texts in (["", ""], ["", "beta beta"], ["", *["gamma " * length for length in range(1, 7)]]):
        assert predictor.predict(texts).probabilities[0] == pytest.approx(alone[0])
    assert alone[0] == pytest.approx([1 / 3] * 3)  # a token of padding votes for all alike


@pytest.mark.parametrize(("texts", "ids", "mask"), [
    ([""], [[0]], [[1]]),
    (["", "  "], [[0], [0]], [[1], [1]]),
    (["", "alpha beta"], [[0, 0], [2, 3]], [[1, 0], [1, 1]]),
    (["beta", "alpha beta"], [[3, 0], [2, 3]], [[1, 0], [1, 1]]),
])  # fmt: skip
def test_no_model_is_given_a_text_without_tokens(artifacts, texts, ids, mask):
    found = tokenizer_function(Path(artifacts["onnx"].uri), 40)(texts)
    assert found["input_ids"].tolist() == ids
    assert found["attention_mask"].tolist() == mask
    assert found["token_type_ids"].shape == found["input_ids"].shape


@pytest.mark.parametrize("form", ["onnx", "openvino", "cascade"])
def test_a_process_of_its_own_is_small(artifacts, form):
    found = measure_fresh_process(artifacts[form])
    assert 0 < found.load_s < found.cold_start_s
    assert found.peak_memory_bytes < 250e6


def test_all_runtimes_are_measured_in_one_run(artifacts):
    candidates = list(artifacts.values())
    spec = BenchmarkSpec(samples=50, blocks=5, batch_size=4, threads=1, arrivals=0, grid_batches=(1, 2))
    fresh = [measure_fresh_process(artifacts["onnx"])] * 3
    texts = [" ".join(["alpha", "beta"] * (1 + number % 12)) for number in range(30)]
    for speed in measure_speed(candidates, fresh, texts, spec):
        assert speed.throughput_b1_per_s > 0
        assert speed.tokens_b1_per_s > speed.throughput_b1_per_s


# -- OpenVINO ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "hint"), [("bf16", "bfloat16"), ("int8", "float"), (None, "float")])
def test_openvino_computes_in_the_precision_that_the_manifest_names(artifacts, precision, hint):
    folder, manifest = open_artifact(artifacts["openvino"])
    compiled = Graphs(folder, {**manifest, "precision": precision}, 1).compiled((1, 16))
    assert hint in str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert "LATENCY" in str(compiled.get_property("PERFORMANCE_HINT"))


@pytest.mark.parametrize("scale", [(5, 1), (1, 1), (1, 3)])
def test_embeddings_that_stay_narrow_give_the_same_numbers(scale):
    """Against NumPy: with a scale for each column the plugin itself spoils memory where they do not stay narrow."""
    openvino = import_openvino()
    from openvino import opset8

    rng = np.random.default_rng(1)
    table, factors = rng.integers(-128, 127, (5, 3)), rng.random(scale).astype(np.float32)
    ids = opset8.parameter([-1, -1], openvino.Type.i64)
    wide = opset8.convert(opset8.constant(table, openvino.Type.i8), "f32")
    scaled = opset8.multiply(wide, opset8.constant(factors, openvino.Type.f32))
    model = openvino.Model([opset8.gather(scaled, ids, opset8.constant(0))], [ids])
    keep_embeddings_narrow(model)
    gathered = {node.get_element_type() for node in model.get_ops() if node.get_type_name() == "Gather"}
    assert openvino.Type.i8 in gathered
    rows = np.array([[0, 4, 2], [3, 1, 1]])
    found = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({0: rows})[0]
    assert found == pytest.approx((table * factors)[rows], rel=1e-6)


@pytest.mark.parametrize(("kind", "axis"), [("float", 0), ("int8", 1)])
def test_other_lookups_are_left_as_they_are(kind, axis):
    openvino = import_openvino()
    from openvino import opset8

    ids = opset8.parameter([-1], openvino.Type.i64)
    table = opset8.constant(np.ones((3, 3)), openvino.Type.f32 if kind == "float" else openvino.Type.i8)
    wide = (
        table
        if kind == "float"
        else opset8.multiply(opset8.convert(table, "f32"), opset8.constant(np.array([[0.5]], np.float32)))
    )
    model = openvino.Model([opset8.gather(wide, ids, opset8.constant(axis))], [ids])
    before = [node.get_friendly_name() for node in model.get_ordered_ops()]
    keep_embeddings_narrow(model)
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before


# -- TensorRT, and what is not installed -------------------------------------------------------------------------------


def test_tensorrt_where_it_is_not_installed_says_what_to_install(artifacts):
    import onnxruntime

    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("TensorRT is installed here")
    folder, manifest = open_artifact(artifacts["onnx"])
    with pytest.raises(ArtifactInvalid, match=r"pip install onnxruntime-gpu tensorrt`; this ONNX Runtime has .*CPU"):
        open_predictor(folder, {**manifest, "runtime": "tensorrt", "precision": "fp16"})


def test_tensorrt_builds_one_engine_for_all_lengths():
    manifest = {"inputs": ["input_ids", "attention_mask"], "max_length": 64, "precision": "fp16"}
    assert tensorrt_options(manifest) == {
        "trt_fp16_enable": True,
        "trt_profile_min_shapes": "input_ids:1x1,attention_mask:1x1",
        "trt_profile_opt_shapes": "input_ids:1x32,attention_mask:1x32",
        "trt_profile_max_shapes": "input_ids:32x64,attention_mask:32x64",
    }
    assert tensorrt_options({**manifest, "precision": "fp32"})["trt_fp16_enable"] is False


@pytest.mark.parametrize(("form", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed_says_what_to_install(artifacts, monkeypatch, form, package):
    monkeypatch.setitem(sys.modules, package, None)  # as Python finds no such package
    with pytest.raises(ArtifactInvalid, match=f"pip install {package}`"):
        load_predictor(artifacts[form].uri)
