"""What is measured of a model's answers on an evaluation set, with intervals, and how two models compare.

Judges nothing. Nothing here needs a classifier where the metric does not: a row score is any number in [0, 1].
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from tasks.measure.quality.bootstrap import Cells, bca
from tasks.measure.quality.cells import auroc_cells, ece_cells, f1_cells, mean_cells
from tasks.records import Interval

MIN_ROWS = 10  # of a label for its F1, and of each side for out-of-scope detection
MAX_LABELS = 1000  # more are free text, of which there is no macro-F1
ROUNDING = 1e-6  # by which a number may leave [0, 1], as float32 probabilities do


@dataclass(frozen=True)
class Answers:
    """What one model answered on the rows of one evaluation set; every array is [rows]."""

    targets: np.ndarray  # str
    outputs: np.ndarray  # str
    scores: np.ndarray  # row score in [0, 1]
    confidences: np.ndarray  # in [0, 1]
    costs: np.ndarray | None = None  # in [0, 1], by `row_costs`; None where nobody said what errors cost
    brier: np.ndarray | None = None  # in [0, 1], by `row_brier`; None where the model gives no probabilities
    out_of_scope: str = ""  # the target of rows that no label fits; empty where there are none


@dataclass(frozen=True)
class Metric:
    """A number in [0, 1] that can be measured of a model's answers."""

    name: str
    higher_is_better: bool
    meaning: str
    cells: Callable[[Sequence[Answers], str], Cells]  # of one model, or two on the same rows; the label asked for


def row_costs(targets: Sequence[str], outputs: Sequence[str], costs: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Return the cost [rows] of each answer in [0, 1]: 0 for a right one, else `costs[target][output]`, 1 if not given.

    All are divided by the largest that an error can cost: 1, or the largest given if that is more.

    Raises:
        ValueError: a cost is negative or not finite, or targets and outputs differ in length.
    """
    given = [cost for row in costs.values() for cost in row.values()]
    bad = next((cost for cost in given if not 0 <= cost < math.inf), None)
    if bad is not None:
        raise ValueError(f"a cost must be a finite number from 0 on, not {bad}; mend the table of costs")
    found = [
        0.0 if output == target else costs.get(target, {}).get(output, 1.0)
        for target, output in zip(targets, outputs, strict=True)
    ]
    return np.array(found, dtype=np.float64) / np.float64(max([1.0, *given]))


def row_brier(probabilities: np.ndarray, labels: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return the Brier score [rows] in [0, 1]: half the squared distance of the probabilities from the target's.

    A target that is none of the labels has the probability 0, whatever the model says.
    Source: G. W. Brier, Monthly Weather Review 78 (1950), halved.

    Args:
        probabilities: [rows, labels], each row sums to 1.
        labels: [labels].
        targets: [rows].

    Raises:
        ValueError: the shapes do not fit.
    """
    if probabilities.shape != (len(targets), len(labels)):
        raise ValueError(f"probabilities must be [{len(targets)} rows, {len(labels)} labels], not "
                         f"{list(probabilities.shape)}; give those of these rows")  # fmt: skip
    column = {label: number for number, label in enumerate(labels)}
    chosen = np.array([column.get(target, -1) for target in targets], dtype=np.int64)
    exact = probabilities.astype(np.float64)
    given = np.where(chosen >= 0, exact[np.arange(len(chosen)), chosen], 0.0)
    distances: np.ndarray = ((exact**2).sum(axis=1) + 1 - 2 * given) / 2
    return distances.clip(0.0, 1.0)


def _accuracy(models: Sequence[Answers], _: str) -> Cells:
    return mean_cells([model.scores for model in models])


def _cost(models: Sequence[Answers], _: str) -> Cells:
    return mean_cells([model.costs for model in models if model.costs is not None])


def _brier(models: Sequence[Answers], _: str) -> Cells:
    return mean_cells([model.brier for model in models if model.brier is not None])


def _ece(models: Sequence[Answers], _: str) -> Cells:
    return ece_cells([model.scores for model in models], [model.confidences for model in models])


def _macro_f1(models: Sequence[Answers], _: str) -> Cells:
    columns = [column.tolist() for column in (models[0].targets, *(model.outputs for model in models))]
    labels = {label: number for number, label in enumerate(sorted(set().union(*columns)))}
    target, *outputs = (np.array([labels[label] for label in column]) for column in columns)
    return f1_cells(target, outputs, len(labels))


def _label_f1(models: Sequence[Answers], label: str) -> Cells:
    target, *outputs = (
        (column == label).astype(np.int64) for column in (models[0].targets, *(model.outputs for model in models))
    )
    return f1_cells(target, outputs, labels=2, label=1)


def _oos_auroc(models: Sequence[Answers], _: str) -> Cells:
    label = models[0].out_of_scope
    inside = [np.where(model.outputs == label, 1 - model.confidences, model.confidences) for model in models]
    return auroc_cells(models[0].targets != label, inside)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, "mean of the row scores", _accuracy),
        Metric("macro_f1", True, "mean F1 of the labels among targets and outputs, as scikit-learn's", _macro_f1),
        Metric("f1[LABEL]", True, "F1 of one label", _label_f1),
        Metric("cost", False, "mean cost of an answer, as a share of the largest", _cost),
        Metric("ece", False, "expected calibration error, 15 bins of equal width", _ece),
        Metric("brier", False, "Brier score, halved", _brier),
        Metric("oos_auroc", True, "how well confidence tells rows in scope from rows out of scope", _oos_auroc),
    )
}


def find_metric(name: str) -> tuple[Metric, str]:
    """Return the metric of a name and the label that it asks for, empty but for `f1[LABEL]`.

    Raises:
        ValueError: there is no such metric.
    """
    if name.startswith("f1[") and name.endswith("]") and len(name) > len("f1[]"):
        return METRICS["f1[LABEL]"], name[3:-1]
    if name not in METRICS or name == "f1[LABEL]":
        near = get_close_matches(name, METRICS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown metric {name!r}, known are {', '.join(METRICS)}{hint}")
    return METRICS[name], ""


def check_metric(name: str) -> None:
    """Raise ValueError, with the nearest one known, unless there is a metric of this name."""
    find_metric(name)


def check_computable(name: str, answers: Answers) -> None:
    """Raise ValueError, saying why, unless the metric can be computed of these answers."""
    metric, label = find_metric(name)
    _check_rows(answers)
    obstacle = _obstacle(metric.name, label, answers)
    if obstacle:
        raise ValueError(f"{name} cannot be computed: {obstacle}")


def measure_metrics(answers: Answers, *, resamples: int = 2000, level: float = 0.95) -> dict[str, Interval]:
    """Return every metric that can be computed of the answers, each with its two-sided BCa interval.

    Labels with fewer than ten rows have no F1 of their own. Where rows cannot vary (all of them right) the interval has
    no width; that of `statistics.mean_interval` has.

    Raises:
        ValueError: the arrays differ in length or are empty, or hold what is no number in [0, 1].
    """
    _check_rows(answers)
    found = {}
    for name in METRICS:
        for asked in _of_labels(answers) if name == "f1[LABEL]" else [name]:
            metric, label = find_metric(asked)
            if _obstacle(name, label, answers) is None:
                interval = bca(metric.cells([answers], label), (1 - level) / 2, resamples)
                found[asked] = Interval(interval.value, max(0.0, interval.low), min(1.0, interval.high))
    return found


def compare_metric(
    name: str, candidate: Answers, reference: Answers, alpha: float, *, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return by how much the candidate is better than the reference, paired, with BCa bounds at level alpha each.

    Candidate minus reference, with the sign turned where lower is better: above 0 is always better. Continuous values
    (of the ECE, the Brier score and the AUROC, and scores or costs with many different values) are grouped into at most
    a thousand cells, each with the exact mean of its rows, so that the value stays exact. Models that never differ give
    an interval of no width, however few the rows.

    Raises:
        ValueError: the metric is unknown or cannot be computed of one of the two, they answered different rows, or
            alpha or resamples are out of range.
    """
    for answers in (candidate, reference):
        check_computable(name, answers)
    if candidate.out_of_scope != reference.out_of_scope or not np.array_equal(candidate.targets, reference.targets):
        raise ValueError("candidate and reference answered different rows; score both on one snapshot")
    metric, label = find_metric(name)
    found = bca(metric.cells([candidate, reference], label), alpha, resamples, seed)
    return found if metric.higher_is_better else Interval(-found.value, -found.high, -found.low)


def compare_metrics(candidate: Answers, reference: Answers, *, resamples: int = 2000) -> dict[str, Interval]:
    """Return `compare_metric`, with its two-sided 95 % interval, of every metric that can be computed of both models.

    Raises:
        ValueError: they answered different rows.
    """
    names = [name for name in METRICS if name != "f1[LABEL]"] + _of_labels(reference)
    return {
        name: compare_metric(name, candidate, reference, 0.025, resamples=resamples)
        for name in names
        if all(_obstacle(*_asked(name), answers) is None for answers in (candidate, reference))
    }


def _asked(name: str) -> tuple[str, str]:
    metric, label = find_metric(name)
    return metric.name, label


def _check_rows(answers: Answers) -> None:
    """Raise ValueError unless all arrays are of the same rows, at least one, and hold numbers in [0, 1]."""
    rows = len(answers.targets)
    if rows == 0:
        raise ValueError("no rows; give the answers on at least one")
    for name in ("outputs", "scores", "confidences", "costs", "brier"):
        column = getattr(answers, name)
        if column is None:
            continue
        if len(column) != rows:
            raise ValueError(f"{rows} targets but {len(column)} {name}; give one for every row")
        if name != "outputs" and not ((column >= -ROUNDING) & (column <= 1 + ROUNDING)).all():  # NaN is neither
            raise ValueError(f"{name} must be numbers in [0, 1], not {column.min():g} to {column.max():g}; mend them")


def _obstacle(metric: str, label: str, answers: Answers) -> str | None:
    """Return why the metric cannot be computed of the answers, or None."""
    if metric == "f1[LABEL]":
        return _few_rows(label, answers)
    if metric == "macro_f1" and (number := len({*answers.targets.tolist(), *answers.outputs.tolist()})) > MAX_LABELS:
        return f"{number} different targets and outputs are no labels but free text; use accuracy"
    if metric == "cost" and answers.costs is None:
        return "nothing says what errors cost; give a table of costs"
    if metric == "brier" and answers.brier is None:
        return "the model gives no probabilities; use accuracy"
    if metric == "oos_auroc":
        return _one_sided(answers)
    return None


def _few_rows(label: str, answers: Answers) -> str | None:
    rows = int((answers.targets == label).sum())
    if rows >= MIN_ROWS:
        return None
    near = get_close_matches(label, Counter(answers.targets.tolist()), n=1) if not rows else []
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{rows} rows have the target {label!r}{hint}, and {MIN_ROWS} are needed; add rows of it"


def _one_sided(answers: Answers) -> str | None:
    if not answers.out_of_scope:
        return "no target is declared to be out of scope; name it in data.out_of_scope"
    outside = int((answers.targets == answers.out_of_scope).sum())
    if min(outside, len(answers.targets) - outside) >= MIN_ROWS:
        return None
    return (f"{outside} of {len(answers.targets)} rows have the target {answers.out_of_scope!r}, and at least "
            f"{MIN_ROWS} rows are needed on either side; add rows")  # fmt: skip


def _of_labels(answers: Answers) -> list[str]:
    counts = Counter(answers.targets.tolist())
    return [f"f1[{label}]" for label in sorted(counts) if counts[label] >= MIN_ROWS]
