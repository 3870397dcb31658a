"""Rows that want to join a snapshot, such as harvested feedback, held against the snapshot's suite before they do.

A row that alone breaks an expectation of severity `stop` is held back; the rest are judged as a batch, by what makes
sense of an addition: not how many rows there are, nor which labels are missing. The balance of its classes only warns:
users complain about what goes wrong. It decides nothing about rows that are there already.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tasks.data.checking.suite import Expectation, Suite

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

OF_A_ROW = ("labels", "forbidden_labels", "max_empty_share", "max_chars")  # told of each row by itself
OF_A_BATCH = (
    "columns", "types", "ids", "class_labels", "known_labels", "max_duplicate_share", "max_pii_share", "length",
    "languages",
)  # fmt: skip
ONLY_WARN = ("max_class_distance", "max_class_factor")


def addition_suite(suite: Suite) -> Suite:
    """Return what of a suite an addition must keep to."""
    return replace(suite, expectations=tuple(_adapt(known) for known in suite.expectations))


def _adapt(known: Expectation) -> Expectation:
    if known.name in ONLY_WARN:
        return replace(known, severity="warn")
    return known if known.name in (*OF_A_ROW, *OF_A_BATCH) else replace(known, limit=None)


def hold_back(table: "pa.Table", suite: Suite, labels: Sequence[str]) -> "tuple[pa.Table, dict[str, list[int]]]":
    """Return the rows that may join, and the numbers of those held back by the expectation they break.

    A row that breaks several is held back for the first. `max_empty_share` holds back every row without text. `labels`
    are the targets that are known; empty where the task has none.
    """
    held: dict[str, list[int]] = {}
    free = np.ones(table.num_rows, dtype=bool)
    for known in suite.expectations:
        if known.on and known.severity == "stop" and known.name in OF_A_ROW:
            bad = free & _breaking(table, known, labels)
            if bad.any():
                held[known.name] = np.flatnonzero(bad).tolist()
                free &= ~bad
    for name, rows in held.items():
        log.warning("addition: %d of %d rows held back by %s", len(rows), table.num_rows, name)
    return table.filter(free), held


def _breaking(table: "pa.Table", known: Expectation, labels: Sequence[str]) -> "np.ndarray":
    """Return for each row whether it breaks an expectation of single rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    match known.name:
        case "labels":
            bad = pc.invert(pc.is_in(table["target"], value_set=pa.array([*labels], pa.string())))
            return _array(bad) if labels else np.zeros(table.num_rows, dtype=bool)
        case "forbidden_labels":
            return _array(pc.is_in(table["target"], value_set=pa.array([*known.limit], pa.string())))
        case "max_empty_share":
            return _array(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table["text"])), 0))
    return _array(pc.greater(pc.utf8_length(table["text"]), known.limit))


def _array(flags: "pa.ChunkedArray") -> "np.ndarray":
    found: np.ndarray = flags.to_numpy()
    return found
