"""The filter that preserves labels: rows made by earlier methods go where a cheap teacher is sure of another label.

The teacher is a logistic regression on TF-IDF of character n-grams, fitted on the training rows as they came, with the
labels that they claim. It judges no original row, and learns from no evaluation row and no made one.
"""

import random
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.augmentation.augment import Given, Made, Row, propose

OTHER_LABEL = "the teacher is sure of another label"

_MAX_ROWS = 20_000  # a random part of more rows teaches as well, in bounded time
_MAX_STEPS = 200
_SHARPNESS = 10.0  # the inverse strength of regularisation, at which probabilities over many labels are not all small


@dataclass(frozen=True, config={"extra": "forbid"})
class KeepLabel:
    """Drop what the methods before it made where a teacher gives another label a probability of at least `threshold`.

    The threshold is from 0.5 to below 1; rows of which the teacher is not sure stay.
    """

    kind: Literal["keep_label"] = "keep_label"
    threshold: Annotated[float, Field(ge=0.5, lt=1)] = 0.6


@propose.register(KeepLabel)
def _doubt(method: KeepLabel, given: Given) -> Made:
    taught = [row for row in given.originals if row["text"].strip()]
    if len(taught) > _MAX_ROWS:
        taught = random.Random(given.seed).sample(taught, _MAX_ROWS)
    labels = {row["target"] for row in taught}
    suspects = [row for row in given.made if row["target"] in labels]
    if len(labels) < 2 or not suspects:
        return Made()
    dropped = {}
    for row, (label, probability) in zip(suspects, _ask_teacher(taught, suspects), strict=True):
        if label != row["target"] and probability >= method.threshold:
            dropped[row["id"]] = f"claims {row['target']!r}, the teacher says {label!r} at {probability:.0%}"
    return Made(left_out={OTHER_LABEL: len(dropped)} if dropped else {}, dropped=dropped)


def _ask_teacher(taught: Sequence[Row], suspects: Sequence[Row]) -> list[tuple[str, float]]:
    """Return for each suspect the most probable label and its probability (0 to 1)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    known = features.fit_transform([row["text"] for row in taught])
    teacher: Any = LogisticRegression(C=_SHARPNESS, max_iter=_MAX_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a teacher that is nearly fitted teaches as well
        teacher.fit(known, [row["target"] for row in taught])
    probabilities = teacher.predict_proba(features.transform([row["text"] for row in suspects]))
    return [(str(teacher.classes_[row.argmax()]), float(row.max())) for row in probabilities]
