"""The filter that preserves labels: a generated row stays only if a teacher still gives it the label that it claims.

The teacher is the best model so far, whose answers are those that it would serve. Where there is none yet, a cheap one
stands in: a logistic regression on TF-IDF of character n-grams, fitted on the training rows as they came, with the
labels that they claim. No teacher judges an original row or a copy of one, nor learns from evaluation or made rows.
"""

import random
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.augmentation.augment import Given, Made, Row, Teacher, propose
from tasks.progress import report_progress

if TYPE_CHECKING:
    from tasks.records import Candidate

OTHER_LABEL = "the teacher gives another label"
NO_CHAMPION = "tfidf (no model yet)"

_MAX_ROWS = 20_000  # a random part of more rows teaches as well, in bounded time
_MAX_STEPS = 200
_SHARPNESS = 10.0  # the inverse strength of regularisation, at which probabilities over many labels are not all small
_BLOCK = 1024  # rows asked about at a time

Handle = TypeVar("Handle")


@dataclass(frozen=True, config={"extra": "forbid"})
class KeepLabel:
    """Drop what the methods before it made where a teacher gives another label a probability of at least `threshold`.

    The threshold is from 0 to below 1; at 0 every row goes to which the teacher gives another label, however unsure.
    `teacher` is the best model so far (`champion`; in the first iteration `tfidf`), `tfidf`, or `none`: drop nothing.
    """

    kind: Literal["keep_label"] = "keep_label"
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    teacher: Literal["champion", "tfidf", "none"] = "champion"


def used_teacher(methods: Sequence[Any], teacher: Handle | None) -> Handle | None:
    """Return the teacher where one of the methods asks it, else None: then it decides nothing about the rows."""
    asked = any(method.kind == "keep_label" and method.teacher == "champion" for method in methods)
    return teacher if asked else None


def open_teacher(candidate: "Candidate | None") -> Teacher | None:
    """Return the model ready to judge.

    Raises:
        ArtifactError: the artifact is missing or changed.
    """
    from tasks.artifacts import open_artifact
    from tasks.measure.runtime import load

    if candidate is None:
        return None
    return Teacher(candidate.digest, open_artifact(candidate)[1]["labels"], load(candidate).predict)


@propose.register(KeepLabel)
def _doubt(method: KeepLabel, given: Given) -> Made:
    if method.teacher == "none":
        return Made()
    copies = {row["id"] for row in given.parents[len(given.originals) :]}
    generated = [row for row in given.made if row["id"] not in copies]
    if method.teacher == "champion" and given.teacher is not None:
        return _judge(method, generated, given.teacher.labels, given.teacher)
    notes = {"teacher": NO_CHAMPION} if method.teacher == "champion" else {}
    taught = [row for row in given.originals if row["text"].strip()]
    if len(taught) > _MAX_ROWS:
        taught = random.Random(given.seed).sample(taught, _MAX_ROWS)
    labels = sorted({row["target"] for row in taught})
    return _judge(method, generated, labels, taught)._replace(notes=notes)


def _judge(
    method: KeepLabel, generated: Sequence[Row], labels: Sequence[str], teacher: Teacher | Sequence[Row]
) -> Made:
    """Return which rows go; those with a label that the teacher was not taught stay."""
    known = set(labels)
    suspects = [row for row in generated if row["target"] in known]
    notes = {"teacher": teacher.name} if isinstance(teacher, Teacher) else {}
    if len(known) < 2 or not suspects:
        return Made(notes=notes)
    texts = [row["text"] for row in suspects]
    answers = _ask(teacher, texts) if isinstance(teacher, Teacher) else _ask_fitted(teacher, texts)
    dropped = {}
    for row, (label, probability) in zip(suspects, answers, strict=True):
        if label != row["target"] and probability >= method.threshold:
            dropped[row["id"]] = f"claims {row['target']!r}, the teacher says {label!r} at {probability:.0%}"
    return Made(left_out={OTHER_LABEL: len(dropped)} if dropped else {}, dropped=dropped, notes=notes)


def _ask(teacher: Teacher, texts: Sequence[str]) -> list[tuple[str, float]]:
    """Return for each text the most probable label and its probability (0 to 1)."""
    found: list[tuple[str, float]] = []
    for start in range(0, len(texts), _BLOCK):
        answers = teacher.predict(texts[start : start + _BLOCK])
        found += zip(answers.outputs, map(float, answers.scores), strict=True)
        report_progress("augment keep_label", len(found), len(texts))
    return found


def _ask_fitted(taught: Sequence[Row], texts: Sequence[str]) -> list[tuple[str, float]]:
    """Return the same of a teacher that is fitted here."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    known = features.fit_transform([row["text"] for row in taught])
    teacher: Any = LogisticRegression(C=_SHARPNESS, max_iter=_MAX_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a teacher that is nearly fitted teaches as well
        teacher.fit(known, [row["target"] for row in taught])
    probabilities = teacher.predict_proba(features.transform(texts))
    return [(str(teacher.classes_[row.argmax()]), float(row.max())) for row in probabilities]
