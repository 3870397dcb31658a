"""The gate: paired tests of a candidate against champion and baseline, and the verdict they give. Promotes nothing.

It fails closed: what is missing, not a number, or was measured on other rows or another machine is never promoted.
`decide` takes the level of this look as the spec's `alpha`; `tasks.measure.budget` says what a look may spend.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tasks.measure.statistics import (
    Difference,
    check_scores,
    holm,
    paired_difference,
    paired_ratio,
    rows_needed,
    smallest_shown,
)
from tasks.records import Scorecard, Test, Verdict
from tasks.specs import GateSpec

Claim = Literal["quality", "cost"]
Outcome = Literal["pass", "fail", "unsure"]

QUALITY_GAIN = "quality is better than the champion's"
QUALITY_KEPT = "quality is no worse than the champion's"
COST_GAIN = "cost is lower than the champion's"
COST_KEPT = "cost is no higher than the champion's"


@dataclass(frozen=True)
class Measured:
    """A scorecard with the row scores it stands on."""

    card: Scorecard
    scores: np.ndarray  # [rows], in [0, 1]
    slices: dict[str, np.ndarray]  # name -> [rows] bool


def decide(
    candidate: Measured, champion: Measured, baseline: Measured | None, claims: Sequence[Claim], spec: GateSpec
) -> Verdict:
    """Return the verdict on promoting the candidate over the champion.

    `promote` needs every required test to pass and one claim to be shown; one clear failure gives `reject`; what the
    rows cannot tell gives `inconclusive`, with the number of further rows that would tell where more rows can.
    """
    flaw = _flaw(candidate, champion, baseline, claims)
    if flaw:
        return Verdict("reject", f"Not judged, so not promoted: {flaw}.", (), spec.alpha)
    required = [_non_inferior("champion", candidate, champion, spec)]
    if baseline is not None and baseline.card.candidate != champion.card.candidate:
        required.append(_non_inferior("baseline", candidate, baseline, spec))
    required += _slice_tests(candidate, champion, spec)
    if "quality" in claims and candidate.card.speed and champion.card.speed:
        required.append(_cost_guard(candidate, champion, spec))
    claimed = _claim_tests(candidate, champion, claims, spec)
    return _verdict(required, claimed, spec, candidate.card.quality.split)


def keep(verdict: Verdict, claims: Sequence[Claim], spec: GateSpec) -> bool:
    """Return whether a lever is kept for the final candidate, judged on the `select` rows.

    Screening, not proof: `select` is too small to prove a small gain, and the gate on golden has the last word. So a
    lever is dropped when it is rejected, when quality fell by more than the margin, or when nothing it claims improved.
    """
    if verdict.decision == "reject":
        return False
    estimates = {test.name: test.estimate for test in verdict.tests}
    if estimates[QUALITY_KEPT] < -spec.margin:
        return False
    gains = {
        "quality": estimates.get(QUALITY_GAIN, 0) > 0,
        "cost": estimates.get(COST_GAIN, 1) < 1,
    }
    return any(gains[claim] for claim in claims)


def _flaw(candidate: Measured, champion: Measured, baseline: Measured | None, claims: Sequence[Claim]) -> str | None:
    """Return what makes the comparison impossible, or None."""
    if not claims:
        return "the candidate claims no improvement"
    for name, other in [("candidate", candidate), ("champion", champion), ("baseline", baseline)]:
        if other is None:
            continue
        try:
            check_scores(other.scores)
        except ValueError as error:
            return f"the {name}'s quality cannot be used ({error})"
        if other.card.quality.rows_digest != candidate.card.quality.rows_digest or len(other.scores) != len(
            candidate.scores
        ):
            return f"{name} and candidate were scored on different rows"
        if other.card.quality.metric != candidate.card.quality.metric:
            return f"{name} and candidate were scored by different metrics"
        if any(len(mask) != len(other.scores) for mask in other.slices.values()):
            return f"the {name}'s slices are of other rows than its scores"
    empty = [name for model in (candidate, champion) for name, mask in model.slices.items() if not mask.any()]
    if empty or set(candidate.slices) != set(champion.slices):
        return f"slice {empty[0]!r} is empty" if empty else "candidate and champion have different slices"
    if "cost" in claims or candidate.card.speed or champion.card.speed:
        return _speed_flaw(candidate.card, champion.card)
    return None  # a claim of quality, screened without a clock


def _speed_flaw(candidate: Scorecard, champion: Scorecard) -> str | None:
    if candidate.speed is None or champion.speed is None:
        return "the speed of candidate or champion is missing"
    if candidate.speed.machine != champion.speed.machine or candidate.speed.session != champion.speed.session:
        return "candidate and champion were not timed together on one machine"
    try:
        paired_ratio(candidate.speed.block_seconds, champion.speed.block_seconds, 0.05)
    except ValueError as error:
        return f"the timings cannot be used ({error})"
    return None


def _non_inferior(name: str, candidate: Measured, reference: Measured, spec: GateSpec) -> Test:
    estimate = paired_difference(candidate.scores, reference.scores, spec.alpha)
    return _difference_test(f"quality is no worse than the {name}'s", estimate, -spec.margin, spec.alpha)


def _difference_test(name: str, estimate: Difference, bound: float, alpha: float) -> Test:
    outcome: Outcome = "pass" if estimate.low > bound else "fail" if estimate.high <= bound else "unsure"
    test = Test(name, estimate.value, estimate.low, estimate.high, bound, outcome, estimate.rows)
    return _with_advice(test, estimate, bound, alpha) if outcome == "unsure" else test


def _with_advice(test: Test, estimate: Difference, bound: float, alpha: float) -> Test:
    """Return the undecided test with what would decide it: more rows, or a larger effect on these."""
    needed, shown = rows_needed(estimate, bound, alpha), smallest_shown(estimate, bound, alpha)
    return replace(test, outcome="unsure", rows_needed=needed, smallest_shown=shown)


def _slice_tests(candidate: Measured, champion: Measured, spec: GateSpec) -> list[Test]:
    """Return one non-inferiority test per slice that is large enough and not the whole set, judged by Holm."""
    masks = {
        name: mask
        for name, mask in candidate.slices.items()
        if spec.slice_min_rows <= mask.sum() < len(candidate.scores)
    }
    estimates = {
        name: paired_difference(candidate.scores[mask], champion.scores[mask], spec.alpha)
        for name, mask in masks.items()
    }
    shown = holm([estimate.p_above(-spec.slice_margin) for estimate in estimates.values()], spec.alpha)
    tests = []
    for (name, estimate), passed in zip(estimates.items(), shown, strict=True):
        test = _difference_test(
            f"slice {name} is no worse than the champion's", estimate, -spec.slice_margin, spec.alpha
        )
        if passed or test.outcome == "fail":
            tests.append(replace(test, outcome="pass" if passed else "fail"))
        else:
            tests.append(_with_advice(test, estimate, -spec.slice_margin, spec.alpha / len(masks)))
    return tests


def _cost_guard(candidate: Measured, champion: Measured, spec: GateSpec) -> Test:
    return _ratio_test(COST_KEPT, candidate, champion, 1 + spec.cost_margin, spec.alpha)


def _ratio_test(name: str, candidate: Measured, champion: Measured, bound: float, alpha: float) -> Test:
    assert candidate.card.speed and champion.card.speed
    estimate = paired_ratio(candidate.card.speed.block_seconds, champion.card.speed.block_seconds, alpha)
    outcome: Outcome = "pass" if estimate.high < bound else "fail" if estimate.low >= bound else "unsure"
    return Test(name, estimate.value, estimate.low, estimate.high, bound, outcome, estimate.rows,
                detail="seconds per text at batch 1, candidate / champion")  # fmt: skip


def _claim_tests(candidate: Measured, champion: Measured, claims: Sequence[Claim], spec: GateSpec) -> list[Test]:
    """Return the superiority tests; with several claims each is judged at alpha shared among them (Bonferroni)."""
    alpha = spec.alpha / len(claims)
    tests = []
    if "quality" in claims:
        estimate = paired_difference(candidate.scores, champion.scores, alpha)
        tests.append(_difference_test(QUALITY_GAIN, estimate, 0.0, alpha))
    if "cost" in claims:
        tests.append(_ratio_test(COST_GAIN, candidate, champion, 1 - spec.min_gain, alpha))
    return tests


def _verdict(required: list[Test], claimed: list[Test], spec: GateSpec, split: str) -> Verdict:
    tests = (*required, *claimed)
    failed = [test for test in required if test.outcome == "fail"]
    shown = [test for test in claimed if test.outcome == "pass"]
    if failed or all(test.outcome == "fail" for test in claimed):
        return Verdict("reject", f"Reject: it does not hold that {_sentence(failed or claimed)}.", tests, spec.alpha)
    unsure = [test for test in required if test.outcome == "unsure"]
    if not shown:
        unsure += [test for test in claimed if test.outcome == "unsure"]
    if unsure:
        advice = _advise(unsure, required[0].rows, split)
        return Verdict("inconclusive", f"Inconclusive: the rows cannot tell whether {_sentence(unsure)}{advice}.",
                       tests, spec.alpha)  # fmt: skip
    return Verdict("promote", f"Promote: {_sentence([*shown, required[0]])}.", tests, spec.alpha)


def _advise(unsure: Sequence[Test], rows: int, split: str) -> str:
    """Return how many more rows of the whole set would decide, or nothing where one test is beyond the help of rows.

    A slice needs rows of its own, of which the set gets one in as many as it has now.
    """
    more = [math.ceil(test.rows_needed * rows / test.rows) for test in unsure if test.rows_needed]
    return f"; about {max(more)} more {split} rows would decide" if more and len(more) == len(unsure) else ""


def _sentence(tests: Sequence[Test]) -> str:
    return " and ".join(_phrase(test) for test in tests[:3])


def _phrase(test: Test) -> str:
    if test.name.startswith("cost"):
        interval = f"time ratio {test.estimate:.2f}, {test.low:.2f} to {test.high:.2f}"
        return f"{test.name} ({interval}; must stay below {test.bound:.2f})"
    points = [f"{100 * value:+.1f}" for value in (test.estimate, test.low, test.high, test.bound)]
    shown = "" if test.smallest_shown is None else f", for which these rows need {100 * test.smallest_shown:+.1f}"
    return f"{test.name} ({points[0]} points, {points[1]} to {points[2]}; must exceed {points[3]}{shown})"
