"""The monitor's spec, noise levels and alert: no Evidently, so these take no time."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.spatial.distance import jensenshannon
from scipy.stats import mannwhitneyu, wasserstein_distance

from monitoring.drift import (
    DriftCheck,
    DriftReport,
    FrameError,
    MonitorSpec,
    content_noise,
    drift_alert,
    mean_noise,
    measure_drift,
    mix_noise,
)

REPORT = DriftReport(
    reference_rows=800,
    current_rows=500,
    checks=(
        DriftCheck("text", "abs_text_content_drift", 0.76, 0.65, drifted=True),
        DriftCheck("output", "jensenshannon", 0.1, 0.15, drifted=False),
    ),
    drifted=True,
    reason="1 of 2 checks drifted, 1 needed: text 0.76 (from 0.65 on)",
    report_uri="runs/drift.html",
)


def frame(rows):
    return pd.DataFrame({"text": ["hello there"] * rows, "output": ["greeting"] * rows, "confidence": [0.9] * rows})


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"windw": 500}, "windw"),
        ({"window": 0}, "window"),
        ({"window": 200, "min_rows": 300}, "less than min_rows 300"),
        ({"min_rows": 5}, "min_rows"),
        ({"min_drifted": 0}, "min_drifted"),
        ({"content_threshold": 0.4}, "content_threshold"),
        ({"mix_threshold": "much"}, "mix_threshold"),
    ],
)
def test_the_spec_refuses_nonsense_and_names_it(section, named):
    with pytest.raises(ValidationError, match=named):
        TypeAdapter(MonitorSpec).validate_python(section)


def test_the_defaults_are_a_valid_spec():
    assert TypeAdapter(MonitorSpec).validate_python({}) == MonitorSpec()


@pytest.mark.parametrize(("reference_rows", "current_rows", "named"), [(200, 40, "production"), (99, 500, "reference")])
def test_too_few_rows_are_said_and_nothing_is_written(tmp_path, reference_rows, current_rows, named):
    path = tmp_path / "drift.html"
    report = measure_drift(frame(reference_rows), frame(current_rows), MonitorSpec(), path)
    have = min(reference_rows, current_rows)
    assert report.reason == f"not enough {named} rows: have {have}, need 100"
    assert (report.drifted, report.checks, report.report_uri, path.exists()) == (False, (), "", False)


def test_an_empty_window_is_no_crash(tmp_path):
    report = measure_drift(frame(200), frame(0), MonitorSpec(), tmp_path / "drift.html")
    assert report.reason == "not enough production rows: have 0, need 100"


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(FrameError, match=r"production rows: expected .*; output, confidence missing"):
        measure_drift(frame(200), frame(200)[["text"]], MonitorSpec(), tmp_path / "drift.html")


def test_the_alert_is_json_and_names_only_what_fired():
    alert = drift_alert(REPORT)
    assert json.loads(json.dumps(alert)) == alert
    assert alert["kind"] == "drift"
    assert [check["name"] for check in alert["checks"]] == ["text"]
    assert alert["window"] == {"reference_rows": 800, "current_rows": 500}


def test_reports_are_frozen():
    with pytest.raises(AttributeError):
        REPORT.drifted = False
    assert replace(REPORT, drifted=False) != REPORT


@pytest.mark.parametrize(("n", "m"), [(100, 100), (800, 200), (500, 500)])
def test_noise_levels_are_seldom_exceeded_by_chance_but_not_far_away(n, m):
    """Against the distances themselves, on 300 pairs of samples of one distribution."""
    rng = np.random.default_rng(5)
    mixes, means, contents = [], [], []
    for _ in range(300):
        left, right = rng.integers(0, 16, n), rng.integers(0, 16, m)
        mixes.append(jensenshannon(np.bincount(left, minlength=16) / n, np.bincount(right, minlength=16) / m))
        left, right = rng.normal(size=n), rng.normal(size=m)
        means.append(wasserstein_distance(left, right) / left.std())
        left, right = left[: n // 2], right[: m // 2]
        contents.append(mannwhitneyu(left, right).statistic / (len(left) * len(right)))
    for values, noise in (
        (mixes, mix_noise(n, m, 16)),
        (means, mean_noise(n, m)),
        (contents, content_noise(n, m)),
    ):
        assert np.mean(np.array(values) >= noise) <= 0.01
        assert np.quantile(values, 0.99) > 0.7 * noise


def test_more_rows_never_raise_the_noise():
    for noise in (mean_noise, content_noise, lambda n, m: mix_noise(n, m, 16)):
        levels = [noise(n, n) for n in (100, 200, 500, 1000, 10_000)]
        assert levels == sorted(levels, reverse=True)


def test_importing_the_monitor_is_light():
    code = "import sys, monitoring.drift; print(sorted({'evidently', 'pandas', 'sklearn', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
