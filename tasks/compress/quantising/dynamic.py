"""Dynamic int8 of an ONNX model: weights per channel, activations as they come."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.runtimes.ort import import_onnxruntime
from tasks.compress.exporting.hardware import note_int8
from tasks.compress.material import Material
from tasks.compress.methods import Int8Dynamic
from tasks.compress.quantising.graphs import prepare
from tasks.compress.quantising.sensitivity import ROWS, most_sensitive
from tasks.compress.quantising.source import calibration_texts, open_float, seal_quantised
from tasks.records import Candidate

FLOAT = {"DefaultTensorType": 1}  # of tensors whose type no shape inference finds: onnx.TensorProto.FLOAT


def quantise_dynamic(method: Int8Dynamic, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source with int8 weights, its table of tokens too, as an artifact in `folder`.

    Raises:
        ModelError: the source is no float ONNX model, its file is damaged, or `float_layers` has too few rows to
            measure sensitivity on.
    """
    given = open_float("int8", source, folder)
    model = prepare(given.graph, split_attention=False)
    notes, kept = note_int8(), list[str]()
    if method.float_layers:
        batches = given.batches(calibration_texts("float_layers", material, ROWS))
        kept, measured = most_sensitive(model, batches, method.float_layers)
        notes |= measured
    made = quantise_graph(model, reduce_range=method.reduce_range, exclude=kept)
    return seal_quantised(made, given, folder, material, notes, "int8")


def quantise_graph(
    model: Any, *, reduce_range: bool = False, only: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Any:
    """Return the `onnx.ModelProto` in dynamic int8: all that can be, or the nodes named `only`; the source stays."""
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with quantiser_file() as target:
        quantize_dynamic(
            copy, str(target), per_channel=True, weight_type=QuantType.QInt8, reduce_range=reduce_range,
            nodes_to_quantize=list(only) or None, nodes_to_exclude=list(exclude), extra_options=FLOAT,
        )  # fmt: skip
        return onnx.load(target)


@contextmanager
def quantiser_file() -> Iterator[Path]:
    """Give a file for ONNX Runtime's quantiser to write, which is not heard in the block and gone after it."""
    root = logging.getLogger()
    root.addFilter(_not_of_quantiser)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "model.onnx"
    finally:
        root.removeFilter(_not_of_quantiser)


def _not_of_quantiser(record: logging.LogRecord) -> bool:
    """Return whether a record is not of ONNX Runtime's quantiser, which tells the root logger of every tensor."""
    return "onnxruntime" not in Path(record.pathname).parts
