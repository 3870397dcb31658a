"""The cleaning step against wrong labels, and the list of golden rows whose label a person should look at.

A row is judged by a model that has seen neither it nor anything nearly like it (`tasks.data.cleaning.confident`), so
that a wrongly labelled twin cannot vouch for it. Evaluation rows are listed, never touched.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.confident import Judgement, Model, chunks, hash_share, judge, learn
from tasks.data.cleaning.effects import Effect, Memory, effect_of, make_report, removals
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.features import Encoder, Features, make_encoder, remember
from tasks.data.named_models import model_fields
from tasks.data.rows import keep, shorten, values, with_values
from tasks.data.similarity import near_duplicate_clusters, text_key
from tasks.errors import DataError
from tasks.train.bases.base import EMBEDDED_BASE

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

TWIN_THRESHOLD = 0.8  # similarity from which on two rows stay in one fold
FREE_TEXT_SHARE = 0.5  # distinct targets among the rows, from which on targets are no labels


@dataclass(frozen=True, config={"extra": "forbid"})
class LabelErrors:
    """Find training rows whose label looks wrong, by confident learning on probabilities out of fold.

    `flag` only reports them, `relabel` gives those the suggested label of which the model is `sure` (a probability),
    `drop` removes them all. At most `max_share` (0 to 0.5) of the rows are flagged. A label is judged where at least
    `folds` (2 to 20) texts that are no near duplicates have it. More than `max_rows` rows are judged by a model learnt
    on so many of them, drawn by `seed`. `features` are sentence embeddings of `base`, or `ngrams` of letters and words.
    """

    kind: Literal["label_errors"] = "label_errors"
    action: Literal["flag", "relabel", "drop"] = "drop"
    sure: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_share: Annotated[float, Field(gt=0, le=0.5)] = 0.3
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    max_rows: Annotated[int, Field(ge=100, le=1_000_000)] = 50_000
    features: Features = "embeddings"
    base: Annotated[str, Field(min_length=1)] = EMBEDDED_BASE
    seed: int = 7


class Suspects(NamedTuple):
    """What is known of the labels of rows, in their order."""

    judgement: Judgement
    labels: list[str]  # what `judgement.suggested` counts


class _Learnt(NamedTuple):
    model: Model
    encode: Encoder
    labels: list[str]


@model_fields.register(LabelErrors)
def _name_models(step: LabelErrors) -> tuple[str, ...]:
    return ("base",) if step.features == "embeddings" else ()


@effect_of.register(LabelErrors)
def _mend_labels(step: LabelErrors, table: "pa.Table", memory: Memory | None = None) -> Effect:
    targets, ids = values(table, "target"), values(table, "id")
    found, labels = find_label_errors(step, values(table, "text"), targets)
    suggested = [labels[number] for number in found.suggested]
    chosen = found.flagged & (found.sure >= step.sure) if step.action == "relabel" else found.flagged
    left, changed = table, 0
    if step.action == "drop":
        left = keep(table, (~chosen).tolist())
    elif step.action == "relabel":
        new = [suggested[row] if chosen[row] else target for row, target in enumerate(targets)]
        left, changed = with_values(table, "target", new), int(chosen.sum())
    rows = np.flatnonzero(found.flagged)
    worst = rows[np.argsort(found.given[rows], kind="stable")]
    report = make_report(step.kind, table.num_rows, left.num_rows, changed, _examples(table, worst, found, suggested))
    notes = _count(step.action, found, int(chosen.sum()))
    log.info("label_errors: %s", "; ".join(f"{count} {what}" for what, count in notes.items()) or "none found")
    done = {"drop": "dropped", "relabel": "relabelled", "flag": "flagged"}[step.action]
    reasons = [f"{done if chosen[row] else 'flagged'}: {targets[row]!r} looks like {suggested[row]!r}" for row in rows]
    removed = removals(step.kind, [ids[row] for row in rows], reasons, [""] * len(rows))
    return Effect(left, replace(report, left_out=notes), removed)


def _examples(table: "pa.Table", rows: np.ndarray, found: Judgement, suggested: Sequence[str]) -> Iterator[str]:
    texts, targets = values(table, "text"), values(table, "target")
    for row in rows:
        labels = (shorten(scrub_text(label), 40) for label in (targets[row], suggested[row]))
        yield f"{shorten(scrub_text(texts[row]))!r}: {' -> '.join(labels)} ({found.sure[row]:.2f})"


def _count(action: str, found: Judgement, acted: int) -> dict[str, int]:
    """Return how many rows were flagged, changed or removed and not judged, by what the report calls it."""
    flagged, unjudged = int(found.flagged.sum()), int(np.isnan(found.given).sum())
    done = {"drop": "dropped, the label looks wrong", "relabel": "relabelled", "flag": "flagged, kept"}[action]
    rest = {"flagged, kept: the suggestion is not sure enough": flagged - acted}
    notes = {done: acted, **rest, "not judged: no text, or too few texts have the label": unjudged}
    return {what: count for what, count in notes.items() if count}


def find_label_errors(step: LabelErrors, texts: Sequence[str], targets: Sequence[str]) -> Suspects:
    """Return what the model thinks of every row's label when it has not seen the row; the rows' order does not matter.

    Raises:
        DataError: the targets are no labels but free text, or fewer than two labels have enough rows to learn from.
    """
    _refuse_free_text(targets)
    order = sorted(range(len(texts)), key=lambda row: (texts[row], targets[row]))
    texts, targets = [texts[row] for row in order], [targets[row] for row in order]
    clusters = cluster_keys(texts)
    learnt = _learn(step, texts, targets, clusters)
    numbers = {label: number for number, label in enumerate(learnt.labels)}
    known = np.array([numbers.get(target, -1) if text.strip() else -1
                      for text, target in zip(texts, targets, strict=True)])  # fmt: skip
    found = judge(learnt.model, learnt.encode, texts, known, _folds(step, clusters))
    back = np.argsort(order)
    columns = (found.given[back], found.suggested[back], found.sure[back], found.flagged[back])
    return Suspects(Judgement(*columns), learnt.labels)


def list_suspects(step: LabelErrors, train: "pa.Table", golden: "pa.Table") -> "pa.Table":
    """Return the golden rows for which a model of the training rows is `sure` of another label, the surest doubt first.

    Columns: id, text (without personal data), given and suggested label, and the probabilities of both (`confidence`,
    `suggested_confidence`). Rows with a label that train does not teach are not judged.

    Raises:
        DataError: as `find_label_errors`, on the training rows.
    """
    import pyarrow as pa

    order = sorted(zip(values(train, "text"), values(train, "target"), strict=True))
    texts, targets = [text for text, _ in order], [target for _, target in order]
    _refuse_free_text(targets)
    learnt = _learn(step, texts, targets, cluster_keys(texts))
    numbers = {label: number for number, label in enumerate(learnt.labels)}
    asked, given = values(golden, "text"), values(golden, "target")
    known = np.array([numbers.get(target, -1) if text.strip() else -1
                      for text, target in zip(asked, given, strict=True)])  # fmt: skip
    found = judge(learnt.model, learnt.encode, asked, known, None)
    ids = values(golden, "id")
    doubted = found.flagged & (found.sure >= step.sure)
    rows = sorted(map(int, np.flatnonzero(doubted)), key=lambda row: (found.given[row], ids[row]))
    return pa.table({
        "id": pa.array([ids[row] for row in rows], pa.string()),
        "text": pa.array([scrub_text(asked[row]) for row in rows], pa.string()),
        "given": pa.array([given[row] for row in rows], pa.string()),
        "suggested": pa.array([learnt.labels[found.suggested[row]] for row in rows], pa.string()),
        "confidence": pa.array([float(found.given[row]) for row in rows], pa.float64()),
        "suggested_confidence": pa.array([float(found.sure[row]) for row in rows], pa.float64()),
    })  # fmt: skip


def _learn(step: LabelErrors, texts: Sequence[str], targets: Sequence[str], clusters: Sequence[str]) -> _Learnt:
    """Return the model of the rows that can be learnt from: those with a text and a label that enough rows have."""
    rows = _draw(step, texts, clusters)
    holders: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        holders[targets[row]].add(clusters[row])
    labels = sorted(label for label, keys in holders.items() if len(keys) >= step.folds)
    if len(labels) < 2:
        raise DataError(
            f"cleaning step 'label_errors' needs two labels that at least {step.folds} different texts have, found "
            f"{len(labels)} among {len(holders)} labels of {len(texts)} rows: give more rows, lower `folds`, or leave "
            "the step out"
        )
    numbers = {label: number for number, label in enumerate(labels)}
    rows = [row for row in rows if targets[row] in numbers]
    chosen = [texts[row] for row in rows]
    encode = make_encoder(step.features, step.base, chosen)
    folds = _folds(step, [clusters[row] for row in rows])
    known = np.array([numbers[targets[row]] for row in rows])
    vectors = np.concatenate([encode([chosen[row] for row in part]) for part in chunks(len(chosen))])
    model = learn(vectors, known, folds, len(labels), step.max_share)
    return _Learnt(model, remember(encode, chosen, vectors), labels)


def _draw(step: LabelErrors, texts: Sequence[str], clusters: Sequence[str]) -> list[int]:
    """Return the rows with a text, or about `max_rows` of them drawn by cluster, ascending."""
    rows = [row for row, text in enumerate(texts) if text.strip()]
    if len(rows) <= step.max_rows:
        return rows
    drawn = {row: hash_share(step.seed, f"draw:{clusters[row]}") for row in rows}
    return sorted(sorted(rows, key=lambda row: (drawn[row], row))[: step.max_rows])


def _folds(step: LabelErrors, clusters: Sequence[str]) -> np.ndarray:
    """Return each row's fold [rows], from 0, by the text that stands for its cluster."""
    found = {key: math.floor(step.folds * hash_share(step.seed, key)) for key in set(clusters)}
    return np.array([found[key] for key in clusters], int)


def cluster_keys(texts: Sequence[str]) -> list[str]:
    """Return for each text the least text of its cluster of near duplicates, whatever order they come in."""
    keys = [text_key(text) for text in texts]
    clusters = near_duplicate_clusters(texts, TWIN_THRESHOLD)
    least: dict[int, str] = {}
    for cluster, key in zip(clusters, keys, strict=True):
        least[cluster] = min(key, least.get(cluster, key))
    return [least[cluster] for cluster in clusters]


def _refuse_free_text(targets: Sequence[str]) -> None:
    counts = Counter(targets)
    if len(counts) > max(2, FREE_TEXT_SHARE * len(targets)):
        example = shorten(scrub_text(min(counts)), 60)
        raise DataError(
            f"cleaning step 'label_errors' needs labels that rows share, but {len(targets)} rows have {len(counts)} "
            f"different targets (such as {example!r}): leave the step out where targets are free text"
        )
