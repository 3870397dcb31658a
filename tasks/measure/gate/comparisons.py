"""The tests that the gate makes of a candidate against a reference, each on paired rows or paired timings.

Every one is a `Test`: an estimate, its one-sided bounds, the bound it must clear, and whether it did. Says nothing of
what follows from them.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from tasks.measure.gate.evidence import Claim, Measured
from tasks.measure.quality.metrics import compare_metric
from tasks.measure.speed.ratios import block_ratio
from tasks.measure.statistics import (
    Difference,
    holm,
    mcnemar,
    mcnemar_mid_p,
    paired_difference,
    rows_needed,
    smallest_shown,
)
from tasks.records import Interval, Test
from tasks.specs import GateSpec

Outcome = Literal["pass", "fail", "unsure"]

QUALITY_GAIN = "quality is better than the champion's"
QUALITY_KEPT = "quality is no worse than the champion's"
COST_GAIN = "cost is lower than the champion's"
COST_KEPT = "cost is no higher than the champion's"
SIZE_KEPT = "size is no larger than the champion's"
MEMORY_KEPT = "memory is no larger than the champion's"
ALARM = "is not shown worse than the champion's"
RATIOS = (COST_GAIN, COST_KEPT, SIZE_KEPT, MEMORY_KEPT)  # their estimates are candidate / champion, not differences

ROUNDING = 1e-9  # by which a ratio must clear its bound: steady timings give an interval of no width
HARM_LEVEL = 0.05  # of the alarms over slices: they promote nothing, so they spend nothing of the budget


def non_inferior(name: str, candidate: Measured, reference: Measured, spec: GateSpec) -> Test:
    """Return the test that the mean of the row scores is no worse than the reference's by the margin."""
    estimate = paired_difference(candidate.scores, reference.scores, spec.alpha)
    return _difference_test(f"quality is no worse than the {name}'s", estimate, -spec.margin, spec.alpha)


def claim_tests(candidate: Measured, champion: Measured, claims: Sequence[Claim], spec: GateSpec) -> list[Test]:
    """Return the superiority tests; with several claims each is judged at alpha shared among them (Bonferroni)."""
    alpha = spec.alpha / len(claims)
    tests = []
    if "quality" in claims:
        tests.append(_quality_gain(candidate, champion, alpha))
    if "cost" in claims:
        tests.append(_ratio_test(COST_GAIN, candidate, champion, 1 - spec.min_gain, alpha, spec.resamples))
    return tests


def _quality_gain(candidate: Measured, champion: Measured, alpha: float) -> Test:
    """Return the test that quality is better: where rows are right or wrong, McNemar's exact test must agree."""
    estimate = paired_difference(candidate.scores, champion.scores, alpha)
    test = _difference_test(QUALITY_GAIN, estimate, 0.0, alpha)
    if not np.isin([candidate.scores, champion.scores], (0.0, 1.0)).all():
        return test
    won, lost = round(estimate.won), round(estimate.lost)
    exact = mcnemar(won, lost)
    detail = f"{won} rows won, {lost} lost; McNemar's p {exact:.2g} (exact), {mcnemar_mid_p(won, lost):.2g} (mid-p)"
    if test.outcome == "pass" and exact > alpha:
        test = _with_advice(test, estimate, 0.0, alpha)
    return replace(test, detail=detail)


def guard_tests(candidate: Measured, champion: Measured, spec: GateSpec) -> list[Test]:
    """Return one non-inferiority test per guard metric, by the paired bootstrap; higher estimates are better."""
    tests = []
    for name, margin in spec.guards.items():
        assert candidate.answers and champion.answers
        found = compare_metric(name, candidate.answers, champion.answers, spec.alpha, resamples=spec.resamples)
        outcome: Outcome = "pass" if found.low > -margin else "fail" if found.high <= -margin else "unsure"
        rows = len(candidate.scores)
        needed = _rows_for(found, -margin, rows) if outcome == "unsure" and found.value > -margin else None
        tests.append(Test(f"{name} is no worse than the champion's", found.value, found.low, found.high, -margin,
                          outcome, rows, needed, detail="paired bootstrap, BCa"))  # fmt: skip
    return tests


def _rows_for(found: Interval, bound: float, rows: int) -> int:
    """Return how many further rows would lift the lower bound above the bound: the interval shrinks by their root."""
    return max(1, math.ceil(rows * ((found.value - found.low) / (found.value - bound)) ** 2) - rows)


def slice_tests(candidate: Measured, champion: Measured, spec: GateSpec) -> list[Test]:
    """Return the tests of the slices that are large enough: proofs for the families in `spec.prove`, else alarms."""
    pairs = _slice_pairs(candidate, champion, spec)
    proofs = {name: scores for name, (family, scores) in pairs.items() if family in spec.prove}
    alarms = {name: scores for name, (family, scores) in pairs.items() if family not in spec.prove}
    return [*_proofs(proofs, spec), *_alarms(alarms, spec)]


def _slice_pairs(
    candidate: Measured, champion: Measured, spec: GateSpec
) -> dict[str, tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Return family and row scores of both models for every slice with enough rows."""
    pairs: dict[str, tuple[str, tuple[np.ndarray, np.ndarray]]] = {
        name: (candidate.families.get(name, "column"), (candidate.scores[mask], champion.scores[mask]))
        for name, mask in candidate.slices.items()
    }
    for kind, scores in candidate.robust.items():
        pairs[f"robust={kind}"] = ("robust", (scores, champion.robust[kind]))
    return {name: pair for name, pair in pairs.items() if len(pair[1][0]) >= spec.slice_min_rows}


def _proofs(pairs: dict[str, tuple[np.ndarray, np.ndarray]], spec: GateSpec) -> list[Test]:
    """Return one non-inferiority test per slice, judged by Holm."""
    bound = -spec.slice_margin
    estimates = {name: paired_difference(*scores, spec.alpha) for name, scores in pairs.items()}
    shown = holm([estimate.p_above(bound) for estimate in estimates.values()], spec.alpha)
    tests = []
    for (name, estimate), passed in zip(estimates.items(), shown, strict=True):
        test = _difference_test(f"slice {name} is no worse than the champion's", estimate, bound, spec.alpha)
        if passed or test.outcome == "fail":
            tests.append(replace(test, outcome="pass" if passed else "fail"))
        else:
            tests.append(_with_advice(test, estimate, bound, spec.alpha / len(pairs)))
    return tests


def _alarms(pairs: dict[str, tuple[np.ndarray, np.ndarray]], spec: GateSpec) -> list[Test]:
    """Return one test per slice that fails where it is shown to be worse at all (Holm) and looks worse by the margin.

    Not where it is shown to be worse by the margin: among many small slices that would hardly ever be shown.
    """
    bound = -spec.slice_margin
    estimates = {name: paired_difference(*scores, HARM_LEVEL) for name, scores in pairs.items()}
    harmed = holm([1 - estimate.p_above(0.0) for estimate in estimates.values()], HARM_LEVEL)
    return [
        Test(f"slice {name} {ALARM}", estimate.value, estimate.low, estimate.high, bound,
             "fail" if worse and estimate.value < bound else "pass", estimate.rows)
        for (name, estimate), worse in zip(estimates.items(), harmed, strict=True)
    ]  # fmt: skip


def cost_guards(candidate: Measured, champion: Measured, claims: Sequence[Claim], spec: GateSpec) -> list[Test]:
    """Return the tests that what is not claimed costs no more than the margin: time, size and peak memory."""
    mine, its = candidate.card.speed, champion.card.speed
    if mine is None or its is None:
        return []
    bound = 1 + spec.cost_margin
    tests = []
    if "quality" in claims:
        tests.append(_ratio_test(COST_KEPT, candidate, champion, bound, spec.alpha, spec.resamples))
    for name, value in [
        (SIZE_KEPT, mine.size_bytes / its.size_bytes),
        (MEMORY_KEPT, mine.peak_memory_bytes / its.peak_memory_bytes),
    ]:
        tests.append(Test(name, value, value, value, bound, "pass" if value < bound else "fail", 1))
    return tests


def _ratio_test(name: str, candidate: Measured, champion: Measured, bound: float, alpha: float, draws: int) -> Test:
    assert candidate.card.speed and champion.card.speed
    estimate = block_ratio(candidate.card.speed.block_seconds, champion.card.speed.block_seconds, alpha, draws)
    below = bound - ROUNDING
    outcome: Outcome = "pass" if estimate.high < below else "fail" if estimate.low >= below else "unsure"
    return Test(name, estimate.value, estimate.low, estimate.high, bound, outcome, estimate.blocks,
                detail="seconds per text at batch 1, candidate / champion")  # fmt: skip


def _difference_test(name: str, estimate: Difference, bound: float, alpha: float) -> Test:
    outcome: Outcome = "pass" if estimate.low > bound else "fail" if estimate.high <= bound else "unsure"
    test = Test(name, estimate.value, estimate.low, estimate.high, bound, outcome, estimate.rows)
    return _with_advice(test, estimate, bound, alpha) if outcome == "unsure" else test


def _with_advice(test: Test, estimate: Difference, bound: float, alpha: float) -> Test:
    """Return the undecided test with what would decide it: more rows, or a larger effect on these."""
    needed, shown = rows_needed(estimate, bound, alpha), smallest_shown(estimate, bound, alpha)
    return replace(test, outcome="unsure", rows_needed=needed, smallest_shown=shown)
