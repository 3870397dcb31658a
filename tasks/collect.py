"""Collecting the rows that an iteration starts from: the source's own and harvested feedback, stored by their content.

Also texts without labels, which some trainings read. Looks at the source each time, but parses a file only when its
bytes, the spec's section or the reading code changed. Splits, checks and cleans nothing.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.assemble import draw_feedback, find_placed
from tasks.data.reading.sources import FileSource, hash_files, read_source
from tasks.data.rows import FEEDBACK, make_rows, values
from tasks.data.similarity import find_similar, text_key
from tasks.data.snapshot import digest_table, read_table, write_table
from tasks.errors import DataError
from tasks.records import Snapshot, Table
from tasks.specs import EVALUATION, DataSpec, Source
from tasks.store import Store, cache_key

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


def collect(store: Store, root: str, spec: DataSpec) -> Table:
    """Return the rows of the spec's source as they are now, stored under their content.

    Files are hashed each time and parsed only where the store does not hold what was made of these bytes; datasets and
    databases are read each time.

    Raises:
        DataError: the source cannot be read or used, or a file changes meanwhile.
    """
    source = spec.source
    if not isinstance(source, FileSource):
        return _store_rows(store, _read(root, spec))
    hashes = hash_files(source, Path(root))

    def make(_: Path) -> Table:
        rows = _read(root, spec)
        for before, after in zip(hashes, hash_files(source, Path(root)), strict=True):
            if before != after:  # what was read must not be kept under the hash of other bytes
                raise DataError(f"{before[1]}: the file changed while it was read; run again once it is written")
        return _store_rows(store, rows)

    columns = (spec.text, spec.target, spec.slices, spec.time, spec.group)
    return store.build("collect", cache_key("collect", hashes, columns), Table, make)


def collect_feedback(store: Store, rows: Sequence[dict[str, str]], further: Sequence[str]) -> Table:
    """Return harvested feedback (id, text, target and the further columns) as a stored table of rows without splits."""
    columns = {name: [row.get(name, "") for row in rows] for name in ("id", "text", "target", *further)}
    constant = {"split": [""] * len(rows), "source": [FEEDBACK] * len(rows)}
    return _store_rows(store, make_rows({**columns, **constant}))


def collect_texts(
    store: Store, root: str, spec: DataSpec, produced: Sequence[dict[str, str]], snapshot: Snapshot
) -> Table | None:
    """Return the texts without labels that training may read, as a stored table of `text`; None where there are none.

    They are those of production's predictions `produced` (id, text, and group where there is one) and of
    `data.unlabelled`; each stands once, in the order of the texts, so that equal texts have an equal digest. None
    equals or nearly repeats a text of an evaluation set, and none is of a prediction that feedback would draw into one.

    Raises:
        DataError: `data.unlabelled` cannot be read.
    """
    table = read_table(Path(snapshot.uri), snapshot.digest)
    texts = _drawn_for_train(produced, spec, table)
    if spec.unlabelled is not None:
        texts += values(_read_texts(root, spec, spec.unlabelled), "text")
    pairs = zip(values(table, "text"), values(table, "split"), strict=True)
    protected = [text for text, split in pairs if split in EVALUATION]
    once = {text_key(text): text for text in sorted(set(texts), reverse=True) if text.strip()}
    found = sorted(once.values())
    near = {here for here, _ in find_similar(found, protected, memory=store.memory("similarity"))}
    kept = [text for place, text in enumerate(found) if place not in near]
    log.info("unlabelled: %d texts, %d more repeat an evaluation row", len(kept), len(near))
    return _store_rows(store, make_rows({"text": kept})) if kept else None


def _drawn_for_train(produced: Sequence[dict[str, str]], spec: DataSpec, table: "pa.Table") -> list[str]:
    """Return the texts of those predictions that are drawn for train, whatever feedback says of them later."""
    if not produced or not spec.feedback.use:
        return [row["text"] for row in produced]
    names = ("id", "text", *(["group"] if spec.group else []))
    rows = make_rows(
        {name: [row.get(name, "") for row in produced] for name in names} | {"split": [""] * len(produced)}
    )
    drawn = draw_feedback(rows, spec, find_placed(table), frozenset())
    pairs = zip(values(drawn, "text"), values(drawn, "split"), strict=True)
    return [text for text, split in pairs if split == "train"]


def _read_texts(root: str, spec: DataSpec, source: Source) -> "pa.Table":
    """Return the rows of a source of texts; its column of texts stands in for the targets that it need not have."""
    return read_source(source, text=spec.text, target=spec.text, labelled=False, root=Path(root))


def _read(root: str, spec: DataSpec) -> "pa.Table":
    return read_source(
        spec.source,
        text=spec.text,
        target=spec.target,
        slices=spec.slices,
        time=spec.time,
        group=spec.group,
        root=Path(root),
    )


def _store_rows(store: Store, rows: "pa.Table") -> Table:
    digest = digest_table(rows)

    def make(folder: Path) -> Table:
        write_table(rows, folder / "rows.parquet")
        return Table(str(folder / "rows.parquet"), digest, rows.num_rows)

    return store.build("rows", digest[:32], Table, make)
