"""An ONNX graph with fewer and quicker nodes: a small model's time at batch 1 is mostly their number. Exports nothing.

Attention becomes one node (the fusions of onnxscript, made for ONNX Runtime) where its mask only hides padding, which
is measured on the graph itself; the node takes the mask as it comes. The sum before a layer normalisation is a `Sum`:
ONNX Runtime would fuse `Add` into its SkipLayerNormalization, several times slower on a CPU than the two nodes.
Whether the outcome still answers as the model does is for the caller to check.
"""

import logging
from typing import Any

import numpy as np

from tasks.compress.exporting.sessions import open_model
from tasks.errors import ModelError

log = logging.getLogger(__name__)

MASK = "attention_mask"
WHOLE_MASK = "whole_attention_mask"  # what an attention node takes: the same as int32
HIDDEN_BIAS = -1e4  # a score that no softmax lets through
UNFINISHED = "ai.onnxruntime._fusion"  # of nodes that only a further fusion makes runnable
TRIED = ((2, 7), (3, 70))  # texts, tokens: besides the longest that the model takes


def fuse_graph(model: Any, longest: int) -> Any:
    """Return the model, an `onnx.ModelProto`, fused; `longest` is how many tokens it takes at most.

    Attention that is masked otherwise (causal, windowed, biased by position) stays as it was exported.
    """
    import onnx_ir as ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    fused = _fuse_attention(model, longest) or model
    _sum_before_normalising(fused)
    graph = ir.serde.deserialize_model(fused)
    RemoveUnusedNodesPass()(graph)
    fused = ir.serde.serialize_model(graph)
    _name_nodes(fused)
    del fused.graph.value_info[:]  # quantisers change weights, which would make the recorded shapes wrong
    return fused


def _fuse_attention(model: Any, longest: int) -> Any | None:
    """Return the model with one node for each attention; None where its attention is not of that kind."""
    import onnx_ir as ir
    from onnxscript.rewriter.ort_fusions.attention import fuse_attention

    graph = ir.serde.deserialize_model(model)
    heads = _fuse_heads(graph)
    halfway = ir.serde.serialize_model(graph)
    unfinished = any(node.domain == UNFINISHED for node in halfway.graph.node)
    if not heads or unfinished or not _takes_mask(halfway, longest):
        return None
    fuse_attention(graph)
    _fold_weights(graph)
    fused = ir.serde.serialize_model(graph)
    _hand_mask_over(fused)
    return fused


def _fuse_heads(graph: Any) -> int:
    """Fuse scaled dot products into multi-head attention in place; return how many there are."""
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass, ShapeInferencePass
    from onnxscript.optimizer import optimize
    from onnxscript.rewriter.ort_fusions import shape_optimization
    from onnxscript.rewriter.ort_fusions.mha import fuse_mha1, fuse_mha2
    from onnxscript.rewriter.ort_fusions.mha_bias import fuse_mha_bias
    from onnxscript.rewriter.ort_fusions.mha_scale import fuse_mha_scale
    from onnxscript.rewriter.ort_fusions.sdpa import fuse_sdpa

    ShapeInferencePass()(graph)
    optimize(graph)
    shape_optimization.rules.apply_to_model(graph)
    optimize(graph)
    CommonSubexpressionEliminationPass()(graph)
    fuse_sdpa(graph, apply_shape_inference=True)
    heads = int(fuse_mha1(graph)) + int(fuse_mha2(graph))
    fuse_mha_scale(graph)
    if heads:
        fuse_mha_bias(graph)
    optimize(graph)
    return heads


def _fold_weights(graph: Any) -> None:
    """Join the weights of queries, keys and values: constants of any size, but nothing else grows."""
    from onnxscript.optimizer import fold_constants

    fold_constants(
        graph,
        input_size_limit=2**40,
        output_size_limit=2**40,
        should_fold=lambda node: node.op_type == "Concat" or None,
    )


def _takes_mask(model: Any, longest: int) -> bool:
    """Return whether every attention's bias does nothing but hide padding, whatever the texts."""
    if MASK not in (each.name for each in model.graph.input):
        return False
    found = [node for node in model.graph.node if node.op_type == "MultiHeadAttention"]
    biases = {node.input[5] if len(node.input) > 5 else "" for node in found}
    return "" not in biases and all(_hides_padding_only(model, name, longest) for name in biases)


def _hides_padding_only(model: Any, bias: str, longest: int) -> bool:
    import onnx

    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.append(onnx.ValueInfoProto(name=bias))
    try:
        session = open_model(part)
    except ModelError as error:  # the fusions suit some graphs so little that what they leave does not open
        log.info("onnx: attention stays as it was exported: %s", error)
        return False
    return all(_is_mask(session, texts, min(tokens, longest)) for texts, tokens in (*TRIED, (2, longest)))


def _is_mask(session: Any, texts: int, tokens: int) -> bool:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (texts, tokens))  # padding anywhere: [texts, tokens]
    mask[:, 0] = 1
    feed = {each.name: np.ones((texts, tokens), np.int64) for each in session.get_inputs()}
    bias: np.ndarray = session.run(None, feed | {MASK: mask})[0]  # [texts or 1, heads or 1, tokens or 1, tokens]
    if bias.ndim != 4 or bias.dtype == bool:
        return False
    seen = np.broadcast_to(mask[:, None, None, :] == 1, np.broadcast_shapes(bias.shape, (texts, 1, 1, tokens)))
    bias = np.broadcast_to(bias, seen.shape)
    return bool((bias[seen] == 0).all() and (bias[~seen] <= HIDDEN_BIAS).all())


def _hand_mask_over(model: Any) -> None:
    """Give each attention node the mask itself in place of a bias made from it."""
    from onnx import TensorProto, helper

    for node in model.graph.node:
        if node.op_type == "Attention":
            _set_inputs(node, [*node.input[:3], WHOLE_MASK])
            kept = [each for each in node.attribute if each.name != "qkv_hidden_sizes"]  # equal here; int8 has no such
            del node.attribute[:]
            node.attribute.extend(kept)
        elif node.op_type == "MultiHeadAttention":
            _set_inputs(node, [*node.input[:4], WHOLE_MASK])
    cast = helper.make_node("Cast", [MASK], [WHOLE_MASK], to=TensorProto.INT32)
    model.graph.node.insert(0, cast)


def _set_inputs(node: Any, names: list[str]) -> None:
    del node.input[:]
    node.input.extend(names)


def _sum_before_normalising(model: Any) -> None:
    normalised = {node.input[0] for node in model.graph.node if node.op_type == "LayerNormalization"}
    for node in model.graph.node:
        if node.op_type == "Add" and node.output[0] in normalised:
            node.op_type = "Sum"


def _name_nodes(model: Any) -> None:
    """Give every node a name of its own: quantisers tell nodes apart by it."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)
