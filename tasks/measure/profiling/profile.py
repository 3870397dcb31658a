"""Where the time of a model goes: the parts of a call, its top operators, a trace, and what bounds it.

Times come from calls without a profiler, the shares of operators from a few more with it. Compares no models.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from serving.artifact import MANIFEST, REST, ArtifactInvalid, file_sha256
from serving.classes import BATCH_SIZE
from serving.loading import open_first
from tasks.artifacts import open_artifact, runtime_behind
from tasks.errors import ArtifactError, DataError
from tasks.measure.machine import describe_machine
from tasks.measure.profiling.calls import choose_calls, open_parts, threads_of, time_calls, trace_calls
from tasks.measure.profiling.roofline import Bound, Parts, Precision, Products, measure_roofs, name_bound
from tasks.measure.profiling.trace import Operation, Span, read_operations, write_trace
from tasks.records import Candidate

log = logging.getLogger(__name__)

SHOWN = 10  # operators
PROFILED = ("torch", "onnx", "openvino")


@dataclass(frozen=True)
class Operator:
    """All runs of one kind of operator."""

    name: str
    share: float  # of the model's time
    calls: float  # in each call of the model
    mean_us: float


@dataclass(frozen=True)
class Profile:
    """Where the time of one candidate went."""

    candidate: str  # its digest
    runtime: str
    threads: int
    texts: int
    batch_size: int
    seconds_per_text: float
    parts: Parts
    operators: tuple[Operator, ...]  # by time, at most ten
    products: Products | None  # None where the model has no matrix product
    bound: Bound
    sentence: str
    trace_uri: str


def is_profiled(candidate: Candidate) -> bool:
    """Return whether `profile` knows the candidate's runtime, or that of the model behind a cascade's first stages.

    Raises:
        ArtifactError: the artifact is missing or changed.
    """
    return runtime_behind(candidate) in PROFILED


def profile(
    candidate: Candidate,
    texts: Sequence[str],
    trace_path: Path,
    *,
    batch_size: int = 1,
    seconds: float = 1.0,
    threads: int | None = None,
) -> Profile:
    """Return where the candidate's time goes on texts spread over those given, and write its trace to `trace_path`.

    Takes about `seconds` and one more. `threads` defaults to the cores that this process may use. Of a cascade it is
    the model behind its first stage that is profiled, on the texts that reach it.

    Raises:
        ArtifactError: the artifact is missing or changed, or its runtime is not profiled.
        DataError: there are no texts.
        StorageError: the trace cannot be written.
    """
    if not texts:
        raise DataError("profile: there are no texts to run the model on; give it a split that has rows")
    threads = describe_machine(threads).threads
    if candidate.runtime == "cascade":
        return _profile_cascade(candidate, texts, trace_path, batch_size, seconds, threads)
    if candidate.runtime not in PROFILED:
        raise ArtifactError(f"profile: runtime {candidate.runtime!r} is not profiled, only {', '.join(PROFILED)}")
    return _profile_one(candidate, texts, trace_path, batch_size, seconds, threads)


def _profile_one(
    candidate: Candidate, texts: Sequence[str], trace_path: Path, batch_size: int, seconds: float, threads: int
) -> Profile:
    folder, manifest = open_artifact(candidate)
    runtime = manifest["runtime"]
    with threads_of(runtime, threads):
        model = open_parts(folder, manifest, threads)
        calls = choose_calls(model, texts, batch_size, seconds)
        timed, rounds = time_calls(model, calls, seconds / 2)
        events, spans = trace_calls(model, calls, folder, manifest, threads)
        operations = read_operations(events)
        model_s = max(_seconds(timed, "model") / rounds, sum(operation.seconds for operation in operations))
        products = _products(operations, model_s, runtime, threads)
    write_trace(trace_path, events, spans)
    parts, other_us = _parts(timed), _mean_other_us(operations, model_s)
    bound, sentence = name_bound(parts, products, other_us, runtime, can_batch=batch_size < BATCH_SIZE)
    log.info("profile of %s: %s", candidate.digest[:8], sentence)
    answered = len(calls) * batch_size
    return Profile(
        candidate.digest, runtime, threads, min(answered, len(texts)), batch_size,
        _seconds(timed, "call") / rounds / answered, parts, _top(operations, model_s, len(calls)), products,
        bound, sentence, str(trace_path),
    )  # fmt: skip


def _profile_cascade(
    candidate: Candidate, texts: Sequence[str], trace_path: Path, batch_size: int, seconds: float, threads: int
) -> Profile:
    """Return the profile of what is behind the first stage, with the stage's share and time before its sentence."""
    folder, manifest = open_artifact(candidate)
    try:
        first = open_first(folder, manifest, threads)
    except ArtifactInvalid as error:
        raise ArtifactError(f"profile: {error}") from error
    first.answers(texts[:SHOWN])  # not counted
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    started = time.perf_counter()
    sure = np.concatenate([first.answers(batch)[1] for batch in batches]) >= manifest["threshold"]
    each = (time.perf_counter() - started) / len(texts)
    left = [text for text, known in zip(texts, sure, strict=True) if not known]
    behind = json.loads((folder / REST / MANIFEST).read_text("utf-8"))["runtime"]
    rest = Candidate(str(folder / REST), file_sha256(folder / REST / MANIFEST), behind, 0)
    found = profile(rest, left or texts, trace_path, batch_size=batch_size, seconds=seconds, threads=threads)
    share = float(sure.mean())
    return replace(
        found,
        candidate=candidate.digest,
        runtime="cascade",
        seconds_per_text=each + (1 - share) * found.seconds_per_text,
        sentence=f"The first stage answers {100 * share:.0f} % of the texts, in {1e6 * each:.0f} us each; behind it: "
        f"{found.sentence}",
    )


def _seconds(spans: list[Span], name: str) -> float:
    return sum(span.end_ns - span.start_ns for span in spans if span.name == name) / 1e9


def _parts(spans: list[Span]) -> Parts:
    tokenize, model = (_seconds(spans, name) / _seconds(spans, "call") for name in ("tokenize", "model"))
    return Parts(tokenize, model, 1 - tokenize - model)


def _top(operations: list[Operation], model_s: float, calls: int) -> tuple[Operator, ...]:
    """Return the operators by their time; `model_s` is that of all calls together."""
    by_name: dict[str, list[float]] = {}
    for operation in operations:
        by_name.setdefault(operation.name, []).append(operation.seconds)
    longest = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:SHOWN]
    return tuple(
        Operator(name, sum(runs) / model_s, len(runs) / calls, 1e6 * sum(runs) / len(runs)) for name, runs in longest
    )


def _products(operations: list[Operation], model_s: float, runtime: str, threads: int) -> Products | None:
    """Return what the matrix products reach, of the precision that takes the most time; None where there are none."""
    seconds: dict[Precision, float] = {}
    for operation in operations:
        if operation.precision is not None:
            seconds[operation.precision] = seconds.get(operation.precision, 0.0) + operation.seconds
    if sum(seconds.values()) <= 0:
        return None
    precision = max(seconds, key=lambda name: seconds[name])
    alike = [operation for operation in operations if operation.precision == precision]
    return Products(
        precision,
        sum(seconds.values()) / model_s,
        sum(operation.flops for operation in alike) / seconds[precision] / 1e9,
        sum(operation.bytes for operation in alike) / seconds[precision] / 1e9,
        measure_roofs(runtime, precision, threads),
    )


def _mean_other_us(operations: list[Operation], model_s: float) -> float:
    """Return the microseconds of each operator that is no matrix product, with the pauses between operators."""
    others = sum(operation.precision is None for operation in operations)
    product_s = sum(operation.seconds for operation in operations if operation.precision is not None)
    return 1e6 * (model_s - product_s) / max(1, others)
