"""Which linear layers int8 harms most: each is quantised alone and the answers compared. Quantises nothing for good.

One copy of the model holds every layer twice, in float and as int8 would compute it, and a switch for each: so one
session measures them all.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.classes import softmax
from tasks.compress.exporting.sessions import open_model
from tasks.compress.quantising.graphs import linear_nodes
from tasks.compress.quantising.source import Batch
from tasks.progress import report_progress

ROWS = 64  # that sensitivity is measured on
TOLD = 5  # of the layers, in the log and the notes

log = logging.getLogger(__name__)


def most_sensitive(model: Any, batches: Sequence[Batch], count: int) -> tuple[list[str], dict[str, float]]:
    """Return the names of the `count` layers that int8 harms most, and notes on the first five.

    A layer's harm is the mean Kullback-Leibler divergence of the answers, with it alone quantised, from the float
    model's, on the first rows of the batches.
    """
    rows = np.cumsum([len(next(iter(batch.values()))) for batch in batches])
    harm = measure_harm(model, batches[: int(np.searchsorted(rows, ROWS)) + 1])
    order = sorted(harm, key=lambda name: (-harm[name], name))
    for name in order[:TOLD]:
        log.info("sensitivity: %s changes the answers by %.3g nats in int8", name, harm[name])
    return order[:count], {f"harm_{name}": round(harm[name], 9) for name in order[:TOLD]}


def measure_harm(model: Any, batches: Sequence[Batch]) -> dict[str, float]:
    """Return by layer the mean divergence, in nats, that quantising it alone makes."""
    names = linear_nodes(model)
    session = open_model(_with_switches(model, names))
    right = _answers(session, batches, names, "")
    harm = {}
    for done, name in enumerate(names):
        report_progress("measuring which layers int8 harms", done, len(names))
        harm[name] = mean_divergence(right, _answers(session, batches, names, name))
    report_progress("measuring which layers int8 harms", len(names), len(names))
    return harm


def mean_divergence(right: np.ndarray, other: np.ndarray) -> float:
    """Return the mean Kullback-Leibler divergence of rows of probabilities, both [rows, labels], in nats."""
    tiny = np.finfo(np.float32).tiny
    return float((right * (np.log(right + tiny) - np.log(other + tiny))).sum(axis=1).mean())


def round_columns(weights: np.ndarray) -> np.ndarray:
    """Return a matrix [inputs, outputs] as int8 keeps it: each column rounded to 255 steps around zero."""
    steps = np.abs(weights).max(axis=0, keepdims=True) / 127
    steps = np.where(steps == 0, 1, steps)
    rounded: np.ndarray = (np.round(weights / steps) * steps).astype(np.float32)
    return rounded


def _answers(session: Any, batches: Sequence[Batch], names: Sequence[str], quantised: str) -> np.ndarray:
    switches = {_switch(name): np.array(name == quantised) for name in names}
    return np.concatenate([
        softmax(session.run(["logits"], {**batch, **switches})[0].astype(np.float64)) for batch in batches
    ])  # fmt: skip


def _switch(name: str) -> str:
    return f"{name}_switch"


def _with_switches(model: Any, names: Sequence[str]) -> Any:
    """Return a copy of the model with a boolean input for each named layer: whether it computes as int8 would."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {each.name: each for each in copy.graph.initializer}
    for number, node in enumerate(copy.graph.node):
        if node.name not in names:
            continue
        rounded = round_columns(numpy_helper.to_array(weights[node.input[1]]))
        copy.graph.initializer.append(numpy_helper.from_array(rounded, f"{node.name}_rounded"))
        copy.graph.input.append(helper.make_tensor_value_info(_switch(node.name), TensorProto.BOOL, []))
        copy.graph.node[number].CopyFrom(_either(node))
    return copy


def _either(node: Any) -> Any:
    """Return the layer's node behind its switch: with its weights and its input rounded to int8, or as it is."""
    from onnx import helper

    whole, scale, zero, rounded = (f"{node.name}_{part}" for part in ("whole", "scale", "zero", "input"))
    as_int8 = [
        helper.make_node("DynamicQuantizeLinear", [node.input[0]], [whole, scale, zero]),
        helper.make_node("DequantizeLinear", [whole, scale, zero], [rounded]),
        _renamed(node, "int8", [rounded, f"{node.name}_rounded", *node.input[2:]]),
    ]
    return helper.make_node(
        "If", [_switch(node.name)], list(node.output), name=node.name,
        then_branch=_branch("int8", as_int8), else_branch=_branch("float", [_renamed(node, "float", list(node.input))]),
    )  # fmt: skip


def _renamed(node: Any, branch: str, inputs: list[str]) -> Any:
    import onnx

    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.name = f"{node.name}_{branch}"
    del made.input[:], made.output[:]
    made.input.extend(inputs)
    made.output.append(made.name)
    return made


def _branch(name: str, nodes: Sequence[Any]) -> Any:
    from onnx import TensorProto, helper

    end = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [end])
