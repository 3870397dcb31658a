"""The gate says yes, no and "cannot tell" for cause, and fails closed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measure.gate.comparisons import (
    COST_GAIN,
    COST_KEPT,
    MEMORY_KEPT,
    QUALITY_GAIN,
    QUALITY_KEPT,
    SIZE_KEPT,
)
from tasks.measure.gate.decide import decide, keep
from tasks.measure.statistics import paired_difference
from tasks.specs import GateSpec
from tests.unit.measured import MACHINE, STEADY, measured, paired_scores, speed

SPEC = GateSpec(margin=0.01, slice_margin=0.05, slice_min_rows=50, alpha=0.05, min_gain=0.1, cost_margin=0.25,
                guards={}, resamples=1000, max_noise=10)  # fmt: skip
JITTER = [1.6, 0.6] * 6  # of single blocks: too much to tell 0.88 from 0.9


def judge(gained, lost, claims, *, rows=2000, factor=None, spec=SPEC, slices=None):
    candidate, champion = paired_scores(rows, int(0.8 * rows), gained, lost)
    return decide(
        measured(candidate, "candidate", factor, slices),
        measured(champion, "champion", None if factor is None else 1.0, slices),
        None,
        claims,
        spec,
    )


def outcomes(verdict):
    return {test.name: test.outcome for test in verdict.tests}


@pytest.mark.parametrize(
    ("gained", "lost", "claims", "factor", "decision", "named"),
    [
        (120, 20, ["quality"], None, "promote", QUALITY_GAIN),
        (20, 120, ["quality"], None, "reject", QUALITY_KEPT),
        (18, 14, ["quality"], None, "inconclusive", QUALITY_GAIN),
        (10, 10, ["cost"], 0.5, "promote", COST_GAIN),
        (10, 10, ["cost"], 1.0, "reject", COST_GAIN),
        (10, 10, ["cost"], 1.5, "reject", COST_GAIN),
        (20, 120, ["cost"], 0.1, "reject", QUALITY_KEPT),  # cheaper, but it lost quality
        (60, 70, ["cost"], 0.1, "inconclusive", QUALITY_KEPT),
        (120, 20, ["quality"], 1.1, "promote", QUALITY_GAIN),  # a little slower
        (120, 20, ["quality"], 2.0, "reject", COST_KEPT),  # better, but it costs too much
        (120, 20, ["quality", "cost"], 0.5, "promote", QUALITY_GAIN),
        (10, 10, ["quality", "cost"], 0.5, "promote", COST_GAIN),
        (120, 20, ["quality", "cost"], 1.1, "promote", QUALITY_GAIN),
        (120, 20, ["quality", "cost"], 3.0, "reject", COST_KEPT),  # one claim does not excuse the other's guardrail
    ],
)
def test_the_decision_and_its_reason(gained, lost, claims, factor, decision, named):
    verdict = judge(gained, lost, claims, factor=factor)
    assert (verdict.decision, named in verdict.reason) == (decision, True), verdict.reason
    assert verdict.reason.startswith(decision.capitalize())
    assert verdict.reason.endswith(".")
    assert ". " not in verdict.reason  # one sentence
    assert verdict.alpha == SPEC.alpha


def test_timings_too_noisy_to_tell_are_inconclusive():
    candidate, champion = paired_scores(2000, 1600, 10, 10)
    noisy = [0.88 * seconds * jitter for seconds, jitter in zip(STEADY, JITTER, strict=True)]
    fast = measured(candidate, "candidate", 1.0)
    fast = replace(fast, card=replace(fast.card, speed=speed(noisy)))
    verdict = decide(fast, measured(champion, "champion", 1.0), None, ["cost"], SPEC)
    assert (verdict.decision, outcomes(verdict)[COST_GAIN]) == ("inconclusive", "unsure")


def test_inconclusive_says_how_many_more_rows_would_decide():
    verdict = judge(18, 14, ["quality"])
    [test] = [test for test in verdict.tests if test.name == QUALITY_GAIN]
    assert test.rows_needed > 1000
    assert verdict.reason.endswith(f"; about {test.rows_needed} more golden rows would decide.")


@pytest.mark.parametrize("split", ["select", "golden"])
def test_a_slices_figure_is_told_in_rows_of_the_whole_set(split):
    """The slice is a twentieth of the rows, so the set must grow by twenty rows for one of the slice's."""
    candidate, champion = np.ones(2000), np.ones(2000)
    candidate[:4], champion[4:7], champion[1000:1100] = 0, 0, 0
    slices = masks(2000, range(100))
    sides = (measured(scores, slices=slices, split=split) for scores in (candidate, champion))
    verdict = decide(*sides, None, ["quality"], SPEC)
    [test] = [test for test in verdict.tests if test.outcome == "unsure"]
    assert (verdict.decision, test.rows, test.rows_needed > 0) == ("inconclusive", 100, True)
    assert verdict.reason.endswith(f"; about {20 * test.rows_needed} more {split} rows would decide.")


def test_no_rows_are_asked_for_where_the_estimate_is_on_the_wrong_side():
    """A slice, or the whole, that looks worse than its bound is not mended by more rows of the same kind."""
    whole = judge(60, 82, ["cost"], factor=0.1)
    candidate, champion = np.ones(2000), np.ones(2000)
    candidate[:10], champion[10:13], champion[1000:1100] = 0, 0, 0
    slices = masks(2000, range(100))
    part = decide(measured(candidate, slices=slices), measured(champion, slices=slices), None, ["quality"], SPEC)
    for verdict in (whole, part):
        [test] = [test for test in verdict.tests if test.outcome == "unsure"]
        assert (verdict.decision, test.estimate < test.bound, test.rows_needed) == ("inconclusive", True, None)
        assert "would decide" not in verdict.reason


def test_no_rows_are_asked_for_where_only_timings_are_unsure():
    candidate, champion = paired_scores(2000, 1600, 18, 14)
    fast = measured(candidate, "candidate", 1.0)
    noisy = [0.88 * seconds * jitter for seconds, jitter in zip(STEADY, JITTER, strict=True)]
    fast = replace(fast, card=replace(fast.card, speed=speed(noisy)))
    verdict = decide(fast, measured(champion, "champion", 1.0), None, ["quality", "cost"], SPEC)
    assert (verdict.decision, "would decide" in verdict.reason) == ("inconclusive", False)


def test_few_rows_prove_nothing():
    assert judge(2, 0, ["quality"], rows=30).decision == "inconclusive"


def test_a_margin_lost_again_and_again_ends_at_the_baseline():
    """The candidate is as good as the champion, but the champion itself had lost more than the margin."""
    candidate, champion = paired_scores(2000, 1500, 5, 5)
    baseline = candidate.copy()
    baseline[-100:] = 1
    arguments = measured(candidate, "candidate", 0.5), measured(champion, "champion", 1.0)
    assert decide(*arguments, None, ["cost"], SPEC).decision == "promote"
    verdict = decide(*arguments, measured(baseline, "baseline", 2.0), ["cost"], SPEC)
    assert (verdict.decision, "no worse than the baseline's" in verdict.reason) == ("reject", True)


def test_a_champion_that_is_the_baseline_is_tested_once():
    candidate, champion = paired_scores(2000, 1500, 5, 5)
    reigning = measured(champion, "champion", 1.0)
    verdict = decide(measured(candidate, "candidate", 0.5), reigning, reigning, ["cost"], SPEC)
    assert [test.name for test in verdict.tests] == [QUALITY_KEPT, SIZE_KEPT, MEMORY_KEPT, COST_GAIN]


def masks(rows, *ranges):
    return {f"s={number}": np.isin(np.arange(rows), list(chosen)) for number, chosen in enumerate(ranges)}


def test_a_slice_that_fell_stops_a_better_candidate():
    """2000 rows, better by 120 and worse by 20, and the 20 are all in one slice of 100."""
    slices = masks(2000, range(1720, 1820), range(1000))
    verdict = judge(120, 20, ["quality"], slices=slices)
    assert (verdict.decision, "slice s=0" in verdict.reason) == ("reject", True)
    assert outcomes(verdict)["slice s=1 is no worse than the champion's"] == "pass"


def test_a_small_slice_is_reported_not_judged():
    verdict = judge(120, 20, ["quality"], slices=masks(2000, range(1720, 1740)))
    assert verdict.decision == "promote"
    assert [test.name for test in verdict.tests] == [QUALITY_KEPT, QUALITY_GAIN]


def test_slices_share_alpha_by_holm():
    """Each of two slices would pass alone at 5 %; together both need 2.5 %, and neither has it."""
    rows, half = 2000, 100
    candidate, champion = np.ones(rows), np.ones(rows)
    for start in (0, half):
        candidate[start : start + 5] = 0
        champion[start + 5 : start + 9] = 0
    champion[1000:1100] = 0  # so that the whole is better
    slices = masks(rows, range(half), range(half, 2 * half))
    p_value = paired_difference(candidate[:half], champion[:half], 0.05).p_above(-0.05)
    spec = replace(SPEC, alpha=p_value * 1.5)  # between p and 2 p
    both = decide(measured(candidate, slices=slices), measured(champion, slices=slices), None, ["quality"], spec)
    one = {"s=0": slices["s=0"]}
    alone = decide(measured(candidate, slices=one), measured(champion, slices=one), None, ["quality"], spec)
    assert alone.decision == "promote"
    assert both.decision == "inconclusive"
    unsure = [test for test in both.tests if test.outcome == "unsure"]
    assert [test.name.split()[1] for test in unsure] == ["s=0", "s=1"]
    assert all(test.rows_needed >= 1 for test in unsure)


def candidate_and_champion():
    candidate, champion = paired_scores(2000, 1600, 120, 20)
    slices = masks(2000, range(500))
    return measured(candidate, "candidate", 0.5, slices), measured(champion, "champion", 1.0, slices)


def with_speed(model, **changes):
    return replace(model, card=replace(model.card, speed=replace(model.card.speed, **changes)))


def with_quality(model, **changes):
    return replace(model, card=replace(model.card, quality=replace(model.card.quality, **changes)))


def with_score(model, value):
    scores = model.scores.copy()
    scores[7] = value
    return replace(model, scores=scores)


def cut(model):
    return {name: mask[:-1] for name, mask in model.slices.items()}


FLAWS = {
    "nan": (lambda m: with_score(m, math.nan), "must be a number in"),
    "infinite": (lambda m: with_score(m, math.inf), "must be a number in"),
    "above one": (lambda m: with_score(m, 1.5), "must be a number in"),
    "no scores": (lambda m: replace(m, scores=np.zeros(0)), "no scores"),
    "other rows": (lambda m: with_quality(m, rows_digest="rows-2"), "different rows"),
    "fewer rows": (lambda m: replace(m, scores=m.scores[:-1], slices=cut(m)), "different rows"),
    "other metric": (lambda m: with_quality(m, metric="f1"), "different metrics"),
    "empty slice": (lambda m: replace(m, slices={"s=0": np.zeros(2000, bool)}), "slice 's=0' is empty"),
    "other slices": (lambda m: replace(m, slices={"t=0": m.slices["s=0"]}), "different slices"),
    "slices of other rows": (lambda m: replace(m, slices={"s=0": np.ones(3, bool)}), "slices are of other rows"),
    "no speed": (lambda m: replace(m, card=replace(m.card, speed=None)), "speed of candidate or champion is missing"),
    "other machine": (lambda m: with_speed(m, machine=replace(MACHINE, cpu="Xeon")), "not timed together"),
    "other threads": (lambda m: with_speed(m, machine=replace(MACHINE, threads=1)), "not timed together"),
    "other session": (lambda m: with_speed(m, session="session-2"), "not timed together"),
    "zero seconds": (lambda m: with_speed(m, block_seconds=(0.0, *STEADY[1:])), "timings must be positive"),
    "negative seconds": (lambda m: with_speed(m, block_seconds=(-1.0, *STEADY[1:])), "timings must be positive"),
    "nan seconds": (lambda m: with_speed(m, block_seconds=(math.nan, *STEADY[1:])), "timings must be positive"),
    "infinite seconds": (lambda m: with_speed(m, block_seconds=(math.inf, *STEADY[1:])), "timings must be positive"),
    "other blocks": (lambda m: with_speed(m, block_seconds=STEADY[1:]), "three pairs of blocks, not"),
    "no blocks": (lambda m: with_speed(m, block_seconds=()), "three pairs of blocks, not"),
}


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("which", [0, 1], ids=["candidate", "champion"])
@pytest.mark.parametrize("claims", [["cost"], ["quality"], ["quality", "cost"]], ids=lambda claims: "+".join(claims))
def test_what_cannot_be_compared_is_never_promoted(flaw, which, claims):
    models = list(candidate_and_champion())
    assert decide(*models, None, claims, SPEC).decision == "promote"  # so that the flaw is what stops it
    change, named = FLAWS[flaw]
    models[which] = change(models[which])
    verdict = decide(*models, None, claims, SPEC)
    assert (verdict.decision, verdict.tests, named in verdict.reason) == ("reject", (), True), verdict.reason
    assert verdict.reason.startswith("Not judged, so not promoted: ")


@pytest.mark.parametrize("flaw", ["nan", "no scores", "other rows", "fewer rows", "other metric"])
def test_a_flawed_baseline_stops_it_too(flaw):
    candidate, champion = candidate_and_champion()
    baseline = FLAWS[flaw][0](measured(champion.scores, "baseline", 1.0))
    verdict = decide(candidate, champion, baseline, ["quality"], SPEC)
    assert (verdict.decision, "baseline" in verdict.reason) == ("reject", True)


def test_without_a_claim_nothing_is_promoted():
    verdict = decide(*candidate_and_champion(), None, [], SPEC)
    assert (verdict.decision, verdict.reason) == (
        "reject",
        "Not judged, so not promoted: the candidate claims no improvement.",
    )


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 100), st.integers(0, 100), st.floats(0.1, 3),
    st.sampled_from([["quality"], ["cost"], ["quality", "cost"]]), st.integers(0, 200),
)  # fmt: skip
def test_a_promotion_never_has_an_estimate_beyond_a_bound(gained, lost, factor, claims, ahead):
    """Whatever is promoted looks better in what it claims, and worse than neither reference by the margin."""
    candidate, champion = paired_scores(1000, 600, gained, lost)
    baseline = champion.copy()
    baseline[1000 - ahead :] = 1
    verdict = decide(
        measured(candidate, "candidate", factor), measured(champion, "champion", 1.0),
        measured(baseline, "baseline", 1.0), claims, SPEC,
    )  # fmt: skip
    if verdict.decision == "promote":
        assert candidate.mean() - champion.mean() > -SPEC.margin
        assert candidate.mean() - baseline.mean() > -SPEC.margin
        better, cheaper = candidate.mean() > champion.mean(), factor < 1 - SPEC.min_gain
        assert {"quality": better, "cost": cheaper}[claims[0]] or (len(claims) > 1 and cheaper)
        assert factor < 1 + SPEC.cost_margin


def test_timings_exactly_at_the_bound_do_not_pass():
    assert judge(0, 0, ["cost"], factor=1 - SPEC.min_gain).decision == "reject"
    assert judge(120, 20, ["quality"], factor=1 + SPEC.cost_margin).decision == "reject"


def test_a_candidate_worse_by_the_margin_is_seldom_promoted():
    """400 candidates whose true loss is exactly the margin, all much cheaper: at most alpha of them may pass."""
    rng = np.random.default_rng(3)
    promoted = 0
    for _ in range(400):
        kind = rng.choice(3, size=500, p=[0.90, 0.045, 0.055])  # both right, won, lost: a true loss of 0.01
        candidate, champion = (kind != 2).astype(float), (kind != 1).astype(float)
        verdict = decide(
            measured(candidate, "candidate", 0.5), measured(champion, "champion", 1.0), None, ["cost"], SPEC
        )
        promoted += verdict.decision == "promote"
    assert promoted / 400 <= 0.08


@pytest.mark.parametrize(
    ("gained", "lost", "claims", "factor", "kept"),
    [
        (18, 14, ["quality"], None, True),  # too little to prove, enough to go on with
        (14, 18, ["quality"], None, False),
        (10, 10, ["quality"], None, False),  # claims quality and improved nothing
        (20, 120, ["quality"], None, False),
        (10, 10, ["cost"], 0.5, True),
        (12, 14, ["cost"], 0.5, True),  # lost less than the margin
        (60, 84, ["cost"], 0.5, False),  # lost more than the margin, though the rows cannot prove it
        (10, 10, ["cost"], 1.5, False),
    ],
)
def test_screening_keeps_what_may_help(gained, lost, claims, factor, kept):
    verdict = judge(gained, lost, claims, factor=factor)
    assert keep(verdict, claims, SPEC) is kept, verdict.reason


def test_screening_drops_what_could_not_be_judged():
    candidate, champion = candidate_and_champion()
    assert not keep(decide(with_score(candidate, math.nan), champion, None, ["cost"], SPEC), ["cost"], SPEC)
