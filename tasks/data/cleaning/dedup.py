"""Cleaning steps against duplicates: one row of each cluster stays, the first that has the cluster's majority target.

How texts are compared is in `tasks.data.similarity`; duplicates between splits are `tasks.data.split`'s matter.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.clean import apply, remove
from tasks.data.rows import values
from tasks.data.similarity import near_duplicate_clusters, text_key

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport


@dataclass(frozen=True, config={"extra": "forbid"})
class ExactDuplicates:
    """Keep one row of those whose texts are equal but for case, width and white space."""

    kind: Literal["exact_duplicates"] = "exact_duplicates"


@dataclass(frozen=True, config={"extra": "forbid"})
class NearDuplicates:
    """Keep one row of each cluster of texts whose 3-grams of characters agree by `threshold` (Jaccard, 0.5 to 1)."""

    kind: Literal["near_duplicates"] = "near_duplicates"
    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.9


@apply.register(ExactDuplicates)
def _drop_exact(step: ExactDuplicates, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    clusters = [text_key(text) for text in values(table, "text")]
    return remove(step.kind, table, _keep_one(clusters, values(table, "target")))


@apply.register(NearDuplicates)
def _drop_near(step: NearDuplicates, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    clusters = near_duplicate_clusters(values(table, "text"), step.threshold)
    return remove(step.kind, table, _keep_one(clusters, values(table, "target")))


def _keep_one(clusters: Sequence[Hashable], targets: Sequence[str]) -> list[bool]:
    """Return True for one row of each cluster: the first with its majority target (of equal ones, the first seen)."""
    votes: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for cluster, target in zip(clusters, targets, strict=True):
        votes[cluster][target] += 1
    wanted = {cluster: counts.most_common(1)[0][0] for cluster, counts in votes.items()}
    mask = []
    for cluster, target in zip(clusters, targets, strict=True):
        chosen = wanted.get(cluster) == target
        mask.append(chosen)
        if chosen:
            del wanted[cluster]
    return mask
