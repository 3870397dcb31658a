"""A trace of OpenVINO's own counters, in the form in which ONNX Runtime traces. Times no call as it is served."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.measure.profiling.trace import OPENVINO_INT8, RUN, Event

MATRIX_PRODUCTS = ("FullyConnected", "MatMul")


class OpenVinoTrace:
    """The model compiled once more with counters on, a graph for each shape; every run adds its operators' times.

    OpenVINO counts how long each operator took, not when: in the trace they stand one after another.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int) -> None:
        from serving.runtimes.openvino_runtime import Graphs

        self._graphs = Graphs(folder, manifest, threads, profiled=True)
        self._opened: dict[tuple[int, int], tuple[Any, dict[str, dict[str, Any]]]] = {}
        self._runs: list[list[Event]] = []

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Return the logits `[texts, labels]` of token arrays, and remember what the run's operators took."""
        texts, tokens = batch["input_ids"].shape
        feed = {name: batch[name] for name in self._graphs.inputs}
        if (texts, tokens) not in self._opened:
            compiled = self._graphs.compiled((texts, tokens))
            self._opened[texts, tokens] = compiled.create_infer_request(), _shapes_of(compiled.get_runtime_model())
            self._opened[texts, tokens][0].infer(feed)  # not counted: the first run packs the weights
        request, shapes = self._opened[texts, tokens]
        started = time.perf_counter_ns()
        logits: np.ndarray = request.infer(feed)[0]
        took = time.perf_counter_ns() - started
        self._runs.append(_events(started / 1000, took / 1000, request.profiling_info, shapes))
        return logits

    def events_of_last(self, runs: int) -> list[Event]:
        """Return the events of the last runs, each run's own before its operators'."""
        return [event for run in self._runs[-runs:] for event in run]


def _shapes_of(model: Any) -> dict[str, dict[str, Any]]:
    """Return, by the operator's name, the shapes of what it reads and makes, as ONNX Runtime's trace names them."""
    return {
        node.get_friendly_name(): {
            "input_type_shape": [{"tensor": list(port.get_shape())} for port in node.inputs()],
            "output_type_shape": [{"tensor": list(port.get_shape())} for port in node.outputs()],
        }
        for node in model.get_ops()
    }


def _events(started_us: float, took_us: float, counters: Any, shapes: dict[str, dict[str, Any]]) -> list[Event]:
    where = {"ph": "X", "pid": os.getpid(), "tid": threading.get_native_id()}
    events: list[Event] = [{**where, "cat": "Session", "name": RUN, "ts": started_us, "dur": took_us}]
    now = started_us
    for counter in counters:
        seconds = counter.real_time.total_seconds()
        if seconds <= 0:
            continue
        kind = counter.node_type
        if kind in MATRIX_PRODUCTS and counter.exec_type.lower().endswith("_i8"):
            kind += OPENVINO_INT8
        args = {"op_name": kind, **shapes.get(counter.node_name, {})}
        duration = min(1e6 * seconds, started_us + took_us - now)
        events.append({**where, "cat": "Node", "name": counter.node_name, "ts": now, "dur": duration, "args": args})
        now += duration
    return events
