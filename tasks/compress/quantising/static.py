"""Static int8 of an ONNX model: weights per channel, activations by ranges found on real rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.compress.exporting.hardware import note_int8
from tasks.compress.material import Material
from tasks.compress.methods import Int8Static
from tasks.compress.quantising.dynamic import FLOAT, quantiser_file
from tasks.compress.quantising.graphs import linear_nodes, prepare
from tasks.compress.quantising.sensitivity import most_sensitive
from tasks.compress.quantising.source import Batch, calibration_texts, open_float, seal_quantised
from tasks.records import Candidate

QUANTISED = ["MatMul", "Gather"]  # the rest between them is cheap, and float keeps its accuracy
RANGES = "MinMax"
FORMAT = "QDQ"


def quantise_static(method: Int8Static, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source with int8 weights and fixed ranges of its activations as an artifact in `folder`.

    Raises:
        ModelError: the source is no float ONNX model, its file is damaged, or there are too few rows to calibrate on.
    """
    given = open_float("int8_static", source, folder)
    batches = given.batches(calibration_texts("int8_static", material, method.rows))
    model = prepare(given.graph, split_attention=True)
    notes, kept = note_int8() | {"calibration_rows": float(sum(map(_rows, batches)))}, list[str]()
    if method.float_layers:
        kept, measured = most_sensitive(model, batches, method.float_layers)
        notes |= measured
    made = quantise_with_ranges(model, batches, reduce_range=method.reduce_range, exclude=kept)
    return seal_quantised(made, given, folder, material, notes, "int8")


def quantise_with_ranges(
    model: Any, batches: Sequence[Batch], *, reduce_range: bool = False, exclude: Sequence[str] = (),
    ranges: str = RANGES, form: str = FORMAT,
) -> Any:  # fmt: skip
    """Return the `onnx.ModelProto` in static int8, with ranges that the batches gave; the source stays as it is."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tables = [node.name for node in copy.graph.node if node.op_type == "Gather"]
    with quantiser_file() as target:
        quantize_static(
            copy, str(target), _Reader(batches), quant_format=QuantFormat[form], op_types_to_quantize=QUANTISED,
            per_channel=True, reduce_range=reduce_range, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, nodes_to_quantize=[*linear_nodes(copy), *tables],
            nodes_to_exclude=list(exclude), calibrate_method=CalibrationMethod[ranges], extra_options=FLOAT,
        )  # fmt: skip
        return onnx.load(target)


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


class _Reader:
    """The batches as ONNX Runtime's calibration reads them."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._rest: Iterator[Batch] = iter(batches)

    def get_next(self) -> Batch | None:
        """Return the next batch; None after the last."""
        return next(self._rest, None)
