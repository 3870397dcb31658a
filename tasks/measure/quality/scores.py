"""Scores per row: what a candidate answers on an evaluation set, and how right each answer is. Judges nothing."""

import hashlib
import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.artifact import file_sha256
from serving.predictors import Predictions, Predictor
from tasks.artifacts import open_artifact
from tasks.data.rows import values
from tasks.data.snapshot import read_table
from tasks.errors import ArtifactError, DataError
from tasks.measure.gate.evidence import Measured
from tasks.measure.quality.metrics import Answers, measure_metrics, row_brier, row_costs
from tasks.measure.quality.robustness import perturb, robust_rows
from tasks.measure.runtime import load
from tasks.measure.statistics import mean_interval
from tasks.records import Candidate, Quality, Scorecard, SliceScore, Snapshot
from tasks.specs import QualitySpec

if TYPE_CHECKING:
    import pyarrow as pa

PERTURBED = ("select", "golden")  # the sets whose rows are also asked perturbed
METRIC = "accuracy"  # the mean of the row scores of a classifier


def exact_match(outputs: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return 1.0 for each output that equals its target, else 0.0; `[rows]`."""
    return np.array([output == target for output, target in zip(outputs, targets, strict=True)], dtype=np.float64)


def measure_quality(
    candidate: Candidate,
    snapshot: Snapshot,
    split: str,
    spec: QualitySpec,
    slices: "pa.Table",
    measured_by: str,
    folder: Path,
) -> Quality:
    """Return the candidate's score on every row of a split, the rows' scores stored as Parquet in `folder`.

    Rows of `select` and golden are also scored perturbed. `slices` has a Boolean column for each slice, named
    `family:name`; `measured_by` goes into the record.

    Raises:
        DataError: the split has no rows.
    """
    import pyarrow.parquet as pq

    table = read_split(snapshot, split)
    texts, targets = values(table, "text"), values(table, "target")
    predictor = load(candidate)
    answers = _answers(candidate, predictor.predict(texts), targets, spec, snapshot.out_of_scope)
    path, robust_path = folder / "scores.parquet", folder / "robust.parquet"
    pq.write_table(_score_table(table, answers, slices), path)
    masks = {column.split(":", 1)[1]: _array(slices, column) for column in slices.column_names}
    found = {name: SliceScore(int(mask.sum()), float(answers.scores[mask].mean())) for name, mask in masks.items()}
    robust = score_perturbed(predictor, texts, targets, spec, robust_path) if split in PERTURBED else {}
    low, high = mean_interval(answers.scores)
    return Quality(
        METRIC, split, len(texts), rows_digest(table), float(answers.scores.mean()), low, high, found | robust,
        str(path), file_sha256(path), measure_metrics(answers),
        str(robust_path) if robust else "", file_sha256(robust_path) if robust else "", measured_by,
    )  # fmt: skip


def score_perturbed(
    predictor: Predictor, texts: list[str], targets: list[str], spec: QualitySpec, path: Path
) -> dict[str, SliceScore]:
    """Return the scores on perturbed copies of a sample of the rows, and write them to `path` where there are any."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = robust_rows(texts, spec.robust_rows)
    found: dict[str, list[str]] = {"kind": [], "text": [], "target": []}
    for kind in spec.robustness:
        for row, text in zip(rows, perturb([texts[row] for row in rows], kind), strict=True):
            if text is not None:
                for name, value in (("kind", kind), ("text", text), ("target", targets[row])):
                    found[name].append(value)
    if not found["kind"]:
        return {}
    outputs = predictor.predict(found["text"]).outputs
    scores, kinds = exact_match(outputs, found["target"]), np.array(found["kind"])
    pq.write_table(pa.table({**found, "output": outputs, "score": scores}), path)
    return {
        f"robust={kind}": SliceScore(int((kinds == kind).sum()), float(scores[kinds == kind].mean()))
        for kind in dict.fromkeys(found["kind"])
    }


def _answers(
    candidate: Candidate, predictions: Predictions, targets: list[str], spec: QualitySpec, out_of_scope: str
) -> Answers:
    brier = None
    if predictions.probabilities is not None:
        brier = row_brier(predictions.probabilities, open_artifact(candidate)[1]["labels"], targets)
    return Answers(
        targets=np.array(targets, dtype=object),
        outputs=np.array(predictions.outputs, dtype=object),
        scores=exact_match(predictions.outputs, targets),
        confidences=predictions.scores.astype(np.float64),
        costs=row_costs(targets, predictions.outputs, spec.costs),
        brier=brier,
        out_of_scope=out_of_scope,
    )


def _score_table(table: "pa.Table", answers: Answers, slices: "pa.Table") -> "pa.Table":
    """Return what is stored of every row, the slices among it."""
    import pyarrow as pa

    columns = {
        "id": table["id"],
        "text": table["text"],
        "target": table["target"],
        "output": pa.array(answers.outputs, pa.string()),
        "confidence": answers.confidences,
        "score": answers.scores,
        "cost": answers.costs,
    }
    if answers.brier is not None:
        columns["brier"] = answers.brier
    own = {name: table[name] for name in table.column_names if name not in (*columns, "split", "source")}
    return pa.table({**columns, **own, **{name: slices[name] for name in slices.column_names}})


def with_scores(card: Scorecard, out_of_scope: str = "") -> Measured:
    """Return the scorecard with its row scores, slices and perturbed rows read back.

    Raises:
        ArtifactError: the stored scores are missing or changed.
    """
    table = read_scores(card.quality)
    named = [(*field.name.split(":", 1), _array(table, field.name)) for field in table.schema if field.type == "bool"]
    robust: dict[str, np.ndarray] = {}
    if card.quality.robust_uri:
        perturbed = read_verified(card.quality.robust_uri, card.quality.robust_sha256)
        kinds, scores = np.array(perturbed["kind"].to_pylist()), _array(perturbed, "score")
        robust = {kind: scores[kinds == kind] for kind in dict.fromkeys(kinds.tolist())}
    answers = Answers(
        targets=np.array(values(table, "target"), dtype=object),
        outputs=np.array(values(table, "output"), dtype=object),
        scores=_array(table, "score"),
        confidences=_array(table, "confidence"),
        costs=_array(table, "cost"),
        brier=_array(table, "brier") if "brier" in table.column_names else None,
        out_of_scope=out_of_scope,
    )
    return Measured(
        card, answers.scores, {name: mask for _, name, mask in named}, {name: family for family, name, _ in named},
        robust, answers,
    )  # fmt: skip


def _array(table: "pa.Table", column: str) -> np.ndarray:
    result: np.ndarray = table[column].to_numpy()
    return result


def check_costs(spec: QualitySpec, snapshot: Snapshot) -> None:
    """Refuse costs of labels that the data does not have: such a cost would never count.

    Raises:
        DataError: a label is unknown.
    """
    known = [*snapshot.labels, snapshot.out_of_scope]
    named = dict.fromkeys([*spec.costs, *(output for row in spec.costs.values() for output in row)])
    for label in named:
        if label not in known:
            near = get_close_matches(label, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "take it out"
            raise DataError(f"quality.costs: the data has no label {label!r}; {hint}")


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


def read_scores(quality: Quality) -> "pa.Table":
    """Return the stored row scores of a measurement.

    Raises:
        ArtifactError: the file is missing or changed.
    """
    return read_verified(quality.scores_uri, quality.scores_sha256)


def read_verified(uri: str, sha256: str) -> "pa.Table":
    """Return a stored table of rows, checked against its SHA-256.

    Raises:
        ArtifactError: the file is missing or changed.
    """
    import pyarrow.parquet as pq

    path = Path(uri)
    if not path.is_file() or file_sha256(path) != sha256:
        raise ArtifactError(f"{path}: row scores are missing or changed; delete {path.parent} and run again")
    return pq.read_table(path)
