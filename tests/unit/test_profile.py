"""Where the time of a model goes: the rule that names the bound, reading and writing traces, a tiny model profiled."""

import json
import math
from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers

from tasks.artifacts import seal
from tasks.errors import ArtifactError, DataError, StorageError
from tasks.measure.profiling.profile import profile
from tasks.measure.profiling.roofline import Parts, Products, Roofs, measure_roofs, name_bound
from tasks.measure.profiling.trace import RUN, Span, read_events, read_operations, write_trace
from tasks.records import from_json, to_json

SECRET = "zeppelin"  # a word of the texts, which no trace may hold
WORDS = {"[PAD]": 0, "[UNK]": 1, SECRET: 2, "beta": 3}
LABELS = ["a", "b", "c"]
WIDTH = 8
SHARE = st.floats(0, 1, allow_subnormal=False)


# -- the rule ----------------------------------------------------------------------------------------------------------


def products(share=0.8, compute=0.1, memory=0.1, precision="float32"):
    """Matrix products that reach these shares of roofs of 200 GFLOP/s and 20 GB/s."""
    return Products(precision, share, 200 * compute, 20 * memory, Roofs(200.0, 20.0))


MODEL = Parts(0.1, 0.8, 0.1)
RULE = {
    "tokenising": ((Parts(0.5, 0.4, 0.1), products(), 5, "onnx", True), "tokenisation",
                   ["50 %", "40 %", "shorter texts"]),
    "python, one text": ((Parts(0.1, 0.4, 0.5), products(), 5, "onnx", True), "python", ["more texts per call"]),
    "python, a batch": ((Parts(0.1, 0.4, 0.5), products(), 5, "onnx", False), "python", ["more processes"]),
    "arithmetic": ((MODEL, products(compute=0.6), 5, "onnx", True), "compute",
                   ["80 %", "60 %", "200 GFLOP/s", "int8 w"]),
    "arithmetic, int8": ((MODEL, products(compute=0.6, precision="int8"), 5, "onnx", True), "compute",
                         ["in int8", "a smaller base"]),
    "weights, one text": ((MODEL, products(memory=0.7), 5, "onnx", True), "memory", ["14 GB/s", "each weight once"]),
    "weights, a batch": ((MODEL, products(memory=1.7), 5, "onnx", False), "memory", ["34 GB/s", "int8 weights"]),
    "weights, a batch, int8": ((MODEL, products(memory=1.7, precision="int8"), 5, "onnx", False), "memory",
                               ["a smaller base"]),
    "small, one text": ((MODEL, products(compute=0.4, memory=0.3), 5, "torch", True), "small products",
                        ["only run at 40 %", "more texts per call"]),
    "small, a batch": ((MODEL, products(compute=0.4), 5, "torch", False), "small products", ["int8 weights"]),
    "many operators": ((MODEL, products(share=0.4), 5, "onnx", True), "small operators",
                       ["60 %", "5.0 us", "more texts per call", "fewer layers"]),
    "many operators, torch": ((MODEL, products(share=0.4), 5, "torch", False), "small operators", ["export it"]),
    "long operators": ((MODEL, products(share=0.4), 90, "onnx", True), "memory", ["60 %", "90 us", "activations"]),
    "no products": ((MODEL, None, 5, "onnx", True), "small operators", ["100 %"]),
}  # fmt: skip


@pytest.mark.parametrize(("given_", "bound", "told"), RULE.values(), ids=RULE)
def test_each_branch_of_the_rule_names_its_bound_and_its_lever(given_, bound, told):
    found, sentence = name_bound(*given_)
    assert found == bound
    assert [part for part in told if part not in sentence] == []


def test_a_batch_is_never_told_to_send_more_texts():
    for parts, found, other_us, runtime, _ in (case[0] for case in RULE.values()):
        assert "more texts" not in name_bound(parts, found, other_us, runtime, False)[1]


@pytest.mark.parametrize(
    ("found", "other_us", "bound"),
    [
        (products(share=0.5, compute=0.5), 5, "compute"),
        (products(share=0.499, compute=0.5), 5, "small operators"),
        (products(compute=0.499), 5, "small products"),
        (products(compute=0.5, memory=0.501), 5, "memory"),
        (products(share=0.4), 19.9, "small operators"),
        (products(share=0.4), 20.0, "memory"),
    ],
)
def test_the_thresholds_of_the_rule(found, other_us, bound):
    assert name_bound(MODEL, found, other_us, "onnx", True)[0] == bound


@given(st.tuples(SHARE, SHARE, SHARE).filter(lambda parts: sum(parts) > 0.01), SHARE, SHARE, SHARE, st.booleans())
def test_whatever_was_measured_is_one_sentence(parts, share, compute, memory, can_batch):
    total = sum(parts)
    bound, sentence = name_bound(
        Parts(*(part / total for part in parts)), products(share, compute, memory), 5.0, "onnx", can_batch
    )
    largest = ("tokenisation", "model", "python")[parts.index(max(parts))]
    if parts.count(max(parts)) == 1:
        assert (bound if bound in ("tokenisation", "python") else "model") == largest
    assert sentence.endswith(".")
    assert "\n" not in sentence and ". " not in sentence


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_roofs_are_what_the_machine_can_do(precision):
    roofs = measure_roofs("onnx", precision, 1)
    assert 0.5 < roofs.gflop_per_s < 1e5
    assert 0.5 < roofs.gb_per_s < 1e4


# -- reading a trace ---------------------------------------------------------------------------------------------------


def event(name, ts, dur, tid=1, cat="cpu_op", **args):
    return {"ph": "X", "cat": cat, "name": name, "pid": 9, "tid": tid, "ts": ts, "dur": dur, "args": args}


def node(name, inputs, outputs, ts=0, dur=1000, kind="float"):
    return event(f"node_{ts}", ts, dur, cat="Node", op_name=name, input_type_shape=[{kind: shape} for shape in inputs],
                 output_type_shape=[{"float": shape} for shape in outputs])  # fmt: skip


def operation(event):
    [found] = read_operations([event])
    return found


@given(*[st.integers(1, 40)] * 4)
def test_a_product_of_onnx_counts_two_flops_for_each_step_of_its_sum(batch, rows, inner, columns):
    left, right = np.ones((batch, rows, inner)), np.ones((batch, inner, columns))
    flops = 2 * int((left @ right).sum())  # each of its elements is the length of its sum
    made = (left @ right).shape
    batched = operation(node("MatMul", [left.shape, right.shape], [made]))
    packed = operation(node("MatMul", [left.shape], [made]))
    int8 = operation(node("DynamicQuantizeMatMul", [left.shape, [columns], [columns]], [made]))
    assert batched.flops == packed.flops == int8.flops == flops
    assert batched.bytes == 4 * (left.size + right.size + math.prod(made))
    assert packed.bytes == 4 * (left.size + inner * columns + math.prod(made))
    assert int8.bytes == 4 * (left.size + math.prod(made)) + inner * columns
    assert (batched.precision, packed.precision, int8.precision) == ("float32", "float32", "int8")


@given(*[st.integers(1, 40)] * 4)
def test_a_product_of_torch_counts_the_same(batch, rows, inner, columns):
    flops, moved = 2 * batch * rows * inner * columns, 4 * (batch * rows * inner + batch * rows * columns)
    shapes = {
        "linear": ([batch, rows, inner], [columns, inner], [columns]),
        "matmul": ([batch, rows, inner], [inner, columns]),
        "bmm": ([batch, rows, inner], [batch, inner, columns]),
        "mm": ([batch * rows, inner], [inner, columns]),
        "addmm": ([columns], [batch * rows, inner], [inner, columns]),
        "baddbmm": ([columns], [batch, rows, inner], [batch, inner, columns]),
    }
    for name, dims in shapes.items():
        found = operation(event(f"aten::{name}", 0, 1, **{"Input Dims": dims}))
        weights = inner * columns * (batch if "bmm" in name else 1)
        assert (found.name, found.flops, found.bytes) == (name, flops, moved + 4 * weights)


def test_attention_of_torch_counts_both_of_its_products():
    batch, heads, tokens, width = 2, 3, 7, 5
    query, keys = np.ones((batch, heads, tokens, width)), np.ones((batch, heads, width, tokens))
    flops = 2 * (query @ keys).sum() + 2 * tokens * query.size  # weights times values: a sum over tokens for each
    dims = [list(query.shape)] * 3
    assert operation(event("aten::scaled_dot_product_attention", 0, 1, **{"Input Dims": dims})).flops == flops


def test_a_product_with_a_vector_has_one_column():
    assert operation(event("aten::matmul", 0, 1, **{"Input Dims": [[4, 6], [6]]})).flops == 2 * 4 * 6
    assert operation(node("MatMul", [[6], [6]], [[]])).flops == 2 * 6


@pytest.mark.parametrize(
    "found", [node("Softmax", [[3, 4]], [[3, 4]]), node("MatMul", [], []), node("Gemm", [[]], [[2]])]
)
def test_what_is_no_product_or_has_no_shape_counts_no_flops(found):
    assert (operation(found).precision, operation(found).flops) == (None, 0)


def test_only_what_the_model_itself_called_counts_as_an_operator():
    events = [
        event(RUN, 0, 100, cat="user_annotation"),
        event("aten::linear", 10, 30, **{"Input Dims": [[2, 4], [3, 4]]}),
        event("aten::addmm", 12, 20, **{"Input Dims": [[3], [2, 4], [4, 3]]}),
        event("aten::copy_", 13, 5),
        event("aten::gelu", 40, 10),
        event("aten::gelu", 15, 10, tid=2),
    ]
    found = read_operations(sorted(events, key=lambda e: e["ts"]))
    assert [(o.name, o.seconds) for o in found] == [("linear", 30e-6), ("gelu", 10e-6), ("gelu", 10e-6)]


def test_what_came_before_the_last_runs_is_left_out(tmp_path):
    events = [event("model_loading", 0, 50, cat="Session")]
    for start in (100, 200, 300):
        events += [
            event(f"node_{start}", start + 10, 10, cat="Node", op_name="Add"),
            event(RUN, start, 90, cat="Session"),
        ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(events))
    assert [e["name"] for e in read_events(path, 2)] == [RUN, "node_200", RUN, "node_300"]
    path.write_text(json.dumps({"host_name": "h", "traceEvents": [*events, {"ph": "M", "name": "process_name"}]}))
    assert len(read_events(path, 3)) == 6


@st.composite
def calls_within_calls(draw):
    """Return (start, end) of a call and of calls within it, in microseconds with a tenth."""
    made = []

    def fill(start, end, depth):
        made.append((start / 10, end / 10))
        cuts = sorted(draw(st.sets(st.integers(start, end), max_size=6)))
        for left, right in list(pairwise(cuts))[::2]:
            if depth < 3:
                fill(left, right, depth + 1)

    fill(9, draw(st.integers(20, 300)), 0)
    return made


@example([(0.9, 10.85), (1.0, 10.8)])
@given(calls_within_calls())
def test_whole_microseconds_make_no_event_end_after_the_one_around_it(tmp_path_factory, calls):
    path = tmp_path_factory.mktemp("t") / "trace.json"
    events = [event(RUN, math.floor(start), math.floor(end - start), cat="Session") for start, end in calls]
    path.write_text(json.dumps(events))
    shown = read_events(path, len(events))
    assert len(shown) == len(events)
    spans = [(e["ts"], e["ts"] + e["dur"]) for e in shown]
    crossing = [(a, b) for a in spans for b in spans if a[0] < b[0] < a[1] < b[1]]
    assert crossing == []
    assert min(e["dur"] for e in shown) >= 0


# -- writing one -------------------------------------------------------------------------------------------------------


def read_back(path):
    """Return the timed events of a trace after checking what every viewer needs of one."""
    content = json.loads(path.read_text("utf-8"))
    timed = [e for e in content["traceEvents"] if e["ph"] == "X"]
    for shown in timed:
        assert {"name", "ts", "dur", "pid", "tid"} <= shown.keys()
        assert isinstance(shown["tid"], int) and isinstance(shown["pid"], int)
        assert shown["dur"] >= 0 and shown["ts"] >= 0
    assert {e["ph"] for e in content["traceEvents"]} == {"M", "X"}
    return timed


def test_the_parts_stand_where_the_runs_do(tmp_path):
    events = [event(RUN, 5000, 80, cat="Session"), event("x", 5010, 9, cat="Node", op_name="Add", secret=SECRET),
              event(RUN, 6000, 80, cat="Session")]  # fmt: skip
    spans = [Span("tokenize", 10_000, 20_000), Span("model", 21_000, 105_000), Span("call", 9_000, 110_000),
             Span("tokenize", 1_010_000, 1_020_000), Span("model", 1_021_000, 1_105_000)]  # fmt: skip
    path = tmp_path / "new" / "trace.json"
    write_trace(path, events, spans)
    timed = read_back(path)
    parts = [(e["name"], e["ts"], e["dur"]) for e in timed if e["cat"] == "part"]
    assert parts == [("tokenize", 1, 10), ("model", 12, 84), ("call", 0, 101),
                     ("tokenize", 1001, 10), ("model", 1012, 84)]  # fmt: skip
    assert [e["ts"] for e in timed if e["cat"] != "part"] == [12, 22, 1012]
    assert SECRET not in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["trace.json"]


def test_a_trace_that_cannot_be_written_names_the_place(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"file/trace\.json: cannot be written \("):
        write_trace(tmp_path / "file" / "trace.json", [event(RUN, 0, 1)], [Span("model", 0, 1)])


# -- a whole model -----------------------------------------------------------------------------------------------------


def make_artifact(folder, with_product=True):
    """Return a sealed ONNX classifier: the mean of word vectors, through a matrix product or not."""
    folder.mkdir()
    width = WIDTH if with_product else len(LABELS)
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["each"]),
        helper.make_node("ReduceMean", ["each"], ["mean" if with_product else "logits"], axes=[1], keepdims=0),
    ]
    weights = [helper.make_tensor("vectors", TensorProto.FLOAT, [4, width], np.linspace(0, 1, 4 * width))]
    if with_product:
        nodes.append(helper.make_node("MatMul", ["mean", "head"], ["logits"]))
        weights.append(helper.make_tensor("head", TensorProto.FLOAT, [WIDTH, 3], np.linspace(-1, 1, 3 * WIDTH)))
    graph = helper.make_graph(
        nodes, "bag", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])], weights,
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return seal(folder, runtime="onnx", onnx="model.onnx", labels=LABELS, max_length=16, inputs=["input_ids"], notes={})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return make_artifact(tmp_path_factory.mktemp("profile") / "model")


TEXTS = [f"{SECRET} beta {number}" for number in range(50)]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_a_model_is_profiled_in_its_parts_and_operators(artifact, tmp_path, batch_size):
    """A batch of 64 is two batches of the predictor's."""
    path = tmp_path / "trace.json"
    found = profile(artifact, TEXTS, path, batch_size=batch_size, seconds=0.2, threads=1)
    parts = found.parts
    assert parts.tokenize + parts.model + parts.python == pytest.approx(1)
    assert min(parts.tokenize, parts.model, parts.python) > 0
    assert 0 < found.seconds_per_text < 0.1
    assert (found.candidate, found.runtime, found.threads) == (artifact.digest, "onnx", 1)
    assert 0 < found.texts <= min(50, 20 * batch_size)
    operators = {operator.name: operator for operator in found.operators}
    assert set(operators) == {"Gather", "ReduceMean", "MatMul"}
    assert {operator.calls for operator in found.operators} == {2 if batch_size == 64 else 1}
    assert 0 < sum(operator.share for operator in found.operators) <= 1 + 1e-9
    assert found.products.share == pytest.approx(operators["MatMul"].share)
    runs = sum(e["name"] == RUN for e in read_back(path))
    assert runs == (2 if batch_size == 64 else found.texts / batch_size)
    assert from_json(type(found), to_json(found)) == found


def test_no_text_and_no_path_is_in_the_trace(artifact, tmp_path):
    path = tmp_path / "trace.json"
    profile(artifact, TEXTS, path, seconds=0.1, threads=1)
    written = path.read_text("utf-8")
    assert SECRET not in written and "beta" not in written
    assert str(tmp_path) not in written and artifact.uri not in written
    assert {e["name"] for e in read_back(path) if e["cat"] == "part"} == {"call", "tokenize", "model"}


def test_the_rates_are_those_of_the_product(artifact, tmp_path):
    found = profile(artifact, TEXTS, tmp_path / "trace.json", batch_size=5, seconds=0.1, threads=1)
    product = next(operator for operator in found.operators if operator.name == "MatMul")
    flops = 2 * 5 * WIDTH * len(LABELS)
    assert found.products.gflop_per_s == pytest.approx(flops / product.mean_us / 1e3)


def test_a_model_without_products_has_no_rates(tmp_path):
    found = profile(make_artifact(tmp_path / "m", False), TEXTS, tmp_path / "t.json", seconds=0.1, threads=1)
    assert found.products is None
    assert {operator.name for operator in found.operators} == {"Gather", "ReduceMean"}


def test_one_text_is_enough_and_none_is_refused(artifact, tmp_path):
    assert profile(artifact, ["beta"], tmp_path / "t.json", batch_size=3, seconds=0.1, threads=1).texts == 1
    with pytest.raises(DataError, match="no texts"):
        profile(artifact, [], tmp_path / "t.json")


def test_a_changed_artifact_is_refused(tmp_path):
    artifact = make_artifact(tmp_path / "m")
    (tmp_path / "m" / "model.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="missing or changed"):
        profile(artifact, TEXTS, tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()
