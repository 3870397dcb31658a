"""The cleaning step against odd rows: texts far, by meaning, from those that they should be like.

Distance is the mean cosine distance to the nearest others (Ramaswamy, Rastogi and Shim 2000; for out-of-scope text
Kuan and Mueller 2022), near duplicates not counted, since a copy of an odd row says nothing. It judges no label.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.confident import chunks, hash_share
from tasks.data.cleaning.effects import Effect, Memory, effect_of, make_report, removals
from tasks.data.cleaning.label_errors import cluster_keys
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.features import Features, make_encoder, remember
from tasks.data.named_models import model_fields
from tasks.data.rows import keep, shorten, values
from tasks.train.bases.base import EMBEDDED_BASE

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

FARTHEST = 2.0  # the largest cosine distance: of a row that has nothing to be like
_BATCH = 2_000  # rows whose distances are in memory at once


@dataclass(frozen=True, config={"extra": "forbid"})
class Outliers:
    """Find the `share` (0 to 0.5) of rows whose text is farthest from its nearest `neighbours` (1 to 100).

    Neighbours are sought `among` the rows of the same label, or all rows: for free text, or where labels of odd rows
    are not by chance. Only rows at least `distance` (cosine, 0 to 2) away count. `flag` reports them, `drop` removes
    them. At most `max_rows` rows, drawn by `seed`, can be neighbours.
    """

    kind: Literal["outliers"] = "outliers"
    action: Literal["flag", "drop"] = "drop"
    among: Literal["label", "all"] = "label"
    share: Annotated[float, Field(gt=0, le=0.5)] = 0.02
    distance: Annotated[float, Field(ge=0, le=2)] = 0.0
    neighbours: Annotated[int, Field(ge=1, le=100)] = 5
    max_rows: Annotated[int, Field(ge=100, le=100_000)] = 20_000
    features: Features = "embeddings"
    base: Annotated[str, Field(min_length=1)] = EMBEDDED_BASE
    seed: int = 7


@model_fields.register(Outliers)
def _name_models(step: Outliers) -> tuple[str, ...]:
    return ("base",) if step.features == "embeddings" else ()


@effect_of.register(Outliers)
def _drop_outliers(step: Outliers, table: "pa.Table", memory: Memory | None = None) -> Effect:
    texts, ids = values(table, "text"), values(table, "id")
    distances = measure_distances(step, texts, values(table, "target"))
    ranked = sorted(range(len(texts)), key=lambda row: (-distances[row], ids[row]))[: int(step.share * len(texts))]
    rows = [row for row in ranked if distances[row] >= step.distance]
    odd = set(rows)
    left = keep(table, [row not in odd for row in range(len(texts))]) if step.action == "drop" else table
    examples = (f"{shorten(scrub_text(texts[row]))!r} ({distances[row]:.2f})" for row in rows)
    report = make_report(step.kind, table.num_rows, left.num_rows, 0, examples)
    done = "dropped, far from all others" if step.action == "drop" else "flagged, kept"
    log.info("outliers: %d %s", len(rows), done)
    removed = removals(step.kind, [ids[row] for row in rows], [f"{done} ({distances[row]:.2f})" for row in rows],
                       [""] * len(rows))  # fmt: skip
    return Effect(left, replace(report, left_out={done: len(rows)} if rows else {}), removed)


def measure_distances(step: Outliers, texts: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return how far each text is from the nearest ones that are no near duplicates of it [texts], 0 to 2.

    A row whose label too few others have is compared with all rows. The rows' order does not matter.
    """
    clusters = cluster_keys(texts)
    pool = _draw(step, texts, targets, clusters)
    if not pool:
        return np.full(len(texts), FARTHEST, np.float32)
    encode = make_encoder(step.features, step.base, [texts[row] for row in pool])
    known = encode([texts[row] for row in pool])  # [pool, width]
    encode = remember(encode, [texts[row] for row in pool], known)
    names = {key: number for number, key in enumerate(sorted(set(clusters)))}
    own = np.array([names[key] for key in clusters])
    groups = _groups(step, targets, pool)
    found = np.empty(len(texts), np.float32)
    for rows in chunks(len(texts)):
        vectors = encode([texts[row] for row in rows])
        members: dict[str, list[int]] = defaultdict(list)
        for at, row in enumerate(rows):
            members[targets[row] if targets[row] in groups else ""].append(at)
        for label, ats in members.items():
            among = groups[label]
            found[rows[ats]] = _nearest(vectors[ats], own[rows[ats]], known[among], own[[pool[at] for at in among]],
                                        step.neighbours)  # fmt: skip
    return found


def _draw(step: Outliers, texts: Sequence[str], targets: Sequence[str], clusters: Sequence[str]) -> list[int]:
    """Return the rows that can be neighbours: one of each cluster and label, at most `max_rows`, by text and label."""
    first: dict[tuple[str, str], int] = {}
    for row in sorted(range(len(texts)), key=lambda row: (texts[row], targets[row])):
        if texts[row].strip():
            first.setdefault((clusters[row], targets[row]), row)
    drawn = sorted(first, key=lambda pair: (hash_share(step.seed, f"{pair[1]}:{pair[0]}"), pair))[: step.max_rows]
    return [first[pair] for pair in sorted(drawn)]


def _groups(step: Outliers, targets: Sequence[str], pool: Sequence[int]) -> dict[str, list[int]]:
    """Return the places in the pool where rows of a label find their neighbours; "" is for rows of any other."""
    groups: dict[str, list[int]] = {"": list(range(len(pool)))}
    if step.among == "label":
        counts = Counter(targets[row] for row in pool)
        for at, row in enumerate(pool):
            if targets[row] and counts[targets[row]] > step.neighbours:
                groups.setdefault(targets[row], []).append(at)
    return groups


def _nearest(
    vectors: np.ndarray, own: np.ndarray, known: np.ndarray, clusters: np.ndarray, neighbours: int
) -> np.ndarray:
    """Return the mean cosine distance [rows] to the nearest known vectors of other clusters."""
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BATCH):
        part = slice(start, start + _BATCH)
        distances = 1 - vectors[part] @ known.T  # [rows, known]
        distances[own[part][:, None] == clusters[None]] = FARTHEST
        count = min(neighbours, distances.shape[1])
        found[part] = np.partition(distances, count - 1, axis=1)[:, :count].mean(1) if count else FARTHEST
    return np.clip(found, 0, FARTHEST)
