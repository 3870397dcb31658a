"""Whether production still looks like what the champion was judged on: drift checks by Evidently, and the alert.

Compares two frames of rows: texts, what the model answered, how sure it was, and slices. It needs no labels, so it says
that inputs or answers have changed, not that the model got worse. It fetches no rows, stores none, retrains nothing and
sends nothing, and it does not scrub: the HTML report shows words and some whole texts, so the caller passes texts
without personal data, scrubbed in the same way in both frames (a placeholder in only one of them is a drift too).

A check fires at `max(threshold, noise)`. The threshold, from the spec, is the smallest change worth an alarm, the same
for every number of rows; a p-value would call any trifle a drift once rows are many. The noise is what the distance
between two samples of one distribution seldom exceeds by chance (about three standard errors); it matters in small
windows, where a fixed threshold would fire for nothing.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from dataclasses import dataclass as record
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from monitoring.distances import column_distances

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

REQUIRED = ("text", "output", "confidence")
MAX_CATEGORIES = 200  # more distinct values than these are free text, not categories

_WASSERSTEIN, _JENSENSHANNON, _TEXT_CONTENT = "wasserstein", "jensenshannon", "abs_text_content_drift"
_STANDARD_ERRORS = 3.0
_DESCRIPTORS = ("text_length", "word_count", "non_letter_share")

Distance = Annotated[float, Field(gt=0)]


class FrameError(ValueError):
    """A frame of production or reference rows lacks a column that drift is measured on."""


@dataclass(frozen=True, config={"extra": "forbid"})
class MonitorSpec:
    """How many production rows are compared with the reference, and which change is worth an alarm.

    Wasserstein distances are in standard deviations of the reference: 0.3 is, say, every text growing by that much. The
    mix is a Jensen-Shannon distance (natural logarithm, at most 0.83): 0.15 is one label of sixteen going from 6 % of
    the answers to about 21 %. The content threshold is the ROC AUC (0.5 to 1) of a classifier that tells the two frames
    apart by their words: 0.65 is about a third of the texts speaking of something new.
    """

    window: Annotated[int, Field(ge=1, le=1_000_000)] = 500  # the latest production rows
    min_rows: Annotated[int, Field(ge=30)] = 100  # with fewer, in either frame, nothing is measured
    min_drifted: Annotated[int, Field(ge=1, le=5)] = 2  # checks that must fire together
    descriptor_threshold: Distance = 0.3  # text length, word count, non-letter share, output length
    confidence_threshold: Distance = 0.3
    content_threshold: Annotated[float, Field(ge=0.5, lt=1)] = 0.65
    mix_threshold: Annotated[float, Field(gt=0, lt=0.83)] = 0.15  # predicted outputs, slices

    def __post_init__(self) -> None:
        """Raise `ValueError` (at the door: Pydantic's) for a window that can never hold enough rows."""
        if self.window < self.min_rows:
            raise ValueError(f"window is {self.window} rows, less than min_rows {self.min_rows}; make it at least that")


@record(frozen=True)
class DriftCheck:
    """One distance between reference and production, and the value from which on it counts as drift."""

    name: str  # the column or descriptor
    method: str  # as Evidently names it
    value: float
    threshold: float  # the spec's, or the noise of these row counts where that is higher
    drifted: bool


@record(frozen=True)
class DriftReport:
    """What the monitor found; without enough rows there are no checks and no HTML report."""

    reference_rows: int
    current_rows: int
    checks: tuple[DriftCheck, ...]
    drifted: bool
    reason: str  # one sentence
    report_uri: str  # path of the HTML report, empty if there is none


def measure_drift(
    reference: "pd.DataFrame", current: "pd.DataFrame", spec: MonitorSpec, html_path: Path
) -> DriftReport:
    """Return the drift of the latest `spec.window` rows of `current` against `reference`; write its HTML report.

    Both frames have `text`, `output` (a label, or generated text) and `confidence`; rows of `current` are in order of
    time. Every other column that both have is a slice; one of free text (hardly a value comes twice) is left out, as
    are confidences that fewer than `spec.min_rows` rows have.

    Raises:
        FrameError: a frame lacks one of the three columns.
    """
    _require_columns("reference", reference)
    _require_columns("production", current)
    current = current.tail(spec.window)
    rows = {"reference": len(reference), "production": len(current)}
    log.info("drift: comparing %(production)d production rows with %(reference)d reference rows", rows)
    if short := [name for name, count in rows.items() if count < spec.min_rows]:
        reason = f"not enough {short[0]} rows: have {rows[short[0]]}, need {spec.min_rows}"
        report = DriftReport(len(reference), len(current), (), drifted=False, reason=reason, report_uri="")
    else:
        checks = _measure(_tidy(reference, current), _tidy(current, reference), spec, html_path)
        drifted = sum(check.drifted for check in checks) >= spec.min_drifted
        reason = _reason(checks, spec.min_drifted)
        report = DriftReport(len(reference), len(current), checks, drifted, reason, str(html_path))
    log.info("drift: %s (drifted: %s)", report.reason, report.drifted)
    return report


def drift_alert(report: DriftReport) -> dict[str, Any]:
    """Return the payload of the event that a drift emits: plain JSON-able data without any text of a user."""
    return {
        "kind": "drift",
        "reason": report.reason,
        "checks": [asdict(check) for check in report.checks if check.drifted],
        "window": {"reference_rows": report.reference_rows, "current_rows": report.current_rows},
        "report_uri": report.report_uri,
    }


def mean_noise(reference_rows: int, current_rows: int) -> float:
    """Return three standard errors of the difference of two sample means, in standard deviations.

    The Wasserstein distance is at least that difference, and close to it where one distribution is shifted.
    """
    return _STANDARD_ERRORS * sqrt(1 / reference_rows + 1 / current_rows)


def mix_noise(reference_rows: int, current_rows: int, categories: int) -> float:
    """Return the Jensen-Shannon distance that two samples of one categorical distribution seldom exceed.

    8 D / (1/n + 1/m), with D the divergence in nats, is asymptotically chi-squared with `categories - 1` degrees of
    freedom (the expansion of the G test); its quantile at three standard errors is that of Wilson and Hilferty (1931).
    """
    freedom = max(1, categories - 1)
    quantile = freedom * (1 - 2 / (9 * freedom) + _STANDARD_ERRORS * sqrt(2 / (9 * freedom))) ** 3
    return sqrt(quantile * (1 / reference_rows + 1 / current_rows) / 8)


def content_noise(reference_rows: int, current_rows: int) -> float:
    """Return the ROC AUC that a classifier without knowledge seldom exceeds on the half of the rows held out.

    The standard error is that of the Mann-Whitney statistic (Hanley and McNeil 1982, under the null hypothesis).
    """
    n, m = reference_rows / 2, current_rows / 2
    return 0.5 + _STANDARD_ERRORS * sqrt((n + m + 1) / (12 * n * m))


def _require_columns(name: str, frame: "pd.DataFrame") -> None:
    if missing := [column for column in REQUIRED if column not in frame.columns]:
        raise FrameError(f"{name} rows: expected the columns {', '.join(REQUIRED)}; {', '.join(missing)} missing")


def _measure(
    reference: "pd.DataFrame", current: "pd.DataFrame", spec: MonitorSpec, html_path: Path
) -> tuple[DriftCheck, ...]:
    planned = list(_plan(reference, current, spec))
    values = column_distances(
        reference, current, {check.name: (check.method, check.threshold) for check in planned}, html_path
    )
    return tuple(
        replace(check, value=values[check.name], drifted=values[check.name] >= check.threshold)
        for check in planned
        if check.name in values
    )


def _plan(reference: "pd.DataFrame", current: "pd.DataFrame", spec: MonitorSpec) -> Iterator[DriftCheck]:
    """Yield the checks that these frames allow, not measured yet."""
    n, m = len(reference), len(current)
    yield _unmeasured("text", _TEXT_CONTENT, max(spec.content_threshold, content_noise(n, m)))
    lengths = [*_DESCRIPTORS]
    for column in reference.columns.drop(["text", "confidence"]):
        categories = len(set(reference[column]) | set(current[column]))
        if categories <= min(MAX_CATEGORIES, (n + m) // 2):
            yield _unmeasured(column, _JENSENSHANNON, max(spec.mix_threshold, mix_noise(n, m, categories)))
        elif column == "output":
            lengths.append("output_length")
    for name in lengths:
        yield _unmeasured(name, _WASSERSTEIN, max(spec.descriptor_threshold, mean_noise(n, m)))
    sure, sure_now = int(reference["confidence"].count()), int(current["confidence"].count())
    if min(sure, sure_now) >= spec.min_rows:
        yield _unmeasured("confidence", _WASSERSTEIN, max(spec.confidence_threshold, mean_noise(sure, sure_now)))
    else:
        log.warning("drift: confidence left out: %d reference and %d production rows have one", sure, sure_now)


def _unmeasured(name: str, method: str, threshold: float) -> DriftCheck:
    return DriftCheck(name, method, float("nan"), threshold, drifted=False)


def _tidy(frame: "pd.DataFrame", other: "pd.DataFrame") -> "pd.DataFrame":
    """Return the columns to compare, without missing values, infinities or characters that no file can hold."""
    import pandas as pd

    tidy = {column: [_printable(value) for value in frame[column]] for column in ("text", "output")}
    slices = [column for column in frame.columns if column in other.columns and column not in REQUIRED]
    tidy |= {f"slice_{column}": [_printable(value) for value in frame[column]] for column in slices}
    confidence = pd.to_numeric(frame["confidence"], errors="coerce").astype(float)
    finite = confidence.where(confidence.abs() != float("inf"))
    return pd.DataFrame({**tidy, "confidence": finite.to_numpy()})


def _printable(value: object) -> str:
    """Return the value as text, lone surrogates and NUL bytes replaced; a blank for what is missing or empty.

    Evidently's share of non-letters divides by the length of the text.
    """
    if value is None or value != value:  # NaN differs from itself
        return " "
    return str(value).encode("utf-8", "replace").decode("utf-8").replace("\0", " ") or " "


def _reason(checks: tuple[DriftCheck, ...], needed: int) -> str:
    fired = [f"{check.name} {check.value:.2f} (from {check.threshold:.2f} on)" for check in checks if check.drifted]
    found = f"{len(fired)} of {len(checks)} checks drifted, {needed} needed"
    return f"{found}: {', '.join(fired)}" if fired else found
