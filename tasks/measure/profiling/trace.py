"""Traces of a runtime's profiler in the Trace Event Format: reading operators from them, writing one for Perfetto.

Runs no model. What is written holds names, shapes and times, never a text or a path.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import StorageError
from tasks.measure.profiling.roofline import Precision

Event = dict[str, Any]
RUN = "model_run"  # what ONNX Runtime calls a run of the model, and PyTorch's runs are marked with
KEPT_ARGS = ("op_name", "input_type_shape", "output_type_shape", "Input Dims", "Input type")
OPENVINO_INT8 = " int8"  # marks OpenVINO's products in int8, which have the names of those in float
INT8_PRODUCTS = {
    "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger", "QLinearMatMul", "QGemm",
    f"FullyConnected{OPENVINO_INT8}", f"MatMul{OPENVINO_INT8}",
}  # fmt: skip
ONNX_PRODUCTS = {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "FullyConnected"} | INT8_PRODUCTS
TORCH_PRODUCTS = {"linear": 0, "matmul": 0, "mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}  # where the left matrix stands
ATTENTION = "scaled_dot_product_attention"
PARTS_THREAD = 2**22 + 1  # above every thread number of Linux: the parts' own line in the picture


@dataclass(frozen=True)
class Span:
    """A stretch of time in nanoseconds of any clock."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Operation:
    """One operator's run."""

    name: str
    seconds: float
    precision: Precision | None = None  # of a matrix product; None for any other operator
    flops: int = 0
    bytes: int = 0  # of the matrices that a product reads and writes, each once


def read_events(path: Path, runs: int) -> list[Event]:
    """Return the timed events of the last `runs` model runs of a trace, those of one thread nested cleanly."""
    content = json.loads(path.read_text("utf-8"))
    found = content["traceEvents"] if isinstance(content, dict) else content
    timed = [event for event in found if event.get("ph") == "X" and event.get("cat") != "Trace"]
    started = sorted(event["ts"] for event in timed if event["name"] == RUN)[-runs]
    return _nested([event for event in timed if event["ts"] >= started])


def _nested(events: list[Event]) -> list[Event]:
    """Return the events by start, none ending after the one around it: whole microseconds can make it seem so."""
    ends: dict[Any, list[float]] = {}
    nested = []
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        around = ends.setdefault(event["tid"], [])
        while around and around[-1] <= event["ts"]:
            around.pop()
        end = min([event["ts"] + event["dur"], *around[-1:]])
        around.append(end)
        nested.append({**event, "dur": end - event["ts"]})
    return nested


def read_operations(events: Sequence[Event]) -> list[Operation]:
    """Return the operators that the model itself called, each with what it calls in turn."""
    over: dict[Any, float] = {}
    found = []
    for event in events:
        category = event.get("cat")
        if category in ("Node", "cpu_op") and event["ts"] >= over.get(event["tid"], -math.inf):
            over[event["tid"]] = event["ts"] + event["dur"]
            found.append(_of_onnx(event) if category == "Node" else _of_torch(event))
    return found


def _of_onnx(event: Event) -> Operation:
    args, seconds = event["args"], event["dur"] / 1e6
    name = args["op_name"]
    inputs, outputs = (
        [shape for tensor in args.get(key, ()) for shape in tensor.values()]
        for key in ("input_type_shape", "output_type_shape")
    )
    if name not in ONNX_PRODUCTS or not inputs or not inputs[0] or not outputs:
        return Operation(name, seconds)
    left, made = inputs[0], outputs[0]
    weights = left[-1] * (made[-1] if made else 1)  # packed constants are not among the inputs
    right = math.prod(inputs[1]) if len(inputs) > 1 and len(inputs[1]) > 1 else weights
    size = 1 if name in INT8_PRODUCTS else 4
    return Operation(name, seconds, "int8" if size == 1 else "float32", 2 * math.prod(made) * left[-1],
                     4 * math.prod(left) + size * right + 4 * math.prod(made))  # fmt: skip


def _of_torch(event: Event) -> Operation:
    name, seconds = event["name"].removeprefix("aten::"), event["dur"] / 1e6
    shapes = event["args"].get("Input Dims", [])
    if name == ATTENTION:
        query, key = shapes[:2]
        return Operation(name, seconds, "float32", 4 * math.prod(query) * key[-2],
                         8 * (math.prod(query) + math.prod(key)))  # fmt: skip
    if name not in TORCH_PRODUCTS:
        return Operation(name, seconds)
    left, right = shapes[TORCH_PRODUCTS[name]], shapes[TORCH_PRODUCTS[name] + 1]
    columns = right[0 if name == "linear" else -1] if len(right) > 1 else 1
    made = math.prod(left) // left[-1] * columns
    return Operation(name, seconds, "float32", 2 * made * left[-1], 4 * (math.prod(left) + math.prod(right) + made))


def write_trace(path: Path, events: Sequence[Event], spans: Sequence[Span]) -> None:
    """Write the events, and the spans of the same runs on a line of their own, as a trace that Perfetto opens.

    The clocks are set by the last run of the model, which is in both.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    last_event = max(event["ts"] for event in events if event["name"] == RUN)
    last_span = max(span.start_ns for span in spans if span.name == "model")
    process, thread = events[0]["pid"], events[0]["tid"]
    parts: list[Event] = [
        {"ph": "X", "cat": "part", "name": span.name, "pid": process, "tid": PARTS_THREAD,
         "ts": last_event + (span.start_ns - last_span) / 1000, "dur": (span.end_ns - span.start_ns) / 1000}
        for span in spans
    ]  # fmt: skip
    origin = min(event["ts"] for event in (*parts, *events))
    lines = [
        _named("process_name", process, thread, "ratchet profile"),
        _named("thread_name", process, thread, "operators"),
        _named("thread_name", process, PARTS_THREAD, "parts of a call"),
        *(_shown(event, origin) for event in (*parts, *events)),
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"displayTimeUnit": "ms", "traceEvents": lines}), "utf-8")
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); mend its rights or space") from error


def _named(kind: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _shown(event: Event, origin: float) -> Event:
    args = {key: value for key, value in event.get("args", {}).items() if key in KEPT_ARGS}
    return {**event, "ts": event["ts"] - origin, "args": args}
