"""The stage that lists golden rows whose label a person should look at. It changes no row and decides nothing."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.data.cleaning.label_errors import LabelErrors, list_suspects
from tasks.data.snapshot import read_table, write_table
from tasks.errors import DataError
from tasks.identities import named_models
from tasks.measure.quality.scores import read_split
from tasks.records import Snapshot
from tasks.store import Store, cache_key

log = logging.getLogger(__name__)

SHOWN = 20
COLUMNS = ("id", "text", "given", "suggested", "confidence", "suggested_confidence")


@dataclass(frozen=True)
class Suspect:
    """One golden row whose label looks wrong to a model of the training rows."""

    id: str
    text: str  # without personal data
    given: str
    suggested: str
    confidence: float  # probability of the given label, 0 to 1
    suggested_confidence: float


@dataclass(frozen=True)
class SuspectTable:
    """All suspects as a Parquet file, and the least likely ones."""

    uri: str
    digest: str
    rows: int
    first: tuple[Suspect, ...] = ()
    reason: str = ""  # why none could be sought


def label_step(steps: Iterable[Any]) -> LabelErrors | None:
    """Return the first step against label errors among cleaning steps, None where nobody asks for one."""
    return next((step for step in steps if isinstance(step, LabelErrors)), None)


def find_golden_suspects(store: Store, snapshot: Snapshot, step: LabelErrors) -> SuspectTable:
    """Return the golden rows whose label looks wrong, with a reason where the training rows do not allow to tell."""

    def make(folder: Path) -> SuspectTable:
        path, reason = folder / "suspects.parquet", ""
        golden = read_split(snapshot, "golden")
        try:
            table = list_suspects(step, read_split(snapshot, "train"), golden)
        except DataError as error:  # it says what cleaning cannot do; golden can be judged all the same
            table, reason = list_none(), str(error)
            log.warning("golden's labels are not looked at: %s", error)
        log.info("suspects: %d of %d golden rows", table.num_rows, golden.num_rows)
        first = tuple(Suspect(**row) for row in table.slice(0, SHOWN).to_pylist())
        return SuspectTable(str(path), write_table(table, path), table.num_rows, first, reason)

    key = cache_key("suspects", snapshot, step, named_models([step]))
    return store.build("suspects", key, SuspectTable, make)


def list_none() -> Any:
    """Return a table of no suspects."""
    import pyarrow as pa

    kinds = {"confidence": pa.float64(), "suggested_confidence": pa.float64()}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS]).empty_table()


def suspects_csv(table: SuspectTable) -> str:
    """Return all suspects as CSV text."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    rows: Sequence[dict[str, Any]] = read_table(Path(table.uri), table.digest).to_pylist()
    writer.writerows([row[name] for name in COLUMNS] for row in rows)
    return buffer.getvalue()
