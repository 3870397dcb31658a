"""Cleaning steps against duplicates: one row of each cluster stays, the one with the most trusted label.

How texts are compared is in `tasks.data.similarity`; duplicates between splits are `tasks.data.split`'s matter.
"""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.effects import Effect, Memory, effect_of, remove
from tasks.data.rows import FEEDBACK
from tasks.data.shingles import number_keys
from tasks.data.similarity import near_duplicate_clusters

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

EXACT = "repeats another row"
NEAR = "nearly repeats another row"


@dataclass(frozen=True, config={"extra": "forbid"})
class ExactDuplicates:
    """Keep one row of those whose texts are equal but for case, width and white space."""

    kind: Literal["exact_duplicates"] = "exact_duplicates"


@dataclass(frozen=True, config={"extra": "forbid"})
class NearDuplicates:
    """Keep one row of each cluster of texts whose 3-grams of characters agree by `threshold` (Jaccard, 0.5 to 1)."""

    kind: Literal["near_duplicates"] = "near_duplicates"
    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.9


@effect_of.register(ExactDuplicates)
def _drop_exact(step: ExactDuplicates, table: "pa.Table", memory: Memory | None = None) -> Effect:
    numbers, _ = number_keys(table.column("text"))
    return _keep_one(step.kind, table, numbers, EXACT)


@effect_of.register(NearDuplicates)
def _drop_near(step: NearDuplicates, table: "pa.Table", memory: Memory | None = None) -> Effect:
    import numpy as np

    folder = memory("similarity") if memory else None
    clusters = near_duplicate_clusters(table.column("text"), step.threshold, folder)
    return _keep_one(step.kind, table, np.array(clusters, np.int64), NEAR)


def _keep_one(step: str, table: "pa.Table", clusters: "np.ndarray", reason: str) -> Effect:
    """Return the effect of keeping one row of each cluster."""
    import numpy as np

    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    stays_for = np.full(len(order), -1)  # by row, the row that stays in its place
    columns = [table.column(name) for name in ("target", "source")]
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        rows = order[start : start + size]
        targets, sources = (column.take(rows).to_pylist() for column in columns)
        kept = rows[_most_trusted(targets, sources)]
        stays_for[rows[rows != kept]] = kept
    mask, gone = stays_for < 0, np.flatnonzero(stays_for >= 0)
    twins = [""] * len(order)
    for row, twin in zip(gone.tolist(), table.column("id").take(stays_for[gone]).to_pylist(), strict=True):
        twins[row] = twin
    return remove(step, table, mask.tolist(), [reason] * len(order), twins)


def _most_trusted(targets: list[str], sources: list[str]) -> int:
    """Return which row of a cluster stays: one with the majority's target, which the data's owner gave.

    Of targets with as many votes, one that not only feedback gave wins, then the first; of rows, likewise.
    """
    votes = Counter(targets)
    given = {target for target, source in zip(targets, sources, strict=True) if source != FEEDBACK}
    wanted = max(votes, key=lambda target: (votes[target], target in given))  # of equal ones, the first
    rows = [row for row, target in enumerate(targets) if target == wanted]
    return next((row for row in rows if sources[row] != FEEDBACK), rows[0])
