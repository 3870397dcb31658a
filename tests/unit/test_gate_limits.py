"""Limits on a served model: tests of its own figures, which fail closed."""

from dataclasses import replace

import pytest

from tasks.measure.gate.decide import decide, keep
from tasks.measure.gate.limits import LIMIT, find_limit_flaw, limit_tests, limits_kept, samples_needed, shares_over
from tasks.measurements import quick
from tasks.specs import BenchmarkSpec, GateSpec, Limits
from tests.unit.measured import measured, paired_scores, speed

SPEC = GateSpec(margin=0.01, guards={}, resamples=1000)
FIGURES = {"latency_p95_ms": 1.8, "latency_p99_ms": 2.3, "peak_memory_bytes": 90_000_000, "size_bytes": 23_000_000,
           "cold_start_s": 0.7}  # fmt: skip
LIMITS = {"latency_p95_ms": 1.8, "latency_p99_ms": 2.3, "memory_mb": 90, "size_mb": 23, "cold_start_s": 0.7}


def sides(**figures):
    """Return a candidate twice as fast with these figures, and a champion."""
    candidate, champion = (
        measured(scores, name, factor)
        for scores, name, factor in zip(paired_scores(2000, 1800, 20, 20), ("candidate", "champion"), (0.5, 1.0),
                                        strict=True)
    )  # fmt: skip
    timed = replace(candidate.card.speed, **{**FIGURES, **figures})
    return replace(candidate, card=replace(candidate.card, speed=timed)), champion


def verdict_of(models, claims=("cost",), **limits):
    return decide(*models, None, claims, replace(SPEC, limits=Limits(**limits)))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("claim", ["cost", "quality"])
def test_at_its_limit_a_model_passes_and_just_over_it_never(name, claim):
    assert verdict_of(sides(), **LIMITS).decision == "promote"
    verdict = verdict_of(sides(), (claim,), **{name: 0.99 * LIMITS[name]})
    assert verdict.decision == "reject"
    assert not keep(verdict, (claim,), SPEC)
    [test] = [test for test in verdict.tests if test.name.endswith(LIMIT)]
    assert (test.outcome, test.estimate, test.bound) == ("fail", pytest.approx(LIMITS[name]), 0.99 * LIMITS[name])


def test_a_lever_is_not_asked_for_what_the_best_so_far_lacks():
    timed = sides()[0].card.speed
    asked = Limits(memory_mb=80, size_mb=23)
    assert limits_kept(timed, asked) == Limits(size_mb=23)
    assert limits_kept(timed, Limits(**LIMITS)) == Limits(**LIMITS)
    assert limits_kept(None, asked) == asked  # what was not timed is refused


def test_the_reason_says_figure_and_limit():
    assert verdict_of(sides(), latency_p99_ms=2).reason == "Reject: latency p99 2.3 ms is over the limit of 2 ms."
    both = verdict_of(sides(), latency_p99_ms=2, memory_mb=60.5)
    assert both.reason == ("Reject: latency p99 2.3 ms is over the limit of 2 ms and memory 90 MB is over the limit of "
                           "60.5 MB.")  # fmt: skip


def test_a_broken_claim_and_a_limit_are_told_in_one_sentence():
    candidate, champion = sides()
    slower = replace(candidate.card.speed, block_seconds=tuple(4 * s for s in candidate.card.speed.block_seconds))
    verdict = verdict_of((replace(candidate, card=replace(candidate.card, speed=slower)), champion), ("quality",),
                         size_mb=20)  # fmt: skip
    assert verdict.reason.startswith("Reject: it does not hold that cost is no higher than the champion's (ratio 2.00")
    assert verdict.reason.endswith("and size 23 MB is over the limit of 20 MB.")


@pytest.mark.parametrize(
    ("figures", "limits", "named"),
    [
        ({"latency_p99_ms": None, "samples": 250}, {"latency_p99_ms": 2},
         "latency p99 needs 1000 samples, and it has 250; raise benchmark.samples, or take gate.limits.latency_p99_ms"),
        ({"latency_p95_ms": None, "samples": 50}, {"latency_p95_ms": 2},
         "latency p95 needs 200 samples, and it has 50"),
        ({"cold_start_s": None}, {"cold_start_s": 1}, "cold start is missing; benchmark it again"),
        ({"cold_start_s": float("nan")}, {"cold_start_s": 1}, "cold start is missing"),
        ({"peak_memory_bytes": 0}, {"memory_mb": 100}, "memory is missing"),
    ],
)  # fmt: skip
def test_a_missing_figure_keeps_no_limit(figures, limits, named):
    verdict = verdict_of(sides(**figures), **limits)
    assert (verdict.decision, verdict.tests) == ("reject", ())
    assert verdict.reason.startswith("Not judged, so not promoted: the candidate's ") and named in verdict.reason


def test_a_model_that_was_not_timed_keeps_none_even_where_it_claims_quality():
    models = [measured(scores) for scores in paired_scores(2000, 1700, 90, 20)]
    assert verdict_of(models, ("quality",)).decision == "promote"
    verdict = verdict_of(models, ("quality",), size_mb=100)
    assert "the candidate was not timed, and gate.limits.size_mb is set" in verdict.reason


def test_without_limits_there_are_no_tests_of_them():
    assert limit_tests(speed(), Limits()) == [] and find_limit_flaw(None, Limits()) is None
    assert not any(test.name.endswith(LIMIT) for test in verdict_of(sides()).tests)


def test_the_percentiles_say_how_many_samples_they_need():
    assert (samples_needed(Limits()), samples_needed(Limits(size_mb=1))) == (0, 0)
    assert (samples_needed(Limits(latency_p95_ms=1)), samples_needed(Limits(latency_p99_ms=1))) == (200, 1000)
    whole = BenchmarkSpec(samples=1200)
    assert [quick(whole, least).samples for least in (0, 200, 1000, 5000)] == [300, 300, 1000, 1200]


def test_how_far_figures_are_over_their_limits():
    timed = speed(**FIGURES)
    assert shares_over(timed, Limits(size_mb=23, memory_mb=100)) == 0
    assert shares_over(timed, Limits(size_mb=11.5, memory_mb=60)) == pytest.approx(1.0 + 0.5)
    assert shares_over(None, Limits(size_mb=1)) == float("inf")
