"""Collecting the rows that an iteration starts from: the source's own and harvested feedback, stored by their content.

Looks at the source each time, but parses a file only when its bytes, the spec's section or the reading code changed.
Splits, checks and cleans nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.reading.sources import FileSource, hash_files, read_source
from tasks.data.rows import FEEDBACK, make_rows
from tasks.data.snapshot import digest_table, write_table
from tasks.errors import DataError
from tasks.records import Table
from tasks.specs import DataSpec
from tasks.store import Store, cache_key

if TYPE_CHECKING:
    import pyarrow as pa


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
