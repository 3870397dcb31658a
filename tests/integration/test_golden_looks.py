"""A look at golden is paid for when something is judged, and only then."""

import numpy as np
import pytest

from flows.budget import advice, budget, decide_on_golden
from flows.project import open_project
from tasks.data.rows import make_rows
from tasks.data.snapshot import write_table
from tasks.measure.gate.budget import level_of
from tasks.records import Snapshot
from tests.loop_support import make_project
from tests.unit.measured import measured, paired_scores


@pytest.fixture
def project(tmp_path):
    return open_project(make_project(tmp_path, tmp_path / "no-base"))


@pytest.fixture
def snapshot(tmp_path):
    rows = {
        "id": ["g1", "g2"],
        "text": ["one", "two"],
        "target": ["a", "b"],
        "split": ["golden"] * 2,
        "source": ["x"] * 2,
    }
    path = tmp_path / "snapshot.parquet"
    return Snapshot(str(path), write_table(make_rows({**rows, "source": ["x"] * 2}), path), {"golden": 2}, ("a", "b"))


def sides(rows, gained, lost):
    scores = paired_scores(rows, rows // 2, gained, lost)
    return [measured(values, name) for values, name in zip(scores, ("candidate", "champion"), strict=True)]


def test_what_is_judged_costs_a_look_and_what_cannot_be_costs_none(project, snapshot):
    few = decide_on_golden(project, snapshot, *sides(10, 2, 0), None, ["quality"])
    assert (few.decision, few.look, budget(project)["looks"]) == ("reject", 0, 0)
    assert "golden has 10 rows" in few.reason
    judged = decide_on_golden(project, snapshot, *sides(1000, 100, 10), None, ["quality"])
    assert (judged.decision, judged.look, budget(project)["looks"]) == ("promote", 1, 1)
    assert judged.alpha == level_of(1, project.spec.gate.alpha)
    nan = sides(1000, 100, 10)
    nan[0].scores[3] = np.nan
    assert decide_on_golden(project, snapshot, *nan, None, ["quality"]).look == 0
    assert budget(project)["looks"] == 1


def test_a_worn_golden_set_is_told_to_be_refreshed():
    assert [number for number in range(12) if advice(number)] == [8, 9, 10, 11]
    assert "Refresh it" in advice(8)
