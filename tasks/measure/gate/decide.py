"""The gate: paired tests of a candidate against champion and baseline, and the verdict they give. Promotes nothing.

What is missing or does not compare is never promoted (`tasks.measure.gate.evidence`). `decide` takes the level of this
look as the spec's `alpha`; `tasks.measure.gate.budget` says what a look may spend. That all required tests must pass
needs no correction of their levels: each of them alone already keeps the error at alpha (intersection-union test, R. L.
Berger, Technometrics 24 (1982), 295-300).
"""

import math
from collections.abc import Sequence

from tasks.measure.gate.comparisons import (
    ALARM,
    COST_GAIN,
    QUALITY_GAIN,
    QUALITY_KEPT,
    RATIOS,
    claim_tests,
    cost_guards,
    guard_tests,
    non_inferior,
    slice_tests,
)
from tasks.measure.gate.evidence import Claim, Measured, find_flaw, find_noise
from tasks.measure.gate.limits import LIMIT, find_limit_flaw, limit_tests
from tasks.records import Test, Verdict
from tasks.specs import GateSpec


def decide(
    candidate: Measured, champion: Measured, baseline: Measured | None, claims: Sequence[Claim], spec: GateSpec
) -> Verdict:
    """Return the verdict on promoting the candidate over the champion.

    `promote` needs every required test to pass and one claim to be shown; one clear failure gives `reject`; what the
    rows cannot tell gives `inconclusive`, with the number of further rows that would tell where more rows can.
    """
    refused = refuse(candidate, champion, baseline, claims, spec)
    if refused is not None:
        return refused
    required = [non_inferior("champion", candidate, champion, spec)]
    if baseline is not None and baseline.card.candidate != champion.card.candidate:
        required.append(non_inferior("baseline", candidate, baseline, spec))
    required += slice_tests(candidate, champion, spec)
    required += guard_tests(candidate, champion, spec)
    required += cost_guards(candidate, champion, claims, spec)
    required += limit_tests(candidate.card.speed, spec.limits)
    claimed = claim_tests(candidate, champion, claims, spec)
    return _verdict(required, claimed, spec, candidate.card.quality.split)


def refuse(
    candidate: Measured, champion: Measured, baseline: Measured | None, claims: Sequence[Claim], spec: GateSpec
) -> Verdict | None:
    """Return the verdict where nothing can be judged, None where something can; it tells nothing about the rows."""
    flaw = find_flaw(candidate, champion, baseline, claims, spec)
    flaw = flaw or find_limit_flaw(candidate.card.speed, spec.limits)
    if flaw:
        return Verdict("reject", f"Not judged, so not promoted: {flaw}.", (), spec.alpha)
    noise = find_noise(candidate.card, champion.card, spec)
    if noise:
        return Verdict("inconclusive", f"Not judged, so not promoted: {noise}.", (), spec.alpha)
    return None


def keep(verdict: Verdict, claims: Sequence[Claim], spec: GateSpec) -> bool:
    """Return whether a lever is kept for the final candidate, judged on the `select` rows.

    Screening, not proof: `select` is too small to prove a small gain, and the gate on golden has the last word. So a
    lever is dropped when it is rejected, when quality fell by more than the margin, or when nothing it claims improved.
    """
    if verdict.decision == "reject" or not verdict.tests:
        return False
    estimates = {test.name: test.estimate for test in verdict.tests}
    if estimates[QUALITY_KEPT] < -spec.margin:
        return False
    gains = {
        "quality": estimates.get(QUALITY_GAIN, 0) > 0,
        "cost": estimates.get(COST_GAIN, 1) < 1,
    }
    return any(gains[claim] for claim in claims)


def _verdict(required: list[Test], claimed: list[Test], spec: GateSpec, split: str) -> Verdict:
    tests = (*required, *claimed)
    failed = [test for test in required if test.outcome == "fail"]
    shown = [test for test in claimed if test.outcome == "pass"]
    if failed or all(test.outcome == "fail" for test in claimed):
        return Verdict("reject", f"Reject: {_objection(failed or claimed)}.", tests, spec.alpha)
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


def _objection(failed: Sequence[Test]) -> str:
    """Return what speaks against the candidate: claims that do not hold, alarms, and limits that it is over."""
    alarms = [test for test in failed if test.name.endswith((ALARM, LIMIT))]
    claims = [test for test in failed if test not in alarms]
    said = [f"it does not hold that {_sentence(claims)}"] if claims else []
    return " and ".join([*said, *([_sentence(alarms)] if alarms else [])])


def _phrase(test: Test) -> str:
    if test.name.endswith(LIMIT):
        return test.detail
    if test.name in RATIOS:
        interval = f"ratio {test.estimate:.2f}, {test.low:.2f} to {test.high:.2f}"
        return f"{test.name} ({interval}; must stay below {test.bound:.2f})"
    points = [f"{100 * value:+.1f}" for value in (test.estimate, test.low, test.high, test.bound)]
    if test.name.endswith(ALARM):
        name = test.name.replace("is not shown", "is shown")
        return f"{name} ({points[0]} points, {points[1]} to {points[2]}; may fall to {points[3]})"
    shown = "" if test.smallest_shown is None else f", for which these rows need {100 * test.smallest_shown:+.1f}"
    return f"{test.name} ({points[0]} points, {points[1]} to {points[2]}; must exceed {points[3]}{shown})"
