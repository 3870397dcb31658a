"""Every metric against scikit-learn or brute force, and its paired interval against a bootstrap of the rows."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from tasks.measure.quality import cells
from tasks.measure.quality.bootstrap import bca
from tasks.measure.quality.metrics import (
    METRICS,
    Answers,
    check_computable,
    check_metric,
    compare_metric,
    compare_metrics,
    find_metric,
    measure_metrics,
    row_brier,
    row_costs,
)
from tasks.records import Interval

LABELS = np.array(["card", "loan", "rate", "none"], dtype=object)
COSTS = {"card": {"loan": 4.0, "rate": 0.5}, "loan": {"none": 2.0}}
NAMES = ("accuracy", "macro_f1", "f1[loan]", "cost", "ece", "brier", "oos_auroc")
quick = settings(max_examples=40, deadline=None)


def answers(rows, right, seed=0, rng_of_rows=1):
    """Return answers that are right with a probability, and surer where they are; a quarter is out of scope."""
    targets = np.random.default_rng(rng_of_rows).integers(len(LABELS), size=rows)
    rng = np.random.default_rng(seed)
    outputs = np.where(rng.random(rows) < right, targets, rng.integers(len(LABELS), size=rows))
    sure = np.where(outputs == targets, rng.beta(6, 2, rows), rng.beta(3, 3, rows))
    confidences = np.maximum(sure.round(2), 0.26)
    probabilities = np.full((rows, len(LABELS)), (1 - confidences)[:, None] / 3)
    probabilities[np.arange(rows), outputs] = confidences
    names, found = LABELS[targets], LABELS[outputs]
    return Answers(
        names, found, (targets == outputs).astype(float), confidences, row_costs(names, found, COSTS),
        row_brier(probabilities, list(LABELS), names), "none",
    )  # fmt: skip


def taken(model, rows):
    """Return the answers on some rows, one as often as it is named."""
    columns = {name: getattr(model, name)[rows] for name in ("targets", "outputs", "scores", "confidences")}
    return replace(model, costs=model.costs[rows], brier=model.brier[rows], **columns)


def value(name, model):
    """Return the metric by brute force, or scikit-learn's."""
    if name == "macro_f1":
        return f1_score(model.targets.tolist(), model.outputs.tolist(), average="macro")
    if name.startswith("f1["):
        hit, asked = (model.outputs == name[3:-1]), (model.targets == name[3:-1])
        return 2 * (hit & asked).sum() / (hit.sum() + asked.sum())
    if name == "ece":
        return expected_calibration_error(model)
    if name == "oos_auroc":
        inside = np.where(model.outputs == "none", 1 - model.confidences, model.confidences)
        return roc_auc_score(model.targets != "none", inside)
    return {"accuracy": model.scores, "cost": model.costs, "brier": model.brier}[name].mean()


def expected_calibration_error(model):
    error = 0.0
    for number in range(15):
        inside = (model.confidences > number / 15) & (model.confidences <= (number + 1) / 15)
        if inside.any():
            gap = model.scores[inside].mean() - model.confidences[inside].mean()
            error += inside.mean() * abs(gap)
    return error


def point(name, *models):
    """Return what the cells say of the rows themselves."""
    metric, label = find_metric(name)
    return bca(metric.cells(models, label), 0.05, 100).value


@quick
@given(st.integers(0, 10_000), st.integers(20, 120), st.floats(0, 1))
@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_what_brute_force_says(name, seed, rows, right):
    model = answers(rows, right, seed)
    if name == "f1[loan]" and not ({*model.targets, *model.outputs} >= {"loan"}):
        return
    metric, label = find_metric(name)
    made = metric.cells([model], label)
    assert made.counts.sum() == rows
    sums = (made.features.T @ made.counts)[None, :].astype(float)
    assert made.statistic(sums)[0] == pytest.approx(value(name, model), abs=1e-12)


@quick
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 2), min_size=1, max_size=12))
def test_macro_f1_is_over_the_labels_that_occur(rows):
    """As on a resample: of ten labels most are missing."""
    target, output = np.array(rows).T
    made = cells.f1_cells(target, [output], 10)
    sums = (made.features.T @ made.counts)[None, :].astype(float)
    assert made.statistic(sums)[0] == pytest.approx(f1_score(target, output, average="macro"), abs=1e-12)


@pytest.mark.parametrize("limit", [1, 8, 40])
@pytest.mark.parametrize("name", ["accuracy", "cost", "ece", "brier", "oos_auroc"])
def test_grouping_leaves_the_value_exact(name, limit, monkeypatch):
    first, second = answers(400, 0.8, 2), answers(400, 0.6, 3)
    rng = np.random.default_rng(4)
    first, second = (replace(model, scores=rng.random(400), confidences=rng.random(400)) for model in (first, second))
    monkeypatch.setattr(cells, "MAX_CELLS", max(limit, {"ece": 225, "oos_auroc": 2}.get(name, 1)))
    metric, label = find_metric(name)
    assert len(metric.cells([first, second], label).counts) <= cells.MAX_CELLS
    assert point(name, first) == pytest.approx(value(name, first), abs=1e-12)
    assert point(name, first, second) == pytest.approx(value(name, first) - value(name, second), abs=1e-12)


@pytest.mark.parametrize("apart", [0.3, 0.0005], ids=["models far apart", "models almost alike"])
@pytest.mark.parametrize("name", ["ece", "brier", "oos_auroc"])
def test_grouping_leaves_the_width_of_the_interval(name, apart, monkeypatch):
    rng = np.random.default_rng(5)
    first = answers(1200, 0.8, 6)
    first = replace(first, confidences=(first.confidences + rng.uniform(-0.005, 0.005, 1200)).clip(0, 1))
    second = replace(
        first, confidences=(first.confidences + rng.normal(0, apart, 1200)).clip(0, 1),
        brier=(first.brier + rng.normal(0, apart, 1200)).clip(0, 1),
    )  # fmt: skip
    monkeypatch.setattr(cells, "MAX_CELLS", 225 if name == "ece" else 80)
    grouped = compare_metric(name, first, second, 0.025, resamples=2000)
    monkeypatch.setattr(cells, "MAX_CELLS", 1200)
    exact = compare_metric(name, first, second, 0.025, resamples=2000)
    assert grouped.value == pytest.approx(exact.value, abs=1e-12)
    width = exact.high - exact.low
    noise = 0.15 * width  # of the resamples
    assert (grouped.low, grouped.high) == pytest.approx((exact.low, exact.high), abs=noise)


@pytest.mark.parametrize("name", NAMES)
def test_the_paired_interval_is_that_of_resampled_rows(name):
    """SciPy's BCa on row numbers, with the metric computed anew on each resample."""
    first, second = answers(60, 0.9, 7), answers(60, 0.6, 8)
    sign = 1 if find_metric(name)[0].higher_is_better else -1

    def improvement(rows):
        return sign * (fast(name, taken(first, rows)) - fast(name, taken(second, rows)))

    expected = stats.bootstrap(
        (np.arange(60),), improvement, n_resamples=1500, vectorized=False, method="BCa", confidence_level=0.9,
        rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    found = compare_metric(name, first, second, 0.05)
    assert found.value == pytest.approx(sign * (value(name, first) - value(name, second)), abs=1e-12)
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.12 * width)


def fast(name, model):
    """Return the metric by brute force, without scikit-learn's checks of every call."""
    if name == "macro_f1":
        return np.mean([value(f"f1[{label}]", model) for label in {*model.targets, *model.outputs}])
    if name == "oos_auroc":
        sure = np.where(model.outputs == "none", 1 - model.confidences, model.confidences)
        inside, outside = sure[model.targets != "none"], sure[model.targets == "none"]
        return (np.sign(inside[:, None] - outside[None, :]) / 2 + 0.5).mean()
    return value(name, model)


@pytest.mark.parametrize("name", NAMES)
def test_better_is_above_zero_and_swapping_mirrors_it(name):
    good, bad = answers(800, 0.9, 10), answers(800, 0.4, 11)
    if name == "ece":
        bad = replace(good, confidences=good.confidences**3)
    there = compare_metric(name, good, bad, 0.025, resamples=2000)
    back = compare_metric(name, bad, good, 0.025, resamples=2000)
    assert 0 < there.low < there.value < there.high
    assert back.value == pytest.approx(-there.value, abs=1e-12)
    width = there.high - there.low
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.1 * width)


def test_a_model_is_no_better_than_itself():
    model = answers(200, 0.8)
    for name in NAMES:
        found = compare_metric(name, model, model, 0.05, resamples=200)
        assert (found.value, found.low, found.high) == (0, 0, 0)


def test_pairing_makes_the_interval_narrow():
    """Of 2000 rows two models differ on 40: unpaired, the accuracy is known to 1.8 points on either side."""
    model = answers(2000, 0.8)
    other = replace(model, scores=np.where(np.arange(2000) < 40, 1 - model.scores, model.scores))
    found = compare_metric("accuracy", other, model, 0.025)
    assert found.high - found.low < 0.014


def test_all_that_can_be_measured_is_measured():
    model = answers(600, 0.8)
    found = measure_metrics(model, resamples=500)
    labels = [f"f1[{label}]" for label in sorted(LABELS)]
    assert list(found) == ["accuracy", "macro_f1", *labels, "cost", "ece", "brier", "oos_auroc"]
    for name, score in found.items():
        assert isinstance(score, Interval)
        assert score.value == pytest.approx(value(name, model), abs=1e-12)
        assert 0 <= score.low < score.value < score.high <= 1


def test_what_cannot_be_measured_is_left_out():
    rows = np.arange(600)
    bare = replace(answers(600, 0.8), costs=None, brier=None, out_of_scope="")
    assert not {"cost", "brier", "oos_auroc"} & measure_metrics(bare, resamples=100).keys()
    seldom = taken(answers(600, 0.8), rows[answers(600, 0.8).targets != "none"])
    assert "oos_auroc" not in measure_metrics(seldom, resamples=100)
    assert "f1[none]" not in measure_metrics(seldom, resamples=100)


def test_all_that_both_models_have_is_compared():
    candidate, reference = answers(300, 0.9, 1), answers(300, 0.8, 2)
    found = compare_metrics(candidate, reference)
    assert set(found) == {*METRICS, *(f"f1[{label}]" for label in LABELS)} - {"f1[LABEL]"}
    one = compare_metric("macro_f1", candidate, reference, 0.025, resamples=2000)
    assert found["macro_f1"] == Interval(one.value, one.low, one.high)
    assert found["accuracy"].low > 0
    assert "brier" not in compare_metrics(replace(candidate, brier=None), reference)
    assert "cost" not in compare_metrics(candidate, replace(reference, costs=None))


def test_free_text_has_no_labels():
    """A model that writes: every answer differs, and a row score is any number in [0, 1]."""
    rng = np.random.default_rng(12)
    text = np.array([f"answer {number}" for number in range(1200)], dtype=object)
    model = Answers(text, text, rng.random(1200), rng.random(1200))
    found = measure_metrics(model, resamples=500)
    assert list(found) == ["accuracy", "ece"]
    assert found["accuracy"].value == pytest.approx(model.scores.mean(), abs=1e-12)
    half = 1.96 * model.scores.std() / math.sqrt(1200)
    assert found["accuracy"].high - found["accuracy"].low == pytest.approx(2 * half, rel=0.1)
    with pytest.raises(ValueError, match="free text; use accuracy"):
        compare_metric("macro_f1", model, model, 0.05)


@pytest.mark.parametrize("name", METRICS.keys() - {"f1[LABEL]"} | {"f1[loan]"})
def test_a_known_metric_passes(name):
    check_metric(name)
    check_computable(name, answers(200, 0.8))


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("macrof1", "unknown metric 'macrof1', known are accuracy, macro_f1, .*; did you mean 'macro_f1'?"),
        ("acuracy", "did you mean 'accuracy'?"),
        ("f1[]", "unknown metric"),
        ("f1[LABEL]", "0 rows have the target 'LABEL'"),
        ("", "unknown metric"),
        ("f1[laon]", r"0 rows have the target 'laon' \(did you mean 'loan'\?\), and 10 are needed"),
    ],
)
def test_an_unknown_metric_is_refused(name, named):
    with pytest.raises(ValueError, match=named):
        compare_metric(name, answers(200, 0.8), answers(200, 0.7), 0.05)


FLAWS = {
    "cost": ({"costs": None}, "cost cannot be computed: nothing says what errors cost"),
    "brier": ({"brier": None}, "brier cannot be computed: the model gives no probabilities"),
    "oos_auroc": ({"out_of_scope": ""}, "oos_auroc cannot be computed: no target is declared"),
}


@pytest.mark.parametrize("name", FLAWS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_metric_that_one_model_lacks_is_refused(name, which):
    models = [answers(200, 0.8), answers(200, 0.7)]
    models[which] = replace(models[which], **FLAWS[name][0])
    with pytest.raises(ValueError, match=FLAWS[name][1]):
        compare_metric(name, *models, 0.05)


def test_a_side_with_few_rows_is_refused():
    model = answers(400, 0.8)
    rows = np.concatenate([np.flatnonzero(model.targets != "none"), np.flatnonzero(model.targets == "none")[:9]])
    with pytest.raises(ValueError, match=r"9 of \d+ rows have the target 'none', and at least 10"):
        check_computable("oos_auroc", taken(model, rows))
    with pytest.raises(ValueError, match=r"9 rows have the target 'none', and 10 are needed"):
        check_computable("f1[none]", taken(model, rows))


@pytest.mark.parametrize("column", ["scores", "confidences", "costs", "brier"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_what_is_no_share_is_refused(column, bad):
    model = answers(50, 0.8)
    spoilt = getattr(model, column).copy()
    spoilt[3] = bad
    for call in (
        lambda flawed: measure_metrics(flawed),
        lambda flawed: compare_metric("accuracy", model, flawed, 0.05),
        lambda flawed: compare_metric("accuracy", flawed, model, 0.05),
    ):
        with pytest.raises(ValueError, match=f"{column} must be numbers in"):
            call(replace(model, **{column: spoilt}))


@pytest.mark.parametrize("column", ["outputs", "scores", "confidences", "costs", "brier"])
def test_columns_of_other_length_are_refused(column):
    model = answers(50, 0.8)
    with pytest.raises(ValueError, match=f"50 targets but 49 {column}"):
        measure_metrics(replace(model, **{column: getattr(model, column)[:-1]}))


def test_no_rows_and_other_rows_are_refused():
    model = answers(50, 0.8)
    with pytest.raises(ValueError, match="no rows"):
        measure_metrics(taken(model, np.arange(0)))
    for other in (answers(50, 0.8, rng_of_rows=2), answers(49, 0.8), replace(model, out_of_scope="loan")):
        with pytest.raises(ValueError, match="different rows"):
            compare_metric("accuracy", model, other, 0.05)


@pytest.mark.parametrize("alpha", [0, 1, math.nan])
def test_a_level_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must lie in"):
        compare_metric("accuracy", answers(50, 0.8), answers(50, 0.7), alpha)


def test_costs_are_shares_of_the_largest():
    targets, outputs = ["card", "card", "card", "loan", "rate"], ["card", "loan", "rate", "card", "none"]
    assert row_costs(targets, outputs, COSTS).tolist() == [0, 1, 0.125, 0.25, 0.25]
    assert row_costs(targets, outputs, {}).tolist() == [0, 1, 1, 1, 1]
    assert row_costs(["a"], ["b"], {"a": {"b": 0.5}}).tolist() == [0.5]


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_a_cost_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match="a cost must be a finite number from 0 on"):
        row_costs(["a"], ["b"], {"a": {"b": bad}})


@quick
@given(st.integers(0, 1000), st.integers(1, 6))
def test_the_brier_score_is_half_the_squared_distance(seed, labels):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(labels), 5)
    names = [f"label {number}" for number in range(labels)]
    chosen = rng.integers(labels, size=5)
    expected = ((probabilities - np.eye(labels)[chosen]) ** 2).sum(axis=1) / 2
    found = row_brier(probabilities, names, [names[number] for number in chosen])
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_target_that_no_label_fits_is_as_far_as_can_be_from_a_sure_answer():
    found = row_brier(np.array([[1.0, 0.0], [0.5, 0.5]], dtype=np.float32), ["a", "b"], ["none", "none"])
    assert found.tolist() == [1.0, 0.75]


def test_probabilities_of_other_rows_are_refused():
    with pytest.raises(ValueError, match=r"must be \[1 rows, 2 labels\], not \[2, 2\]"):
        row_brier(np.ones((2, 2)) / 2, ["a", "b"], ["a"])


def test_a_hundred_thousand_rows_of_77_labels_take_a_moment():
    rng = np.random.default_rng(13)
    target = rng.integers(77, size=100_000)
    names = np.array([f"label {number}" for number in range(77)], dtype=object)

    def model(right):
        wrong = (target + rng.integers(1, 10, size=100_000)) % 77
        output = np.where(rng.random(100_000) < right, target, wrong)
        return Answers(names[target], names[output], (output == target).astype(float), rng.random(100_000))

    better, worse = model(0.93), model(0.92)
    start = time.process_time()
    found = compare_metric("macro_f1", better, worse, 0.025), compare_metric("accuracy", better, worse, 0.025)
    assert time.process_time() - start < 5
    assert all(interval.low > 0 for interval in found)
