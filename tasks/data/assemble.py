"""The rows of a snapshot with their splits: the source's and, second, harvested feedback, no evaluation row in train.

The order matters: the source is drawn and checked by itself, feedback goes where its groups are already, and what
repeats an evaluation row then leaves the other side. Rows drawn for golden that must wait go last, so that nothing like
them stays in train. Stores nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.golden import Sealed
from tasks.data.rows import keep, values
from tasks.data.snapshot import make_snapshot_table
from tasks.data.split import assign_feedback_splits, assign_splits, check_leakage

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.specs import DataSpec


def assemble(
    tables: "Sequence[pa.Table]", spec: "DataSpec", sealed: Sealed, memory: Path | None = None
) -> "tuple[pa.Table, int]":
    """Return the rows of all tables with their splits, and how many more were drawn for golden and wait.

    `memory` is a folder that keeps the texts' sketches for later snapshots.

    Raises:
        LeakageError: rows leak and the spec says to refuse.
        DataError: a split is empty, train has one class only, or an evaluation label is unknown to train.
    """
    shares, ids = spec.split, frozenset(sealed.ids)
    drawn = assign_splits(
        tables[0], valid=shares.valid, select=shares.select, golden=shares.golden, seed=shares.seed, by=shares.by,
        sealed=ids, out_of_scope=spec.out_of_scope, memory=memory,
    )  # fmt: skip
    parts = [check_leakage(drawn, spec.leakage, memory=memory)[0]]
    placed = find_placed(parts[0])
    parts += [draw_feedback(rows, spec, placed, ids) for rows in tables[1:]]
    table = make_snapshot_table(parts, labelled=True, out_of_scope=spec.out_of_scope)
    if len(parts) == 1:
        return table, 0
    table, _ = check_leakage(table, "drop", memory=memory)
    waiting = frozenset() if sealed.admit else find_waiting(parts[1:], ids)
    table = keep(table, [row_id not in waiting for row_id in values(table, "id")]) if waiting else table
    return table, len(waiting)


def draw_feedback(rows: "pa.Table", spec: "DataSpec", placed: dict[str, str], sealed: frozenset[str]) -> "pa.Table":
    """Return the feedback rows with their splits drawn by the spec."""
    part = spec.feedback
    return assign_feedback_splits(
        rows,
        golden=part.golden,
        select=part.select,
        valid=part.valid,
        seed=spec.split.seed,
        placed=placed,
        sealed=sealed,
    )


def find_placed(table: "pa.Table") -> dict[str, str]:
    """Return in which split each group of the table is; none where it has no groups."""
    if "group" not in table.column_names:
        return {}
    pairs = zip(values(table, "group"), values(table, "split"), strict=True)
    return {group: split for group, split in pairs if group}


def find_waiting(drawn: "Sequence[pa.Table]", sealed: frozenset[str]) -> frozenset[str]:
    """Return the ids of the drawn feedback that is golden but not sealed."""
    return frozenset(
        row_id
        for table in drawn
        for row_id, split in zip(values(table, "id"), values(table, "split"), strict=True)
        if split == "golden" and row_id not in sealed
    )
