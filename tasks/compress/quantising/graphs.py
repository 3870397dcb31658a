"""Linear layers in an ONNX graph: which there are, and one form for all of them. Quantises nothing."""

from typing import Any

WEIGHED = ("MatMul", "Attention")


def prepare(model: Any, *, split_attention: bool) -> Any:
    """Return a copy of the model whose linear layers are `MatMul`, or within `Attention` unless that is to be split."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    wrapped = ONNXModel(copy)
    wrapped.replace_gemm_with_matmul()
    if split_attention:
        _split_attention(copy)
    del copy.graph.value_info[:]  # quantisers change weights, which would make the recorded shapes wrong
    _tell_types(copy)
    return copy


def linear_nodes(model: Any) -> list[str]:
    """Return the names of the nodes that multiply by constant weights, in the graph's order."""
    constants = {each.name for each in model.graph.initializer}
    return [
        node.name for node in model.graph.node
        if node.op_type in WEIGHED and node.input[1] in constants
    ]  # fmt: skip


def _tell_types(model: Any) -> None:
    """Say that what linear layers take and give is float: no shape inference sees through ONNX Runtime's own nodes."""
    from onnx import TensorProto, helper

    told = {each.name for each in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    linear = set(linear_nodes(model))
    for node in model.graph.node:
        for name in (node.input[0], node.output[0]) if node.name in linear else ():
            if name not in told:
                told.add(name)
                model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _split_attention(model: Any) -> None:
    """Make of each `Attention` a MatMul for queries, keys and values, and the attention proper."""
    from onnx import helper

    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type != "Attention":
            model.graph.node.append(node)
            continue
        rows, weight, bias, mask = node.input[:4]
        made, joined, parts = f"{node.name}_joined", f"{node.name}_biased", [f"{node.name}_{part}" for part in "qkv"]
        heads = next(each.i for each in node.attribute if each.name == "num_heads")
        model.graph.node.extend([
            helper.make_node("MatMul", [rows, weight], [made], name=f"{node.name}_weights"),
            helper.make_node("Add", [made, bias], [joined], name=f"{node.name}_bias"),
            helper.make_node("Split", [joined], parts, name=f"{node.name}_split", axis=-1, num_outputs=3),
            helper.make_node("MultiHeadAttention", [*parts, "", mask], list(node.output), name=node.name,
                             domain="com.microsoft", num_heads=heads),
        ])  # fmt: skip
