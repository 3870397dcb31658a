"""The guard's stages as pure functions: what is kept of a snapshot's rows, and how data holds against its suite.

Handles in, handle out, each result stored under its content key. Knows neither Prefect nor MLflow, and stops nothing:
`refuse` does, where the caller asks it to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.checking.addition import addition_suite, hold_back
from tasks.data.checking.measure import as_rows, measure_rows
from tasks.data.checking.profile import DataProfile, make_profile
from tasks.data.checking.suite import Suite
from tasks.data.checking.validate import ValidationReport, name_rows, validate
from tasks.data.rows import with_values
from tasks.data.snapshot import read_table, write_table
from tasks.records import Snapshot, Table
from tasks.store import Store, cache_key


@dataclass(frozen=True)
class FeedbackCheck:
    """What became of harvested feedback before it joined the data; none of it joins unless `report` passed."""

    rows: Table  # those that were not held back
    held_back: dict[str, int]  # by the expectation that the rows break
    examples: dict[str, tuple[str, ...]]  # ids of at most 20 of them
    report: ValidationReport  # of the rest, as a batch


def describe(store: Store, snapshot: Snapshot) -> DataProfile:
    """Return the profile of the snapshot's rows; `check` has made it of each snapshot that it saw.

    Raises:
        ArtifactError: it is not in the store and the snapshot's rows are gone.
    """

    def make(_: Path) -> DataProfile:
        table, _mended = as_rows(read_table(Path(snapshot.uri), snapshot.digest))
        return make_profile(table, measure_rows(table), snapshot.digest)

    return store.build("describe", cache_key("describe", snapshot), DataProfile, make)


def check(store: Store, snapshot: Snapshot, suite: Suite) -> ValidationReport:
    """Return what Great Expectations found in the snapshot; its Data Docs lie beside it in the store.

    It judges nothing: `refuse` raises where an expectation of severity `stop` failed.
    """

    def make(folder: Path) -> ValidationReport:
        table = read_table(Path(snapshot.uri), snapshot.digest)
        rows, _ = as_rows(table)
        measures = measure_rows(rows)
        store.build("describe", cache_key("describe", snapshot), DataProfile,
                    lambda _: make_profile(rows, measures, snapshot.digest))  # fmt: skip
        return validate(table, suite, snapshot.labels, folder / "docs", measures)

    return store.build("check", cache_key("check", snapshot, suite), ValidationReport, make)


def check_feedback(store: Store, rows: Table, suite: Suite, labels: Sequence[str]) -> FeedbackCheck:
    """Return the harvested rows that may join the data, and what of the suite they and those held back broke."""

    def make(folder: Path) -> FeedbackCheck:
        whole = read_table(Path(rows.uri), rows.digest)
        asked = addition_suite(suite)
        table, held = hold_back(whole, asked, labels)
        digest = write_table(table, folder / "rows.parquet")
        as_train = with_values(table, "split", ["train"] * table.num_rows)  # classes are counted in train
        return FeedbackCheck(
            rows=Table(str(folder / "rows.parquet"), digest, table.num_rows),
            held_back={name: len(found) for name, found in held.items()},
            examples={name: name_rows(whole, np.array(found)) for name, found in held.items()},
            report=validate(as_train, asked, labels, folder / "docs"),
        )

    return store.build("check_feedback", cache_key("check_feedback", rows, suite, labels), FeedbackCheck, make)
