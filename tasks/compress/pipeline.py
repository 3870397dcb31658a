"""Which function makes which compression pass. A pass takes a candidate and writes the next one into a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.compress.cascading.front import put_in_front
from tasks.compress.exporting.onnx_export import export_onnx
from tasks.compress.exporting.openvino_export import export_openvino
from tasks.compress.exporting.tensorrt_export import export_tensorrt
from tasks.compress.material import Material
from tasks.compress.methods import (
    Cascade,
    CompressPass,
    DistilInto,
    Factorise,
    Int8Dynamic,
    Int8Static,
    Onnx,
    OpenVino,
    Prune,
    Recover,
    Shrink,
    TensorRt,
    TrimVocabulary,
    WeightOnly,
    Window,
)
from tasks.compress.quantising.dynamic import quantise_dynamic
from tasks.compress.quantising.static import quantise_static
from tasks.compress.quantising.weight_only import quantise_weights
from tasks.compress.shaping.distil import distil_into
from tasks.compress.shaping.factorise import factorise
from tasks.compress.shaping.prune import prune
from tasks.compress.shaping.recover import recover
from tasks.compress.shaping.shrink import shrink
from tasks.compress.shaping.vocabulary import trim_vocabulary
from tasks.compress.shaping.window import set_attention_window
from tasks.records import Candidate

Pass = Callable[[Any, Candidate, Path, Material], Candidate]

PASSES: dict[type[Any], Pass] = {
    # PyTorch to PyTorch
    TrimVocabulary: trim_vocabulary,
    Prune: prune,
    Shrink: shrink,
    Factorise: factorise,
    Window: set_attention_window,
    DistilInto: distil_into,
    Recover: recover,
    # PyTorch to what is served
    Onnx: export_onnx,
    OpenVino: export_openvino,
    TensorRt: export_tensorrt,
    # ONNX to narrower ONNX
    Int8Dynamic: quantise_dynamic,
    Int8Static: quantise_static,
    WeightOnly: quantise_weights,
    # what is served to a cascade
    Cascade: put_in_front,
}


def compress_pass(method: CompressPass, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source after the pass, as a sealed artifact in `folder`.

    Raises:
        ModelError: the pass is not legal on this source.
    """
    return PASSES[type(method)](method, source, folder, material)
