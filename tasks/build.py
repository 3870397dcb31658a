"""The stages of an iteration as pure functions: handles in, handle out, each result stored under its content key.

`build` is their composition clean -> augment -> fit -> compress; a changed lever rebuilds only the suffix it touches.
Knows neither Prefect nor MLflow, and decides nothing.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from serving.predictors import file_sha256
from tasks.compress.pipeline import compress_pass
from tasks.data.augmentation.augment import augment
from tasks.data.cleaning.clean import clean
from tasks.data.reading.sources import read_source
from tasks.data.rows import make_rows, values
from tasks.data.snapshot import make_snapshot_table, read_table, write_table
from tasks.data.split import assign_feedback_splits, assign_splits, check_leakage
from tasks.measure.machine import describe_machine
from tasks.measure.profiling.profile import Profile
from tasks.measure.profiling.profile import profile as profile_calls
from tasks.measure.quality.scores import measure_quality, read_split, read_verified
from tasks.measure.quality.slices import all_masks
from tasks.measure.speed.closed_loop import measure_speed
from tasks.measure.speed.fresh_process import measure_fresh_process
from tasks.records import Candidate, FreshProcess, Quality, Snapshot, Speed, Table
from tasks.specs import (
    EVALUATION,
    AugmentMethod,
    BenchmarkSpec,
    CleanStep,
    CompressPass,
    DataSpec,
    QualitySpec,
    Recipe,
)
from tasks.store import Store, cache_key
from tasks.train.finetune import FineTune, base_identity, finetune

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeedTable:
    """The speeds of candidates that were measured together, by their digests."""

    speeds: dict[str, Speed]


@dataclass(frozen=True)
class SliceTable:
    """The slices of an evaluation set: a Parquet file with a Boolean column for each, named `family:name`."""

    uri: str
    digest: str  # SHA-256 of the file


def collect(store: Store, root: str, spec: DataSpec) -> Table:
    """Return the rows of the spec's source as they are now, stored under their content.

    Raises:
        DataError: the source cannot be read or used.
    """
    rows = read_source(spec.source, text=spec.text, target=spec.target, slices=spec.slices, root=Path(root))
    return _store_rows(store, rows)


def collect_feedback(store: Store, rows: Sequence[dict[str, str]], slices: Sequence[str]) -> Table:
    """Return harvested feedback (id, text, target and slice values) as a stored table of rows without splits."""
    columns = {name: [row.get(name, "") for row in rows] for name in ("id", "text", "target", *slices)}
    constant = {"split": [""] * len(rows), "source": ["feedback"] * len(rows)}
    return _store_rows(store, make_rows({**columns, **constant}))


def _store_rows(store: Store, rows: "pa.Table") -> Table:
    from tasks.data.snapshot import digest_table

    digest = digest_table(rows)

    def make(folder: Path) -> Table:
        write_table(rows, folder / "rows.parquet")
        return Table(str(folder / "rows.parquet"), digest, rows.num_rows)

    return store.build("rows", digest[:32], Table, make)


def snapshot(store: Store, sources: Sequence[Table], spec: DataSpec) -> Snapshot:
    """Return the immutable snapshot of the source's rows and, second, of harvested feedback: split and free of leaks.

    Raises:
        LeakageError: rows leak and the spec says to refuse.
        DataError: a split is empty, train has one class only, or an evaluation label is unknown to train.
    """

    def make(folder: Path) -> Snapshot:
        shares = spec.split
        drawn = assign_splits(
            read_table(Path(sources[0].uri), sources[0].digest),
            valid=shares.valid, select=shares.select, golden=shares.golden, seed=shares.seed,
        )  # fmt: skip
        tables = [check_leakage(drawn, spec.leakage)[0]]
        for extra in sources[1:]:
            rows = read_table(Path(extra.uri), extra.digest)
            part = spec.feedback
            tables.append(
                assign_feedback_splits(rows, golden=part.golden, select=part.select, valid=part.valid, seed=shares.seed)
            )
        table = make_snapshot_table(tables, labelled=True, out_of_scope=spec.out_of_scope)
        if len(tables) > 1:
            table, _ = check_leakage(table, "drop")
        digest = write_table(table, folder / "snapshot.parquet")
        splits = values(table, "split")
        train = {target for target, split in zip(values(table, "target"), splits, strict=True) if split == "train"}
        return Snapshot(
            uri=str(folder / "snapshot.parquet"),
            digest=digest,
            rows={name: splits.count(name) for name in ("train", "valid", "select", "golden")},
            labels=tuple(sorted(train)),
            slices=spec.slices,
            parents=tuple(source.digest for source in sources),
            out_of_scope=spec.out_of_scope,
        )

    return store.build("snapshot", cache_key("snapshot", sources, spec), Snapshot, make)


def clean_rows(store: Store, snapshot: Snapshot, steps: Sequence[CleanStep]) -> Table:
    """Return the training rows after the cleaning steps; evaluation rows are never cleaned."""

    def make(folder: Path) -> Table:
        rows, reports = clean(read_split(snapshot, "train"), steps)
        digest = write_table(rows, folder / "rows.parquet")
        return Table(str(folder / "rows.parquet"), digest, rows.num_rows, tuple(reports))

    return store.build("clean", cache_key("clean", snapshot, steps), Table, make)


def augment_rows(store: Store, rows: Table, snapshot: Snapshot, methods: Sequence[AugmentMethod], seed: int) -> Table:
    """Return the training rows with generated ones added, none of which equals or nearly repeats an evaluation row.

    Raises:
        DataError: a method cannot do its work, such as one whose endpoint gives no answers.
    """

    def make(folder: Path) -> Table:
        protected = [text for split in EVALUATION for text in values(read_split(snapshot, split), "text")]
        table, reports = augment(read_table(Path(rows.uri), rows.digest), methods, seed=seed, protected=protected)
        digest = write_table(table, folder / "rows.parquet")
        return Table(str(folder / "rows.parquet"), digest, table.num_rows, (*rows.reports, *reports))

    return store.build("augment", cache_key("augment", rows, snapshot, methods, seed), Table, make)


def fit(store: Store, rows: Table, snapshot: Snapshot, base: str, method: FineTune) -> Candidate:
    """Return the base fine-tuned on the rows, early stopping on `valid`, as a torch artifact.

    Raises:
        ModelError: the base does not load, or training diverged.
    """

    def make(folder: Path) -> Candidate:
        table = read_table(Path(rows.uri), rows.digest)
        train = list(zip(values(table, "text"), values(table, "target"), strict=True))
        held_out = read_split(snapshot, "valid")
        valid = list(zip(values(held_out, "text"), values(held_out, "target"), strict=True))
        return finetune(base, method, train, valid, snapshot.labels, folder / "model")

    return store.build("fit", cache_key("fit", rows, snapshot, base_identity(base), method), Candidate, make)


def compress(store: Store, candidate: Candidate, method: CompressPass) -> Candidate:
    """Return the candidate after one compression pass.

    Raises:
        ModelError: the pass is not legal on this candidate.
    """
    return store.build(
        "compress",
        cache_key("compress", candidate, method),
        Candidate,
        lambda folder: compress_pass(method, candidate, folder / "model"),
    )


class Stages(Protocol):
    """The stages that `build` composes: the functions of this module, or the Prefect tasks made from them."""

    clean_rows: Callable[..., Any]
    augment_rows: Callable[..., Any]
    fit: Callable[..., Any]
    compress: Callable[..., Any]


class Measuring(Protocol):
    """The stages that measure: the functions of this module, or the Prefect tasks made from them."""

    score: Callable[..., Any]
    benchmark: Callable[..., Any]


def build(stages: Stages, store: Store, recipe: Recipe, snapshot: Snapshot) -> Candidate:
    """Return the model that the recipe makes of the snapshot, whatever of it is stored already reused."""
    rows = stages.clean_rows(store, snapshot, recipe.clean)
    if recipe.augment:
        rows = stages.augment_rows(store, rows, snapshot, recipe.augment, recipe.train.seed)
    candidate: Candidate = stages.fit(store, rows, snapshot, recipe.base, recipe.train)
    for method in recipe.compress:
        candidate = stages.compress(store, candidate, method)
    return candidate


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


def quick(spec: BenchmarkSpec) -> BenchmarkSpec:
    """Return a shorter benchmark for screening levers: a quarter of the samples, no grid and no open loop."""
    return replace(spec, samples=max(50, spec.samples // 4), grid_batches=(), arrivals=0)
