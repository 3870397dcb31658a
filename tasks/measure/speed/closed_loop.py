"""Speed of several artifacts measured interleaved in one process, so that a noisy machine cancels out of the ratios.

Everything is measured on the artifact in its serving runtime and in turns: the closed loop (one text after another,
then batches), the grid (`.grid`) and the open loop (`.open_loop`). Memory and cold start come from `.fresh_process`.
Compares nothing: ratios are in `.ratios`.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.classes import Tokenize, tokenizer_function
from serving.predictors import Predictor
from tasks.artifacts import open_artifact
from tasks.measure.machine import describe_machine
from tasks.measure.runtime import load
from tasks.measure.speed.counters import Usage, cost_per_million, read_counters, summarise_usage, usage_since
from tasks.measure.speed.grid import count_tokens, measure_grid
from tasks.measure.speed.latency import Clock, percentile_ms
from tasks.measure.speed.open_loop import choose_rate, measure_open_loop
from tasks.progress import report_progress
from tasks.records import Candidate, FreshProcess, GridPoint, Machine, OpenLoop, Speed
from tasks.specs import BenchmarkSpec

log = logging.getLogger(__name__)

WARM_UP = 20  # texts, from the shortest to the longest


@dataclass(frozen=True)
class ClosedLoop:
    """One candidate's calls, each asked when the one before was answered."""

    seconds: list[np.ndarray]  # [blocks] of [calls]
    usages: list[Usage]  # [blocks]


def measure_speed(
    candidates: Sequence[Candidate], fresh: Sequence[FreshProcess], texts: Sequence[str], spec: BenchmarkSpec
) -> list[Speed]:
    """Return the speed of each candidate, in their order: block by block in turn, order reversed every other block.

    `fresh` holds what each candidate takes in a process of its own; `texts` are served again from the start where they
    do not suffice.

    Raises:
        ArtifactError: an artifact does not load.
    """
    machine, clock = describe_machine(spec.threads), Clock()
    predictors = [load(candidate, machine.threads) for candidate in candidates]
    tokenizers = [_tokenizer(candidate) for candidate in candidates]
    _warm_up(predictors, texts, spec.batch_size)
    blocks = _blocks(texts, spec)
    single = interleave(predictors, [[[text] for text in block] for block in blocks], clock, "benchmark")
    batches = [[_cycle(texts, spec.batch_size, number)] for number in range(max(3, spec.blocks // 5))]
    batched = interleave(predictors, batches, clock)
    grids = measure_grid(predictors, tokenizers, texts, spec.grid_batches, clock)
    loops = _open_loops(predictors, single, texts, spec, clock)
    session = hashlib.sha256(json.dumps([[c.digest for c in candidates], time.time_ns()]).encode()).hexdigest()[:16]
    speeds = [
        _summary(
            candidate, single[row], batched[row], _tokens_per_text(tokenizers[row], blocks), grids[row], loops[row],
            fresh[row], spec, machine, session,
        )
        for row, candidate in enumerate(candidates)
    ]  # fmt: skip
    log.info("speed of %s: %s per second", [c.digest[:8] for c in candidates], [s.throughput_b1_per_s for s in speeds])
    return speeds


def _tokenizer(candidate: Candidate) -> Tokenize:
    folder, manifest = open_artifact(candidate)
    return tokenizer_function(folder, manifest["max_length"])


def _warm_up(predictors: Sequence[Predictor], texts: Sequence[str], batch_size: int) -> None:
    """Answer texts of every length and a batch: a runtime may prepare itself for each length when it first comes."""
    ordered = sorted(texts, key=len)
    spread = [ordered[row * (len(ordered) - 1) // (WARM_UP - 1)] for row in range(WARM_UP)]
    for predictor in predictors:
        for text in spread:
            predictor.predict([text])
        predictor.predict(list(texts[:batch_size]))


def _blocks(texts: Sequence[str], spec: BenchmarkSpec) -> list[list[str]]:
    size = -(-spec.samples // spec.blocks)
    return [_cycle(texts, size, block) for block in range(spec.blocks)]


def _cycle(texts: Sequence[str], size: int, block: int) -> list[str]:
    return [texts[(block * size + offset) % len(texts)] for offset in range(size)]


def _tokens_per_text(tokenize: Tokenize, blocks: Sequence[Sequence[str]]) -> float:
    texts = [text for block in blocks for text in block]
    return count_tokens(tokenize, texts) / len(texts)


def interleave(
    predictors: Sequence[Predictor], blocks: Sequence[Sequence[Sequence[str]]], clock: Clock, progress: str = ""
) -> list[ClosedLoop]:
    """Return the closed loop of each predictor: every block `[calls][texts]` by all of them before the next block.

    The order of the predictors is reversed every other block, so that a drift of the machine favours none.
    """
    loops = [ClosedLoop([], []) for _ in predictors]
    for number, block in enumerate(blocks):
        order = range(len(predictors)) if number % 2 == 0 else reversed(range(len(predictors)))
        for row in order:
            predictors[row].predict(block[0])  # not counted: brings its caches back after another model ran
            before = read_counters(clock)
            loops[row].seconds.append(_time_calls(predictors[row], block, clock))
            loops[row].usages.append(usage_since(before, clock))
        if progress:
            report_progress(progress, number + 1, len(blocks))
    return loops


def _time_calls(predictor: Predictor, calls: Sequence[Sequence[str]], clock: Clock) -> np.ndarray:
    seconds = np.empty(len(calls))
    for number, call in enumerate(calls):
        started = clock.now()
        predictor.predict(call)
        seconds[number] = clock.now() - started
    return seconds


def _open_loops(
    predictors: Sequence[Predictor], single: list[ClosedLoop], texts: Sequence[str], spec: BenchmarkSpec, clock: Clock
) -> Sequence[OpenLoop | None]:
    rate = choose_rate(spec.arrival_per_s, [_throughput(loop) for loop in single])
    return measure_open_loop(predictors, texts, rate, spec.arrivals, clock) or [None] * len(predictors)


def block_seconds(loop: ClosedLoop) -> tuple[float, ...]:
    """Return the mean seconds per call of each block."""
    return tuple(float(block.mean()) for block in loop.seconds)


def _throughput(single: ClosedLoop) -> float:
    return 1 / float(np.median(block_seconds(single)))


def _summary(
    candidate: Candidate,
    single: ClosedLoop,
    batched: ClosedLoop,
    tokens_per_text: float,
    grid: tuple[GridPoint, ...],
    open_loop: OpenLoop | None,
    fresh: FreshProcess,
    spec: BenchmarkSpec,
    machine: Machine,
    session: str,
) -> Speed:
    calls, throughput = np.concatenate(single.seconds), _throughput(single)
    used = summarise_usage(single.usages, len(calls), machine.threads)
    return Speed(
        session=session,
        throughput_b1_per_s=throughput,
        throughput_batch_per_s=spec.batch_size / float(np.median(np.concatenate(batched.seconds))),
        batch_size=spec.batch_size,
        latency_p50_ms=1000 * float(np.median(calls)),
        latency_p95_ms=percentile_ms(calls, 95),
        latency_p99_ms=percentile_ms(calls, 99),
        samples=len(calls),
        block_seconds=block_seconds(single),
        peak_memory_bytes=fresh.peak_memory_bytes,
        size_bytes=candidate.size_bytes,
        machine=machine,
        tokens_b1_per_s=tokens_per_text * throughput,
        cold_start_s=fresh.cold_start_s,
        load_s=fresh.load_s,
        cpu_utilisation=used.cpu_utilisation,
        gpu_utilisation=used.gpu_utilisation,
        energy_j_per_1000=used.energy_j_per_1000,
        cost_per_million=cost_per_million(spec.price_per_hour, throughput),
        grid=grid,
        open_loop=open_loop,
    )
