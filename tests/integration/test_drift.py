"""Drift by real Evidently: quiet on one distribution, loud on the example's later stream, calm about bad rows."""

import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from monitoring.drift import MonitorSpec, measure_drift
from tasks.data.example import golden_messages, production_messages, support_messages

DESCRIPTORS = {"text_length", "word_count", "non_letter_share"}


@pytest.fixture(scope="module")
def answer():
    """A function from rows to a frame with the answers of a small model that knows only the training pool."""
    pool = support_messages(1600)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=300))
    model.fit([row["text"] for row in pool], [row["intent"] for row in pool])

    def frame_of(rows):
        texts = [row["text"] for row in rows]
        probabilities = model.predict_proba(texts)
        return pd.DataFrame(
            {
                "text": texts,
                "output": model.classes_[probabilities.argmax(axis=1)],
                "confidence": probabilities.max(axis=1),
                "channel": [row["channel"] for row in rows],
            }
        )

    return frame_of


@pytest.fixture(scope="module")
def golden(answer):
    return answer(golden_messages(600, pool_rows=1600))


@pytest.fixture(scope="module")
def production(answer):
    return answer(production_messages())


@pytest.fixture
def measure(tmp_path):
    """A function from two frames to the checks by name; the whole report under `report`."""

    def run(reference, current, **spec):
        report = measure_drift(reference, current, MonitorSpec(**spec), tmp_path / "reports" / "drift.html")
        return {"report": report, **{check.name: check for check in report.checks}}

    return run


@pytest.mark.parametrize(("rows", "seed"), [(200, 1), (200, 2), (500, 3), (1000, 4)])
def test_two_halves_of_one_distribution_do_not_fire(answer, measure, rows, seed):
    both = answer(golden_messages(2 * rows, seed, pool_rows=20))
    found = measure(both[:rows], both[rows:], window=rows)
    assert not found["report"].drifted
    assert sum(check.drifted for check in found["report"].checks) <= 1


@pytest.mark.parametrize("window", [200, 500])
def test_the_later_stream_fires(golden, production, measure, window):
    found = measure(golden, production, window=window)
    report = found["report"]
    assert report.drifted
    assert (report.reference_rows, report.current_rows) == (len(golden), window)
    assert {"text", "confidence"} <= {check.name for check in report.checks if check.drifted}
    assert report.reason.startswith(f"{sum(check.drifted for check in report.checks)} of 7 checks drifted, 2 needed: ")


def test_each_threshold_is_read(golden, production, measure):
    loose = {"content_threshold": 0.99, "confidence_threshold": 9.0, "descriptor_threshold": 9.0, "mix_threshold": 0.8}
    assert not any(check.drifted for check in measure(golden, production, **loose)["report"].checks)
    assert measure(golden, production, min_drifted=5)["report"].drifted is False


def test_the_latest_rows_are_measured(golden, production, measure):
    current = pd.concat([production, golden[:150]])
    assert not measure(golden[150:], current, window=150)["report"].drifted


def test_the_html_report_is_one_file_that_loads_nothing(golden, production, measure):
    path = measure(golden, production)["report"].report_uri
    with open(path, encoding="utf-8") as file:
        html = file.read()
    assert "<html" in html
    assert 'src="http' not in html
    assert 'rel="stylesheet" href="http' not in html


def test_a_column_that_only_one_frame_has_is_not_compared_and_never_shown(golden, production, measure):
    found = measure(golden, production.assign(secret="hunter2"))
    assert set(found) == {"report", "text", "output", "confidence", "slice_channel", *DESCRIPTORS}
    with open(found["report"].report_uri, encoding="utf-8") as file:
        assert "hunter2" not in file.read()


def test_a_shift_between_channels_shows_in_its_slice(golden, measure):
    emails = golden[golden["channel"] == "email"]
    assert measure(golden, emails)["slice_channel"].drifted


def test_generated_text_is_described_by_its_length(golden, measure):
    rng = np.random.default_rng(3)

    def generated(words):
        return golden.assign(
            output=[f"answer {i} " + "word " * n for i, n in enumerate(rng.poisson(words, len(golden)))]
        )

    found = measure(generated(10), generated(20))
    assert "output" not in found
    assert (found["output_length"].method, found["output_length"].drifted) == ("wasserstein", True)
    assert not measure(generated(10), generated(10))["output_length"].drifted


def test_numbers_that_are_none_are_left_out(golden, measure, caplog):
    odd = golden.assign(confidence=golden["confidence"].where(golden.index % 2 == 0))
    odd.loc[0, "confidence"] = np.inf
    assert not measure(golden, odd)["confidence"].drifted
    with caplog.at_level(logging.WARNING):
        assert "confidence" not in measure(golden, golden.assign(confidence=None))
    assert "confidence left out: 600 reference and 0 production rows have one" in caplog.text


def test_constant_columns_do_not_fire(measure):
    same = pd.DataFrame({"text": ["where is my parcel"] * 200, "output": ["track"] * 200, "confidence": [0.5] * 200})
    found = measure(same, same.copy())
    assert not any(check.drifted for check in found["report"].checks)


def test_equal_texts_have_no_content_to_compare_but_the_rest_is_measured(measure, caplog):
    same = pd.DataFrame({"text": ["hello"] * 200, "output": ["greeting"] * 200, "confidence": [0.5] * 200})
    found = measure(same, same.assign(output="farewell"))
    assert "text" not in found
    assert found["output"].drifted
    assert "their content is left out" in caplog.text


def test_strange_characters_and_missing_texts_are_survived(golden, measure):
    strange = ["\0\0", "😀😀 where is it", "\ud800 broken", None, "", float("nan"), 7, "x" * 200_000]
    texts = pd.Series(strange * 25, dtype=object)
    current = pd.DataFrame(
        {
            "text": texts,
            "output": "track_order",
            "confidence": 0.5,
            "channel": pd.Series(["\0\ud800"] * 200, dtype=object),
        }
    )
    report = measure(golden, current)["report"]
    assert report.drifted
    assert all(np.isfinite(check.value) for check in report.checks)


def test_input_frames_stay_as_they_were(golden, production, measure):
    before = golden.copy(), production.copy()
    measure(golden, production)
    pd.testing.assert_frame_equal(golden, before[0])
    pd.testing.assert_frame_equal(production, before[1])
