"""The frame that Great Expectations sees, the comparison of classes, and what is held back of an addition."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from tasks.data.checking import measure
from tasks.data.checking.addition import addition_suite, hold_back
from tasks.data.checking.limits import ValidateSpec
from tasks.data.checking.measure import as_rows, measure_rows
from tasks.data.checking.profile import DataProfile
from tasks.data.checking.rules import _compare_classes, list_checks, make_frame
from tasks.data.checking.suite import Suite, derive_suite
from tasks.data.rows import make_rows

LAST = DataProfile("d", 100, ("id",), {"train": 80}, {"a": 60, "b": 20}, (5, 9, 20), 0.0, 0.0, 0.0, {})


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "tell_languages", lambda texts: ["de" if "Paket" in text else "en" for text in texts])


def rows_of(texts: list[str], targets: list[str], splits: list[str] | None = None) -> pa.Table:
    return make_rows(
        {
            "id": [f"r{n}" for n in range(len(texts))], "text": texts, "target": targets,
            "split": splits or ["train"] * len(texts), "source": ["t.csv"] * len(texts),
        }
    )  # fmt: skip


def frame_of(table: pa.Table, suite: Suite) -> pd.DataFrame:
    rows, mended = as_rows(table)
    return make_frame(rows, measure_rows(rows), mended, suite, table.column_names)


def test_the_frame_holds_no_text_and_small_types() -> None:
    table = rows_of(["a secret text"] * 30, ["a", "b"] * 15)
    frame = frame_of(table, derive_suite(LAST))
    assert "secret" not in frame.to_csv()
    assert len(frame) == 30
    assert frame.memory_usage(index=False, deep=True).sum() < 100 * len(frame) + 1000
    assert not any(pd.api.types.is_object_dtype(kind) for kind in frame.dtypes)


def test_class_columns_are_of_train_alone() -> None:
    table = rows_of(["x"] * 5, ["a", "a", "b", "c", "a"], ["train", "train", "train", "golden", "golden"])
    frame = frame_of(table, derive_suite(None))
    np.testing.assert_array_equal(frame["class_rows"], [2, 2, 1, np.nan, np.nan])
    assert frame["train_target"].astype(object).where(frame["train_target"].notna(), None).tolist() == [
        "a",
        "a",
        "b",
        None,
        None,
    ]


@pytest.mark.parametrize("count", [20, 21])
def test_only_many_decimal_numbers_are_no_classes(count: int) -> None:
    table = rows_of(["x"] * count, [str(n + 0.5) for n in range(count)])
    assert frame_of(table, derive_suite(None))["decimal_label"].sum() == (21 if count == 21 else 0)


def test_whole_numbers_and_words_are_classes() -> None:
    table = rows_of(["x"] * 90, [str(n) for n in range(30)] + [f"label {n}" for n in range(30)] + ["nan"] * 30)
    assert frame_of(table, derive_suite(None))["decimal_label"].sum() == 0


def test_unchanged_shares_have_no_distance() -> None:
    assert _compare_classes({"a": 300, "b": 100}, {"a": 60, "b": 20}) == ({"a": 1.0, "b": 1.0}, 0.0)
    assert _compare_classes({}, {"a": 1}) == ({}, 0.0)
    assert _compare_classes({"a": 1}, {}) == ({}, 0.0)


def test_factors_leave_small_and_new_classes_alone() -> None:
    factors, distance = _compare_classes({"a": 500, "b": 400, "c": 90, "d": 10}, {"a": 800, "b": 190, "d": 10})
    assert factors == {"a": pytest.approx(1.6), "b": pytest.approx(400 / 190)}  # d has too few rows, c is new
    assert distance == pytest.approx(0.3, abs=0.02)


def test_the_distance_is_what_is_beyond_chance() -> None:
    """The mean absolute deviation that is taken off is the binomial's, by scipy's own sum over all counts."""
    rows, share = 400, 0.3
    counts = np.arange(rows + 1)
    exact = float((stats.binom.pmf(counts, rows, share) * abs(counts / rows - share)).sum())
    _, distance = _compare_classes({"a": 0, "b": rows}, {"a": 3000, "b": 7000})
    assert distance == pytest.approx(0.3 - exact, rel=0.002)
    rng = np.random.default_rng(7)
    beyond = [
        _compare_classes(dict(enumerate(rng.multinomial(60, [1 / 77] * 77))), dict.fromkeys(range(77), 1000))[1]
        for _ in range(200)
    ]
    assert max(beyond) < 0.12  # of 60 rows in 77 classes: a plain distance is about 0.45
    assert math.isfinite(sum(beyond))


def test_languages_are_looked_at_where_enough_were_told() -> None:
    suite = derive_suite(None, languages=("en",))
    table = rows_of([f"Paket {n}" for n in range(10)] + [f"parcel {n}" for n in range(30)], ["a", "b"] * 20)
    np.testing.assert_array_equal(frame_of(table, suite)["foreign"], [1.0] * 10 + [0.0] * 30)
    assert frame_of(table.slice(0, 20), suite)["foreign"].isna().all()


def test_a_share_at_its_limit_keeps_to_it_and_one_row_more_does_not() -> None:
    for rows in range(1, 80):
        for bad in range(rows):
            suite = derive_suite(None, sources=[("data.checks", ValidateSpec(max_pii_share=bad / rows))])
            [mostly] = [c.parameters["mostly"] for c in list_checks(suite, ()) if c.name == "max_pii_share"]
            assert (rows - bad) / rows >= mostly > (rows - bad - 1) / rows


def test_checks_about_labels_need_labels_and_comparisons_a_last_snapshot() -> None:
    names = [check.name for check in list_checks(derive_suite(LAST), ("a", "b"))]
    assert {"labels", "required_labels", "max_class_factor", "max_rows"} <= set(names)
    assert not {"labels", "class_labels", "required_labels"} & {c.name for c in list_checks(derive_suite(LAST), ())}
    written = ValidateSpec(max_class_factor=2.0, max_class_distance=0.1)
    alone = derive_suite(None, sources=[("data.checks", written)])
    assert "max_class_factor" not in {check.name for check in list_checks(alone, ("a", "b"))}


# -- additions ---------------------------------------------------------------------------------------------------------


def test_rows_that_break_a_stop_by_themselves_are_held_back() -> None:
    written = ValidateSpec(forbidden_labels=("b",), max_chars=20, warn=("max_pii_share",))
    suite = addition_suite(derive_suite(LAST, sources=[("data.checks", written)]))
    table = rows_of(["fine", "", " ", "x" * 21, "fine too", "fine three"], ["a", "a", "b", "a", "b", "z"])
    free, held = hold_back(table, suite, ("a", "b"))
    assert free["id"].to_pylist() == ["r0"]
    assert held == {"labels": [5], "forbidden_labels": [2, 4], "max_empty_share": [1], "max_chars": [3]}


def test_a_warning_holds_no_row_back_and_no_labels_mean_no_look_at_them() -> None:
    suite = addition_suite(derive_suite(None))
    table = rows_of(["x" * 20_000, "fine"], ["free text", "another"])
    free, held = hold_back(table, suite, ())
    assert (free.num_rows, held) == (2, {})


def test_an_addition_is_not_asked_how_many_rows_or_labels_it_has_and_balance_only_warns() -> None:
    written = ValidateSpec(stop=("max_class_distance", "max_pii_share"))
    suite = addition_suite(derive_suite(LAST, sources=[("data.checks", written)]))
    on = {known.name: known.severity for known in suite.expectations if known.on}
    assert not {"min_rows", "max_rows", "required_labels", "min_class_rows", "leakage", "min_distinct_texts"} & set(on)
    assert (on["max_class_distance"], on["max_pii_share"], on["length"]) == ("warn", "stop", "warn")
