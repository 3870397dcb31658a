"""Calls of a model with each of its parts timed: as it serves, and under its runtime's profiler. Judges no times."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from serving.artifact import ArtifactInvalid
from serving.classes import Tokenize, predict_classes, tokenizer_function
from serving.runtimes.ort import open_session
from tasks.errors import ArtifactError
from tasks.measure.profiling.openvino_trace import OpenVinoTrace
from tasks.measure.profiling.trace import RUN, Event, Span, read_events

WARM_UP = 3
TRACED_CALLS = 20  # at most; each is some hundred events of the trace

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parted:
    """What a predictor is made of, so that each part can be timed."""

    labels: list[str]
    tokenize: Tokenize
    run: Callable[[Batch], np.ndarray]  # token arrays -> logits [batch, labels]


@contextmanager
def threads_of(runtime: str, threads: int) -> Iterator[None]:
    """Give PyTorch so many threads while the block runs; ONNX Runtime's are its session's."""
    if runtime != "torch":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def open_parts(folder: Path, manifest: dict[str, Any], threads: int) -> Parted:
    """Return the parts of the artifact's predictor; PyTorch uses the threads that are set for the process.

    Raises:
        ArtifactError: its runtime cannot open it.
    """
    if manifest["runtime"] == "torch":
        return _open_torch(folder, manifest)
    try:
        if manifest["runtime"] == "openvino":
            return _open_openvino(folder, manifest, threads)
        return _parts_of(manifest, folder, open_session(folder, manifest, threads))
    except ArtifactInvalid as error:
        raise ArtifactError(str(error)) from error


def _open_openvino(folder: Path, manifest: dict[str, Any], threads: int) -> Parted:
    from serving.runtimes.openvino_runtime import OpenVinoPredictor

    predictor = OpenVinoPredictor(folder, manifest, threads)
    return Parted(manifest["labels"], tokenizer_function(folder, manifest["max_length"]), predictor.logits)


def _parts_of(manifest: dict[str, Any], folder: Path, session: Any) -> Parted:
    inputs = [node.name for node in session.get_inputs()]

    def run(batch: Batch) -> np.ndarray:
        logits: np.ndarray = session.run(["logits"], {name: batch[name] for name in inputs})[0]
        return logits  # [batch, labels]

    return Parted(manifest["labels"], tokenizer_function(folder, manifest["max_length"]), run)


def _open_torch(folder: Path, manifest: dict[str, Any]) -> Parted:
    import torch

    from tasks.train.model import load_artifact

    network = load_artifact(folder, manifest)

    @torch.inference_mode()
    def run(batch: Batch) -> np.ndarray:
        tensors = {name: torch.from_numpy(batch[name]) for name in manifest["inputs"]}
        logits: np.ndarray = network(**tensors)["logits"].numpy()
        return logits  # [batch, labels]

    return Parted(manifest["labels"], tokenizer_function(folder, manifest["max_length"]), run)


def choose_calls(model: Parted, texts: Sequence[str], batch_size: int, seconds: float) -> list[list[str]]:
    """Return as many calls as take about a quarter of the seconds, of texts spread evenly, after warming up."""

    def spread(count: int) -> list[list[str]]:
        wanted = count * batch_size
        picked = [texts[row * len(texts) // wanted] for row in range(wanted)]
        return [picked[start : start + batch_size] for start in range(0, wanted, batch_size)]

    warm: list[Span] = []
    for _ in range(WARM_UP):
        _answer(model, spread(1)[0], warm)
    took = (warm[-1].end_ns - warm[-1].start_ns) / 1e9
    return spread(max(1, min(TRACED_CALLS, len(texts) // batch_size, int(seconds / 4 / took))))


def _answer(model: Parted, texts: Sequence[str], spans: list[Span]) -> None:
    """Answer the texts as a predictor does, adding a span for each part and, last, for the whole call."""

    def watch(name: str, work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def watched(given: Any) -> Any:
            started = time.perf_counter_ns()
            made = work(given)
            spans.append(Span(name, started, time.perf_counter_ns()))
            return made

        return watched

    tokenize, run = watch("tokenize", model.tokenize), watch("model", model.run)
    watch("call", lambda given: predict_classes(given, model.labels, tokenize, run))(texts)


def time_calls(model: Parted, calls: list[list[str]], seconds: float) -> tuple[list[Span], int]:
    """Return the spans of whole rounds over the calls, and how many rounds there were in the seconds."""
    for call in calls:
        _answer(model, call, [])  # not counted: a runtime may prepare itself for every new length
    spans: list[Span] = []
    rounds, end = 0, time.perf_counter() + seconds
    while not rounds or time.perf_counter() < end:
        for call in calls:
            _answer(model, call, spans)
        rounds += 1
    return spans, rounds


def trace_calls(
    model: Parted, calls: list[list[str]], folder: Path, manifest: dict[str, Any], threads: int
) -> tuple[list[Event], list[Span]]:
    """Return what the runtime's profiler saw of the calls, and their parts' spans."""
    with tempfile.TemporaryDirectory() as scratch:
        if manifest["runtime"] == "torch":
            return _trace_torch(model, calls, Path(scratch) / "trace.json")
        if manifest["runtime"] == "openvino":
            return _trace_openvino(model, calls, OpenVinoTrace(folder, manifest, threads))
        session = open_session(folder, manifest, threads, trace_prefix=str(Path(scratch) / "trace"))
        spans = _traced(_parts_of(manifest, folder, session), calls)
        return read_events(Path(session.end_profiling()), _runs(spans)), spans


def _trace_openvino(model: Parted, calls: list[list[str]], trace: OpenVinoTrace) -> tuple[list[Event], list[Span]]:
    spans = _traced(replace(model, run=trace.run), calls)
    return trace.events_of_last(_runs(spans)), spans


def _trace_torch(model: Parted, calls: list[list[str]], path: Path) -> tuple[list[Event], list[Span]]:
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # its notes would stand on standard error
    from torch.profiler import ProfilerActivity, profile, record_function

    def marked(batch: Batch) -> np.ndarray:
        with record_function(RUN):
            return model.run(batch)

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        spans = _traced(replace(model, run=marked), calls)
    profiler.export_chrome_trace(str(path))
    return read_events(path, _runs(spans)), spans


def _traced(model: Parted, calls: list[list[str]]) -> list[Span]:
    spans: list[Span] = []
    _answer(model, calls[0], [])  # not counted: a profiler and a new session are slow at first
    for call in calls:
        _answer(model, call, spans)
    return spans


def _runs(spans: list[Span]) -> int:
    return sum(span.name == "model" for span in spans)
