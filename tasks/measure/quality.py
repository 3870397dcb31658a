"""Scores per row: what a candidate answers on an evaluation set, and how right each answer is. Judges nothing."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.predictors import file_sha256
from tasks.data.snapshot import read_table
from tasks.errors import ArtifactError, DataError
from tasks.measure.runtime import load
from tasks.measure.statistics import mean_interval
from tasks.records import Candidate, Quality, SliceScore, Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

METRIC = "accuracy"  # the mean of the row scores of a classifier


def exact_match(outputs: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return 1.0 for each output that equals its target, else 0.0; `[rows]`."""
    return np.array([output == target for output, target in zip(outputs, targets, strict=True)], dtype=np.float64)


def measure_quality(candidate: Candidate, snapshot: Snapshot, split: str, folder: Path) -> Quality:
    """Return the candidate's score on every row of a split, the rows' scores stored as Parquet in `folder`.

    Raises:
        DataError: the split has no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = read_split(snapshot, split)
    texts, targets = table["text"].to_pylist(), table["target"].to_pylist()
    predictions = load(candidate).predict(texts)
    scores = exact_match(predictions.outputs, targets)
    columns = {
        "id": table["id"],
        "text": table["text"],
        "target": table["target"],
        "output": pa.array(predictions.outputs, pa.string()),
        "confidence": pa.array(predictions.scores.astype(np.float64)),
        "score": pa.array(scores),
        **{name: table[name] for name in snapshot.slices},
    }
    path = folder / "scores.parquet"
    pq.write_table(pa.table(columns), path)
    low, high = mean_interval(scores)
    return Quality(
        METRIC, split, len(texts), rows_digest(table), float(scores.mean()), low, high,
        slice_scores(scores, pa.table(columns), snapshot.slices), str(path), file_sha256(path),
    )  # fmt: skip


def read_split(snapshot: Snapshot, split: str) -> "pa.Table":
    """Return the rows of one split.

    Raises:
        DataError: there are none.
    """
    import pyarrow.compute as pc

    table = read_table(Path(snapshot.uri), snapshot.digest)
    rows = table.filter(pc.equal(table["split"], split))
    if rows.num_rows == 0:
        raise DataError(f"data.split.{split}: no rows; give it a larger share or name its file")
    return rows


def rows_digest(table: "pa.Table") -> str:
    """Return the SHA-256 of ids, texts and targets in their order: equal digests mean the same evaluation rows."""
    rows = [table[name].to_pylist() for name in ("id", "text", "target")]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def slice_scores(scores: np.ndarray, table: "pa.Table", columns: Sequence[str]) -> dict[str, SliceScore]:
    """Return rows and mean of every slice, named `column=value`."""
    result = {}
    for name, mask in slice_masks(table, columns).items():
        result[name] = SliceScore(int(mask.sum()), float(scores[mask].mean()))
    return result


def slice_masks(table: "pa.Table", columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Return a boolean row mask for every value of every slice column, named `column=value`."""
    masks = {}
    for column in columns:
        values = np.array(table[column].to_pylist(), dtype=object)
        for value in sorted(set(values)):
            masks[f"{column}={value}"] = values == value
    return masks


def read_scores(quality: Quality) -> "pa.Table":
    """Return the stored row scores of a measurement.

    Raises:
        ArtifactError: the file is missing or changed.
    """
    import pyarrow.parquet as pq

    path = Path(quality.scores_uri)
    if not path.is_file() or file_sha256(path) != quality.scores_sha256:
        raise ArtifactError(f"{path}: row scores are missing or changed; delete {path.parent} and run again")
    return pq.read_table(path)
