"""Speed of several artifacts measured interleaved in one process, so that a noisy machine cancels out of the ratios."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence

import numpy as np

from serving.predictors import Predictor
from tasks.measure.machine import describe_machine
from tasks.measure.runtime import load
from tasks.progress import report_progress
from tasks.records import Candidate, Machine, Speed
from tasks.specs import BenchmarkSpec

log = logging.getLogger(__name__)

P99_SAMPLES = 1000
WARM_UP = 5


def measure_speed(
    candidates: Sequence[Candidate], peak_memory: Sequence[int], texts: Sequence[str], spec: BenchmarkSpec
) -> list[Speed]:
    """Return the speed of each candidate, in their order: block by block in turn, order reversed every other block.

    `peak_memory` holds the bytes of each candidate; `texts` are served again from the start where they do not suffice.

    Raises:
        ArtifactError: an artifact does not load.
    """
    machine = describe_machine(spec.threads)
    predictors = [load(candidate, machine.threads) for candidate in candidates]
    for predictor in predictors:
        for text in texts[:WARM_UP]:
            predictor.predict([text])
        predictor.predict(list(texts[: spec.batch_size]))
    single = _interleave(predictors, _blocks(texts, spec), 1, spec.blocks)
    batches = max(3, spec.blocks // 5)
    batched = _interleave(predictors, [_cycle(texts, spec.batch_size, start) for start in range(batches)], None, 0)
    session = hashlib.sha256(json.dumps([[c.digest for c in candidates], time.time_ns()]).encode()).hexdigest()[:16]
    speeds = [
        _summary(candidate, single[row], batched[row], spec, machine, session, peak_memory[row])
        for row, candidate in enumerate(candidates)
    ]
    log.info("speed of %s: %s per second", [c.digest[:8] for c in candidates], [s.throughput_b1_per_s for s in speeds])
    return speeds


def _blocks(texts: Sequence[str], spec: BenchmarkSpec) -> list[list[str]]:
    size = -(-spec.samples // spec.blocks)
    return [_cycle(texts, size, block) for block in range(spec.blocks)]


def _cycle(texts: Sequence[str], size: int, block: int) -> list[str]:
    return [texts[(block * size + offset) % len(texts)] for offset in range(size)]


def _interleave(
    predictors: list[Predictor], blocks: list[list[str]], batch: int | None, progress_total: int
) -> list[list[np.ndarray]]:
    """Return seconds of every call, `[predictor][block] -> [calls]`; a block is one call where `batch` is None."""
    seconds: list[list[np.ndarray]] = [[] for _ in predictors]
    for number, block in enumerate(blocks):
        order = range(len(predictors)) if number % 2 == 0 else reversed(range(len(predictors)))
        for row in order:
            calls = [[text] for text in block] if batch == 1 else [block]
            seconds[row].append(_time_calls(predictors[row], calls))
        if progress_total:
            report_progress("benchmark", number + 1, progress_total)
    return seconds


def _time_calls(predictor: Predictor, calls: list[list[str]]) -> np.ndarray:
    predictor.predict(calls[0])  # not counted: brings its caches back after another model ran
    seconds = np.empty(len(calls))
    for number, call in enumerate(calls):
        started = time.perf_counter()
        predictor.predict(call)
        seconds[number] = time.perf_counter() - started
    return seconds


def _summary(
    candidate: Candidate,
    single: list[np.ndarray],
    batched: list[np.ndarray],
    spec: BenchmarkSpec,
    machine: Machine,
    session: str,
    peak_memory_bytes: int,
) -> Speed:
    calls = np.concatenate(single)
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(calls, [50, 95, 99]))
    block_seconds = tuple(float(block.mean()) for block in single)
    return Speed(
        session=session,
        throughput_b1_per_s=1 / float(np.median(block_seconds)),
        throughput_batch_per_s=spec.batch_size / float(np.median(np.concatenate(batched))),
        batch_size=spec.batch_size,
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        latency_p99_ms=p99 if len(calls) >= P99_SAMPLES else None,
        samples=len(calls),
        block_seconds=block_seconds,
        peak_memory_bytes=peak_memory_bytes,
        size_bytes=candidate.size_bytes,
        machine=machine,
    )
