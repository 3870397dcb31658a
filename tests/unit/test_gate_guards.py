"""What the gate looks at beside the mean score: guard metrics, slices of every family, cost, noise; bad input."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binomtest

from tasks.measure.gate.comparisons import COST_GAIN, QUALITY_GAIN
from tasks.measure.gate.decide import decide, keep
from tasks.specs import GateSpec
from tests.unit.measured import STEADY, answers, measured, paired_scores

SPEC = GateSpec(margin=0.01, slice_margin=0.05, guards={"macro_f1": 0.02}, resamples=1000)


def sides(gained=120, lost=20, rows=2000, factor=None, **changes):
    """Return candidate and champion; `factor` is the candidate's time per text to the champion's."""
    scores = paired_scores(rows, int(0.8 * rows), gained, lost)
    factors = (None, None) if factor is None else (factor, 1.0)
    return [measured(s, name, f, **changes)
            for s, name, f in zip(scores, ("candidate", "champion"), factors, strict=True)]  # fmt: skip


def find_test(verdict, name):
    return next(test for test in verdict.tests if test.name == name)


def with_family(models, name, mask, family):
    return [replace(model, slices={name: mask}, families={name: family}) for model in models]


def test_a_gain_is_judged_by_mcnemars_exact_test_too():
    verdict = decide(*sides(60, 30), None, ["quality"], SPEC)
    exact = binomtest(60, 90, alternative="greater").pvalue
    assert verdict.decision == "promote"
    assert find_test(verdict, QUALITY_GAIN).detail.startswith(f"60 rows won, 30 lost; McNemar's p {exact:.2g} (exact)")


def test_where_mcnemar_does_not_agree_the_gain_is_not_shown():
    """Between the two p-values of 11 against 3: the interval alone would pass."""
    models = sides(11, 3)
    exact = binomtest(11, 14, alternative="greater").pvalue
    verdict = decide(*models, None, ["quality"], replace(SPEC, alpha=0.8 * exact))
    test = find_test(verdict, QUALITY_GAIN)
    assert (verdict.decision, test.outcome, test.low > 0, test.rows_needed) == ("inconclusive", "unsure", True, 1)
    assert decide(*models, None, ["quality"], replace(SPEC, alpha=1.2 * exact)).decision == "promote"


def test_a_guard_metric_that_fell_stops_a_better_candidate():
    """The candidate is right more often, but never says the rare label any more."""
    rows, rare = 2000, 100
    targets = np.array(["rare"] * rare + ["common"] * (rows - rare), dtype=object)
    candidate, champion = np.ones(rows), np.ones(rows)
    candidate[:rare] = 0
    champion[rare : 3 * rare] = 0
    models = [
        measured(scores, answered=answers(scores, targets, np.where(scores == 1, targets, "common").astype(object)))
        for scores in (candidate, champion)
    ]
    verdict = decide(*models, None, ["quality"], SPEC)
    assert (verdict.decision, "macro_f1 is no worse" in verdict.reason) == ("reject", True)
    assert decide(*models, None, ["quality"], replace(SPEC, guards={})).decision == "promote"


def test_an_undecided_guard_says_how_many_rows_would_decide():
    """A few more rows of the same kind than it says do decide: the bootstrap's own noise is in the figure."""
    spec = replace(SPEC, margin=0.2)
    verdict = decide(*sides(80, 90, rows=1000, factor=0.5), None, ["cost"], spec)
    needed = find_test(verdict, "macro_f1 is no worse than the champion's").rows_needed
    assert verdict.decision == "inconclusive"
    assert f"about {needed} more golden rows would decide" in verdict.reason
    scale = 1 + 1.3 * needed / 1000
    grown = sides(round(80 * scale), round(90 * scale), rows=round(1000 * scale), factor=0.5)
    assert decide(*grown, None, ["cost"], spec).decision == "promote"


def test_a_small_level_widens_a_guards_interval():
    """At a late look alpha is small, and 1000 resamples hold nothing beyond its bound."""
    name, models = "macro_f1 is no worse than the champion's", sides()
    wide, narrow = (
        find_test(decide(*models, None, ["quality"], replace(SPEC, alpha=alpha)), name) for alpha in (0.0002, 0.02)
    )
    assert wide.low < narrow.low - 0.005
    assert wide.high > narrow.high + 0.005


@pytest.mark.parametrize("family", ["label", "length", "language", "found"])
def test_a_derived_slice_is_watched_for_harm(family):
    """A slice nobody named need not be proved, but stops the candidate where it is shown to be worse."""
    spec = replace(SPEC, alpha=0.02)
    small = np.isin(np.arange(2000), range(1400, 1460))  # both right in all of it: too few rows for a proof
    worse = np.isin(np.arange(2000), range(1720, 1820))  # the rows that were lost are all here
    name = f"{family}=x"
    unproved = decide(*with_family(sides(), name, small, family), None, ["quality"], spec)
    assert (unproved.decision, find_test(unproved, f"slice {name} is not shown worse than the champion's").outcome) == (
        "promote",
        "pass",
    )
    assert decide(*with_family(sides(), name, small, "column"), None, ["quality"], spec).decision == "inconclusive"
    to_prove = replace(spec, prove=("column", family))
    assert decide(*with_family(sides(), name, small, family), None, ["quality"], to_prove).decision == "inconclusive"
    harmed = decide(*with_family(sides(), name, worse, family), None, ["quality"], spec)
    assert (harmed.decision, f"slice {name} is shown worse" in harmed.reason) == ("reject", True)


def test_an_alarm_and_a_broken_claim_are_told_in_one_sentence():
    worse = np.isin(np.arange(2000), range(1720, 1820))
    models = with_family(sides(gained=120, lost=100, factor=2.0), "found=x", worse, "found")
    verdict = decide(*models, None, ["quality"], SPEC)
    assert verdict.reason.startswith("Reject: it does not hold that cost is no higher than the champion's (ratio 2.00")
    assert " and slice found=x is shown worse than the champion's (-100.0 points" in verdict.reason


def test_alarms_share_their_level_by_holm():
    """A slice that lost 6 of 60 rows raises an alarm alone, and none among fifty."""
    rows = 3000
    candidate, champion = np.ones(rows), np.ones(rows)
    candidate[:6] = 0  # of the 60 rows of s=0
    champion[1000:1200] = 0
    names = {f"s={n}": np.isin(np.arange(rows), range(60 * n, 60 * n + 60)) for n in range(50)}
    decisions = {}
    for count in (1, 50):
        chosen = dict(list(names.items())[:count])
        models = [
            replace(measured(s, slices=chosen), families=dict.fromkeys(chosen, "found")) for s in (candidate, champion)
        ]
        decisions[count] = decide(*models, None, ["quality"], replace(SPEC, guards={})).decision
    assert decisions == {1: "reject", 50: "promote"}


def test_a_slice_that_is_shown_a_little_worse_raises_no_alarm():
    """30 of 1000 rows lost: surely worse, but by less than the margin."""
    candidate, champion = np.ones(3000), np.ones(3000)
    candidate[:30] = 0
    champion[1000:1200] = 0
    chosen = {"found=x": np.arange(3000) < 1000}
    models = [replace(measured(s, slices=chosen), families={"found=x": "found"}) for s in (candidate, champion)]
    for margin, decision in ((0.05, "promote"), (0.02, "reject")):
        verdict = decide(*models, None, ["quality"], replace(SPEC, guards={}, slice_margin=margin))
        assert verdict.decision == decision


def test_perturbed_rows_are_a_family_of_their_own():
    models = sides()
    right, wrong = np.ones(200), np.r_[np.zeros(40), np.ones(160)]
    broken = [replace(models[0], robust={"typos": wrong}), replace(models[1], robust={"typos": right})]
    verdict = decide(*broken, None, ["quality"], SPEC)
    assert (verdict.decision, "slice robust=typos is shown worse" in verdict.reason) == ("reject", True)
    whole = [replace(model, robust={"typos": right}) for model in models]
    assert decide(*whole, None, ["quality"], SPEC).decision == "promote"


@pytest.mark.parametrize(("factor", "decision"), [(0.01, "promote"), (0.5, "inconclusive"), (100, "reject")])
def test_an_interval_far_beyond_every_bound_is_judged_however_wide(factor, decision):
    candidate, champion = sides(factor=factor)
    uneven = tuple(seconds * factor for seconds, factor in zip(candidate.card.speed.block_seconds, [2.0, 0.5] * 6,
                                                               strict=True))  # fmt: skip
    card = replace(candidate.card, speed=replace(candidate.card.speed, block_seconds=uneven))
    assert decide(replace(candidate, card=card), champion, None, ["cost"], SPEC).decision == decision


@pytest.mark.parametrize(("field", "name"), [("size_bytes", "size"), ("peak_memory_bytes", "memory")])
@pytest.mark.parametrize("claim", ["quality", "cost"])
def test_what_is_not_claimed_may_not_cost_much_more(field, name, claim):
    candidate, champion = sides(factor=0.5)
    grown = getattr(champion.card.speed, field)
    for growth, decision in ((1.2, "promote"), (1.3, "reject")):
        timing = replace(candidate.card.speed, **{field: int(growth * grown)})
        larger = replace(candidate, card=replace(candidate.card, speed=timing))
        verdict = decide(larger, champion, None, [claim], SPEC)
        assert (verdict.decision, f"{name} is no larger" in verdict.reason) == (decision, decision == "reject")


def test_noisy_timings_are_not_judged():
    candidate, champion = sides(factor=0.5)
    jitter = tuple(seconds * factor for seconds, factor in zip(STEADY, [2.0, 0.5] * 6, strict=True))
    timing = replace(candidate.card.speed, block_seconds=jitter)
    noisy = replace(candidate, card=replace(candidate.card, speed=timing))
    for claim in ("cost", "quality"):
        verdict = decide(noisy, champion, None, [claim], SPEC)
        assert (verdict.decision, verdict.tests) == ("inconclusive", ())
        assert verdict.reason.startswith("Not judged, so not promoted: the timings are too noisy")
        assert "raise benchmark.samples" in verdict.reason
        assert not keep(verdict, [claim], SPEC)
    assert decide(candidate, champion, None, ["cost"], SPEC).decision == "promote"
    wide = replace(SPEC, max_noise=5, min_gain=0.9)
    assert find_test(decide(noisy, champion, None, ["cost"], wide), COST_GAIN).outcome == "fail"


def test_ten_rows_are_refused_with_how_many_are_needed():
    models = sides(2, 0, rows=10)
    verdict = decide(*models, None, ["quality"], SPEC)
    assert verdict.decision == "reject"
    assert "golden has 10 rows; a verdict needs at least 30, and 268 to show" in verdict.reason
    assert "add rows to golden" in verdict.reason
    z2n = 2.705543 / 268  # z^2 / n, and the bound is at z^2 / (n + z^2)
    assert z2n / (1 + z2n) < SPEC.margin < 2.705543 / 267 / (1 + 2.705543 / 267)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rows_that_all_score_the_same_tell_nothing(value):
    models = [measured(np.full(500, value), name, 1.0) for name in ("candidate", "champion")]
    verdict = decide(*models, None, ["cost"], SPEC)
    assert (verdict.decision, f"scores {value:g}" in verdict.reason) == ("reject", True)
    assert "add harder rows" in verdict.reason


def test_a_slice_that_is_everything_is_refused_where_a_column_was_named():
    everything = np.ones(2000, dtype=bool)
    verdict = decide(*with_family(sides(), "channel=chat", everything, "column"), None, ["quality"], SPEC)
    assert (verdict.decision, "'channel=chat' holds every row" in verdict.reason) == ("reject", True)
    assert "name another column in data.slices" in verdict.reason


def unequal_targets(model):
    targets = model.answers.targets.copy()
    targets[0] = "other"
    return replace(model, answers=replace(model.answers, targets=targets))


def of_version(model):
    return replace(model, card=replace(model.card, quality=replace(model.card.quality, measured_by="other")))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (unequal_targets, "unequal labels of the same rows; score both on one snapshot"),
        (of_version, "different versions of code or spec; score both again"),
        (lambda m: replace(m, answers=None), "macro_f1 is missing; score it again"),
        (lambda m: replace(m, robust={"typos": np.ones(5)}), "not scored on the same perturbed rows"),
        (lambda m: replace(m, robust={"typos": np.full(500, np.nan)}), "must be a number in"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("which", [0, 1], ids=["candidate", "champion"])
def test_what_does_not_compare_is_refused(change, named, which):
    models = sides()
    assert decide(*models, None, ["quality"], SPEC).decision == "promote"  # so that the flaw is what stops it
    models[which] = change(models[which])
    verdict = decide(*models, None, ["quality"], SPEC)
    assert (verdict.decision, verdict.tests, named in verdict.reason) == ("reject", (), True), verdict.reason


def test_a_guard_that_cannot_be_computed_is_a_missing_metric():
    verdict = decide(*sides(), None, ["quality"], replace(SPEC, guards={"oos_auroc": 0.05}))
    assert verdict.decision == "reject"
    assert "the candidate's oos_auroc is missing" in verdict.reason
    assert "data.out_of_scope" in verdict.reason


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"alpha": 0}, "greater than 0"),
        ({"alpha": 1}, "less than 0.5"),
        ({"margin": -0.01}, "greater than 0"),
        ({"slice_margin": -0.01}, "greater than 0"),
        ({"guards": {"makro_f1": 0.02}}, "did you mean 'macro_f1'?"),
        ({"guards": {"macro_f1": -0.02}}, "greater than 0"),
        ({"prove": ("columns",)}, "'column'"),
        ({"resamples": 10}, "greater than or equal to 1000"),
        ({"max_noise": 0}, "greater than 0"),
    ],
)
def test_a_gate_that_could_not_hold_is_refused_at_the_door(settings, named):
    with pytest.raises(ValidationError, match="validation error") as caught:
        GateSpec(**settings)
    assert named in str(caught.value)
