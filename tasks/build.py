"""The stages of an iteration as pure functions: handles in, handle out, each result stored under its content key.

`build` is their composition clean -> augment -> fit -> compress; a changed lever rebuilds only the suffix it touches.
Knows neither Prefect nor MLflow, and measures nothing: that is in `tasks.measurements`.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tasks.compress.material import Material
from tasks.compress.methods import Cascade, CompressPass
from tasks.compress.pipeline import compress_pass
from tasks.compress.sequence import TRAINING, reads_texts
from tasks.data.assemble import assemble
from tasks.data.augmentation.augment import augment
from tasks.data.augmentation.keep_label import open_teacher, used_teacher
from tasks.data.cleaning.clean import MAX_REMOVED_SHARE, clean
from tasks.data.golden import Sealed
from tasks.data.rows import values
from tasks.data.snapshot import read_table, write_table
from tasks.errors import ModelError
from tasks.given import Given, Guides, Origin
from tasks.identities import named_models, student_identity
from tasks.measure.quality.scores import read_split
from tasks.progress import Stopped, training
from tasks.records import Candidate, Snapshot, Table
from tasks.specs import EVALUATION, AugmentMethod, CleanStep, DataSpec, Recipe
from tasks.store import Store, cache_key
from tasks.train.bases.base import Base, base_identity
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune, reads_unlabelled, teacher_methods

log = logging.getLogger(__name__)


_NOTHING_SEALED = Sealed()
_NO_GUIDES, _NOTHING_GIVEN = Guides(), Given()


def snapshot(store: Store, sources: Sequence[Table], spec: DataSpec, sealed: Sealed = _NOTHING_SEALED) -> Snapshot:
    """Return the immutable snapshot of the source's rows and, second, of harvested feedback: split and free of leaks.

    Raises:
        LeakageError: rows leak and the spec says to refuse.
        DataError: a split is empty, train has one class only, or an evaluation label is unknown to train.
    """

    def make(folder: Path) -> Snapshot:
        tables = [read_table(Path(source.uri), source.digest) for source in sources]
        table, waiting = assemble(tables, spec, sealed, store.memory("similarity"))
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
            waiting=waiting,
        )

    return store.build("snapshot", cache_key("snapshot", sources, spec, sealed), Snapshot, make)


def clean_rows(
    store: Store, snapshot: Snapshot, steps: Sequence[CleanStep], max_removed: float = MAX_REMOVED_SHARE
) -> Table:
    """Return the training rows after the cleaning steps; evaluation rows are never cleaned.

    Raises:
        DataError: a step would remove more than the share `max_removed` of the rows.
    """

    def make(folder: Path) -> Table:
        done = clean(read_split(snapshot, "train"), steps, store.memory, max_removed)
        digest = write_table(done.table, folder / "rows.parquet")
        uri, removed = str(folder / "rows.parquet"), ""
        if done.removed.num_rows:
            removed = str(folder / "removed.parquet")
            write_table(done.removed, Path(removed))
        return Table(uri, digest, done.table.num_rows, tuple(done.reports), removed)

    key = cache_key("clean", snapshot, steps, max_removed, named_models(steps))
    return store.build("clean", key, Table, make)


def augment_rows(
    store: Store,
    rows: Table,
    snapshot: Snapshot,
    methods: Sequence[AugmentMethod],
    seed: int,
    teacher: Candidate | None = None,
) -> Table:
    """Return the training rows with generated ones added, none of which equals or nearly repeats an evaluation row.

    The teacher is the model that says whether a generated row still has its label; None where there is none yet.

    Raises:
        DataError: a method cannot do its work, such as one whose endpoint gives no answers.
        ModelError: the model that a method names cannot be used.
    """
    asked = used_teacher(methods, teacher)

    def make(folder: Path) -> Table:
        protected = [text for split in EVALUATION for text in values(read_split(snapshot, split), "text")]
        table = read_table(Path(rows.uri), rows.digest)
        table, reports = augment(table, methods, seed, protected, open_teacher(asked))
        digest = write_table(table, folder / "rows.parquet")
        uri, steps = str(folder / "rows.parquet"), (*rows.reports, *reports)
        return Table(uri, digest, table.num_rows, steps, rows.removed_uri)

    parts = (rows, snapshot, methods, named_models(methods), seed, asked or "")
    return store.build("augment", cache_key("augment", *parts), Table, make)


def fit(
    store: Store, rows: Table, snapshot: Snapshot, base: Base, method: FineTune, guides: Guides = _NO_GUIDES
) -> Candidate:
    """Return the base fine-tuned on the rows, early stopping on `valid`, as a torch artifact.

    A killed fit goes on from its last checkpoint.

    Raises:
        ModelError: the base does not load, or training diverged.
    """
    key = cache_key("fit", rows, snapshot, base_identity(base), method, student_identity(method), guides)

    def make(folder: Path) -> Candidate:
        with _checkpoints(store, key) as work, training():
            return finetune(base, method, _lesson(store, rows, snapshot, guides, work), folder / "model")

    return store.build("fit", key, Candidate, make)


@contextmanager
def _checkpoints(store: Store, key: str) -> Iterator[Path]:
    """Give the folder of a training's checkpoints: gone where it ends or is stopped, there still where it is killed."""
    work = store.folder("checkpoints", key)
    try:
        yield work
    except Stopped:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _lesson(store: Store, rows: Table, snapshot: Snapshot, guides: Guides, work: Path) -> Lesson:
    train, valid, texts = _texts_of(rows, snapshot, guides.unlabelled)
    return Lesson(
        train,
        valid,
        snapshot.labels,
        ids=tuple(values(read_table(Path(rows.uri), rows.digest), "id")),
        parent=guides.parent,
        teachers=guides.teachers,
        unlabelled=texts,
        work=work,
        tokens=store.memory("tokens"),
    )


Pairs = list[tuple[str, str]]  # text, label


def _texts_of(rows: Table, snapshot: Snapshot, unlabelled: Table | None) -> tuple[Pairs, Pairs, tuple[str, ...]]:
    """Return the training rows, those of `valid`, and the texts without labels."""
    table, held_out = read_table(Path(rows.uri), rows.digest), read_split(snapshot, "valid")
    train, valid = (list(zip(values(part, "text"), values(part, "target"), strict=True)) for part in (table, held_out))
    texts = tuple(values(read_table(Path(unlabelled.uri), unlabelled.digest), "text")) if unlabelled else ()
    return train, valid, texts


def compress(store: Store, candidate: Candidate, method: CompressPass, origin: Origin) -> Candidate:
    """Return the candidate after one compression pass; the origin is what all passes of its recipe began with.

    The stage that a cascade has passes of its own for is made by them as any model is, and taken from the store too.

    Raises:
        ModelError: the pass is not legal on this candidate.
    """
    key = cache_key("compress", candidate, method, student_identity(method), origin)

    def make(folder: Path) -> Candidate:
        with _checkpoints(store, key) as work, training() if method.kind in TRAINING else nullcontext():
            material = replace(_material(store, origin, work), stage=_stage(store, method, origin))
            return compress_pass(method, candidate, folder / "model", material)

    return store.build("compress", key, Candidate, make)


def _stage(store: Store, method: CompressPass, origin: Origin) -> Candidate | None:
    """Return the model that the passes of a cascade's own stage make of the origin; None where there are none."""
    if not isinstance(method, Cascade) or not isinstance(method.stage, tuple):
        return None
    candidate = origin.model
    for each in method.stage:
        candidate = compress(store, candidate, each, _read_by(each, origin))
    return candidate


def _read_by(method: CompressPass, origin: Origin) -> Origin:
    """Return the origin as a pass is given it: only some passes read the texts without labels."""
    return origin if reads_texts([method]) else replace(origin, unlabelled=None)


def _material(store: Store, origin: Origin, work: Path) -> Material:
    train, valid, texts = _texts_of(origin.rows, origin.snapshot, origin.unlabelled)
    return Material(
        origin.model,
        train,
        valid,
        origin.snapshot.labels,
        unlabelled=texts,
        answers=store.folder("answers", cache_key("answers", origin)),
        work=work,
        tokens=store.memory("tokens"),
    )


class Stages(Protocol):
    """The stages that `build` composes: the functions of this module, or the Prefect tasks made from them."""

    clean_rows: Callable[..., Any]
    augment_rows: Callable[..., Any]
    fit: Callable[..., Any]
    compress: Callable[..., Any]


def build(stages: Stages, store: Store, recipe: Recipe, snapshot: Snapshot, given: Given = _NOTHING_GIVEN) -> Candidate:
    """Return the model that the recipe makes of the snapshot, whatever of it is stored already reused."""
    candidate = fitted(stages, store, recipe, snapshot, given)
    if not recipe.compress:
        return candidate
    origin = Origin(candidate, training_rows(stages, store, recipe, snapshot, given), snapshot, given.unlabelled)
    return compressed(stages, store, recipe.compress, origin)


def compressed(stages: Stages, store: Store, passes: Sequence[CompressPass], origin: Origin) -> Candidate:
    """Return the origin after the passes."""
    candidate = origin.model
    for method in passes:
        candidate = stages.compress(store, candidate, method, _read_by(method, origin))
    return candidate


def fitted(
    stages: Stages, store: Store, recipe: Recipe, snapshot: Snapshot, given: Given = _NOTHING_GIVEN
) -> Candidate:
    """Return the torch model that the recipe makes of the snapshot, before any compression.

    Raises:
        ModelError: its teacher is the champion, and there is none yet.
    """
    rows, method = training_rows(stages, store, recipe, snapshot, given), recipe.train

    def fit_by(way: FineTune, teachers: Sequence[Candidate] = ()) -> Candidate:
        guides = guides_for(way, given, teachers)
        made: Candidate = stages.fit(store, rows, snapshot, recipe.base, way, guides)
        return made

    if method.distil and method.distil.teacher == "champion":
        if given.parent is None:
            raise ModelError(
                "train.distil.teacher: there is no champion yet to learn from; let the first recipe's teacher be "
                "`recipe`, and distil from the champion in a lever"
            )
        return fit_by(method, [given.parent])
    return fit_by(method, [fit_by(way) for way in teacher_methods(method)])


def guides_for(method: FineTune, given: Given, teachers: Sequence[Candidate] = ()) -> Guides:
    """Return what of the given a method learns from, so that nothing else is in its fit's key."""
    parent = given.parent if method.start == "champion" else None
    return Guides(parent, tuple(teachers), given.unlabelled if reads_unlabelled(method) else None)


def training_rows(
    stages: Stages, store: Store, recipe: Recipe, snapshot: Snapshot, given: Given = _NOTHING_GIVEN
) -> Table:
    """Return the rows that the recipe's model is fitted on: cleaned and augmented."""
    rows: Table = stages.clean_rows(store, snapshot, recipe.clean, recipe.max_removed)
    if recipe.augment:
        asked = used_teacher(recipe.augment, given.teacher)
        rows = stages.augment_rows(store, rows, snapshot, recipe.augment, recipe.train.seed, asked)
    return rows
