"""The stages that measure, as pure functions: handles in, figures out, each result stored under its content key.

Knows neither Prefect nor MLflow, and decides nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from serving.artifact import file_sha256
from tasks.data.rows import values
from tasks.measure.machine import describe_machine
from tasks.measure.profiling.profile import Profile
from tasks.measure.profiling.profile import profile as profile_calls
from tasks.measure.quality.scores import exact_match, measure_quality, read_split, read_verified
from tasks.measure.quality.slices import all_masks
from tasks.measure.runtime import load
from tasks.measure.speed.closed_loop import measure_speed
from tasks.measure.speed.fresh_process import measure_fresh_process
from tasks.records import Candidate, FreshProcess, Quality, Snapshot, Speed
from tasks.specs import BenchmarkSpec, QualitySpec
from tasks.store import Store, cache_key


@dataclass(frozen=True)
class SpeedTable:
    """The speeds of candidates that were measured together, by their digests."""

    speeds: dict[str, Speed]


@dataclass(frozen=True)
class SliceTable:
    """The slices of an evaluation set: a Parquet file with a Boolean column for each, named `family:name`."""

    uri: str
    digest: str  # SHA-256 of the file


@dataclass(frozen=True)
class Screened:
    """What a model answers on a part of an evaluation set's rows."""

    scores: tuple[float, ...]  # in [0, 1]
    outputs: tuple[str, ...]


class Measuring(Protocol):
    """The stages that measure: the functions of this module, or the Prefect tasks made from them."""

    score: Callable[..., Any]
    benchmark: Callable[..., Any]


def slices(store: Store, snapshot: Snapshot, split: str) -> SliceTable:
    """Return which rows of a split are in which slice, by family: the same for every model."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def make(folder: Path) -> SliceTable:
        table = read_split(snapshot, split)
        columns = {name: values(table, name) for name in snapshot.slices}
        families = all_masks(values(table, "text"), values(table, "target"), columns)
        named = {f"{family}:{name}": mask for family, masks in families.items() for name, mask in masks.items()}
        path = folder / "slices.parquet"
        pq.write_table(pa.table(named), path)
        return SliceTable(str(path), file_sha256(path))

    return store.build("slices", cache_key("slices", snapshot, split), SliceTable, make)


def score(store: Store, candidate: Candidate, snapshot: Snapshot, split: str, spec: QualitySpec) -> Quality:
    """Return the candidate's scores on every row of a split."""

    def make(folder: Path) -> Quality:
        found = slices(store, snapshot, split)
        masks = read_verified(found.uri, found.digest)
        return measure_quality(candidate, snapshot, split, spec, masks, cache_key("score", found, spec), folder)

    return store.build("score", cache_key("score", candidate, snapshot, split, spec), Quality, make)


def screen(store: Store, candidate: Candidate, snapshot: Snapshot, split: str, rows: int) -> Screened:
    """Return the candidate's answers on so many rows of a split: the first ones in the order of their ids' digests.

    So a part of the rows is a random one, every model has the same, and a larger part holds the smaller.
    """

    def make(_: Path) -> Screened:
        table = read_split(snapshot, split)
        ids, texts, targets = (values(table, name) for name in ("id", "text", "target"))
        order = sorted(range(len(texts)), key=lambda row: hashlib.sha256(ids[row].encode()).digest())
        part = order[:rows]
        outputs = load(candidate).predict([texts[row] for row in part]).outputs
        scores = exact_match(outputs, [targets[row] for row in part])
        return Screened(tuple(map(float, scores)), tuple(outputs))

    return store.build("screen", cache_key("screen", candidate, snapshot, split, rows), Screened, make)


def benchmark(
    store: Store, candidates: Sequence[Candidate], snapshot: Snapshot, split: str, spec: BenchmarkSpec
) -> SpeedTable:
    """Return the speeds of the candidates, measured interleaved on texts of the split."""
    unique = list({candidate.digest: candidate for candidate in candidates}.values())

    def make(_: Path) -> SpeedTable:
        fresh = [fresh_process(store, candidate) for candidate in unique]
        speeds = measure_speed(unique, fresh, values(read_split(snapshot, split), "text"), spec)
        return SpeedTable({candidate.digest: speed for candidate, speed in zip(unique, speeds, strict=True)})

    key = cache_key("benchmark", unique, snapshot, split, spec, describe_machine(spec.threads))
    return store.build("benchmark", key, SpeedTable, make)


def fresh_process(store: Store, candidate: Candidate) -> FreshProcess:
    """Return the peak memory and cold start of a process that serves the candidate; measured once on a machine."""
    key = cache_key("memory", candidate, describe_machine())
    return store.build("memory", key, FreshProcess, lambda _: measure_fresh_process(candidate))


def profile(store: Store, candidate: Candidate, snapshot: Snapshot, split: str, spec: BenchmarkSpec) -> Profile:
    """Return where the candidate's time goes on texts of the split; its trace lies in the store."""
    machine = describe_machine(spec.threads)

    def make(folder: Path) -> Profile:
        texts = values(read_split(snapshot, split), "text")
        return profile_calls(candidate, texts, folder / "trace.json", threads=machine.threads)

    return store.build("profile", cache_key("profile", candidate, snapshot, split, machine), Profile, make)


def quick(spec: BenchmarkSpec, least: int = 0) -> BenchmarkSpec:
    """Return a shorter benchmark for screening levers: a quarter of the samples, no grid and no open loop.

    Args:
        least: samples that it takes at least, where the benchmark itself takes as many.
    """
    samples = max(50, spec.samples // 4, min(least, spec.samples))
    return replace(spec, samples=samples, grid_batches=(), arrivals=0)
