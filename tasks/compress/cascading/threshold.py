"""From what confidence on a first stage may answer, so that its answers keep agreeing with the full model's.

The risk of a threshold is the probability that a text is answered at it, and otherwise than by the full model.
Thresholds are tested from the highest downward until one fails (fixed-sequence testing, Angelopoulos et al. 2021,
"Learn then Test"). Risk only grows on the way, so a threshold whose risk is too high can only be chosen if the test of
the first such threshold errs: the probability is that of one test, however many there are, and they may be the
confidences that were observed. Rows must be independent draws of what will be asked, and nothing may have learned from
them. Fits nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta


@dataclass(frozen=True)
class Threshold:
    """The confidence from which on the stage answers, and what of the rows that chose it."""

    value: float
    rows: int
    answered: int
    differing: int  # of those answered
    bound: float  # on the share of all texts that are answered otherwise, at the confidence asked for


def choose_threshold(
    confidences: np.ndarray, agrees: np.ndarray, agreement: float, confidence: float
) -> Threshold | None:
    """Return the lowest threshold that holds; None where not even the highest does.

    With at least the probability `confidence` over the rows, at most `1 - agreement` of all texts are answered at it
    and otherwise than by the full model.

    Args:
        confidences: of the stage on each row, [rows]; 0 where it knows nothing, which no threshold lets answer.
        agrees: whether the stage's answer is the full model's, [rows] bool.
        agreement: in (0, 1).
        confidence: in (0, 1).
    """
    values, at = np.unique(-confidences[confidences > 0], return_inverse=True)  # the surest first; equals together
    answered = np.cumsum(np.bincount(at, minlength=len(values)))
    differing = np.cumsum(np.bincount(at, weights=~agrees[confidences > 0], minlength=len(values))).astype(int)
    failed = upper_bound(differing, len(confidences), confidence) > 1 - agreement
    passed = int(failed.argmax()) if failed.any() else len(values)
    if not passed:
        return None
    last = -values[passed - 1 : passed + 1].astype(float)  # the last that holds and the next, where there is one
    bound = float(upper_bound(differing[passed - 1 : passed], len(confidences), confidence)[0])
    # Between two observed confidences every threshold answers the same rows; halfway no rounding matters.
    return Threshold(float(last.mean()), len(confidences), int(answered[passed - 1]), int(differing[passed - 1]), bound)


def upper_bound(events: np.ndarray, rows: int, confidence: float) -> np.ndarray:
    """Return the one-sided upper bounds on the probability of an event seen so often in `rows` independent draws.

    Clopper and Pearson 1934; 1 where every row is an event.
    """
    inside = np.minimum(events, rows - 1)
    bounds: np.ndarray = np.where(events < rows, beta.ppf(confidence, inside + 1, rows - inside), 1.0)
    return bounds


def fewest_rows(agreement: float, confidence: float) -> int:
    """Return how many rows it takes for a threshold to hold at all: with none of them answered otherwise."""
    return math.ceil(math.log(1 - confidence) / math.log(agreement))
