"""Weights in 4 or 8 bits by blocks, computed with in float: a smaller file. Activations stay as they are."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from tasks.compress.material import Material
from tasks.compress.methods import WeightOnly
from tasks.compress.quantising.dynamic import quantise_graph
from tasks.compress.quantising.graphs import prepare
from tasks.compress.quantising.source import open_float, seal_quantised
from tasks.records import Candidate


def quantise_weights(method: WeightOnly, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source with narrow weights as an artifact in `folder`: linear layers in blocks that share a scale.

    Tables of embeddings go with them: by blocks in 4 bits, in 8 bits with one scale each.

    Raises:
        ModelError: the source is no float ONNX model, or its file is damaged.
    """
    given = open_float("weight_only", source, folder)
    made = narrow_weights(prepare(given.graph, split_attention=True), method.bits, method.block)
    return seal_quantised(made, given, folder, material, {}, f"int{method.bits}_blocks")


def narrow_weights(model: Any, bits: int, block: int) -> Any:
    """Return the `onnx.ModelProto` with its constant matrices and tables in so many bits, by blocks of that size."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.ERROR)
    tables = [node.name for node in model.graph.node if node.op_type == "Gather"]
    if bits == 8:  # the quantiser by blocks knows tables in 4 bits only
        model = quantise_graph(model, only=tables) if tables else model
    kinds = ("MatMul", "Gather") if bits == 4 else ("MatMul",)
    quantiser = MatMulNBitsQuantizer(model, bits=bits, block_size=block, is_symmetric=True, op_types_to_quantize=kinds)
    with np.errstate(invalid="ignore", divide="ignore"):  # of blocks that are all zeros, whose scale is zero too
        quantiser.process()
    return quantiser.model.model
