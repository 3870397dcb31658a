"""Harvested feedback is held against the suite before it joins; the database and Great Expectations are real."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from feedback.records import FeedbackRow, PredictionRow, delivery
from flows.gather import gather as gather_rows
from flows.gather import plain_stages
from flows.project import Project, open_project
from flows.suite import project_suite
from tasks import guard
from tasks.data.rows import values
from tasks.data.snapshot import read_table
from tests.loop_support import messages, write_csv

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with 300 rows of its own, whose stages run without Prefect."""
    write_csv(tmp_path / "rows.csv", messages(300, seed=1))
    spec = {"name": "shop", "data": {"source": {"kind": "file", "path": "rows.csv"}, "slices": ["channel"]},
            "feedback": {"scrub": False}}  # fmt: skip
    (tmp_path / "ratchet.yaml").write_text(yaml.safe_dump(spec), "utf-8")
    return open_project(tmp_path)


def send(project: Project, texts: list[str]) -> None:
    """Store predictions of the texts and a user's answer to each."""
    now = datetime.now(UTC)
    predictions = [
        PredictionRow(f"p-{n}", "1", text, "refund", 0.9, now, f"u{n}", {"channel": "chat"})
        for n, text in enumerate(texts)
    ]
    labels = ("refund", "delivery", "account", "praise")
    project.database.add_predictions(delivery("p", "predictions", b"p"), predictions)
    votes = [FeedbackRow(f"p-{n}", "app", now, target=labels[n % 4]) for n in range(len(texts))]
    project.database.add_feedback(delivery("f", "feedback", b"f"), votes)


def gather(project: Project) -> tuple[list[int], guard.FeedbackCheck | None]:
    tables, checked = gather_rows(plain_stages(), project, project_suite(project))
    assert read_table(Path(tables[0].uri)).num_rows == 300
    return [table.rows for table in tables], checked


def texts(count: int) -> list[str]:
    return [row["text"] for row in messages(count, seed=5)]


def test_feedback_that_keeps_to_the_suite_joins(project: Project) -> None:
    send(project, texts(60))
    rows, checked = gather(project)
    assert rows == [300, 60]
    assert checked is not None and (checked.report.passed, checked.held_back) == (True, {})
    assert Path(checked.report.docs).is_file()


def test_too_little_feedback_is_not_looked_at(project: Project) -> None:
    send(project, texts(49))
    assert gather(project) == ([300], None)


def test_rows_that_break_a_stop_are_left_out_and_counted(project: Project) -> None:
    (project.root / "checks.yaml").write_text("max_chars: 200\nstop: [max_chars]\n", "utf-8")
    send(project, [*texts(60), *(f"{n} {'long ' * 50}" for n in range(3))])
    rows, checked = gather(project)
    assert rows == [300, 60]
    assert checked is not None and checked.held_back == {"max_chars": 3}
    assert all(len(text) <= 200 for text in values(read_table(Path(checked.rows.uri)), "text"))
    assert set(checked.examples["max_chars"]) == {f"feedback (id feedback-p-{n})" for n in (60, 61, 62)}


def test_so_few_that_are_left_wait_for_more(project: Project) -> None:
    (project.root / "checks.yaml").write_text("max_chars: 200\nstop: [max_chars]\n", "utf-8")
    send(project, [*texts(49), *(f"{n} {'long ' * 50}" for n in range(3))])
    rows, checked = gather(project)
    assert rows == [300]
    assert checked is not None and checked.report.passed


def test_a_batch_that_breaks_a_stop_is_left_out_and_said(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    (project.root / "checks.yaml").write_text("stop: [max_pii_share]\n", "utf-8")
    send(project, [*texts(40), *(f"write to me{n}@shop.example about the money" for n in range(20))])
    with caplog.at_level(logging.WARNING):
        rows, checked = gather(project)
    assert rows == [300]
    assert checked is not None and [stop.expectation for stop in checked.report.stops] == ["max_pii_share"]
    assert "harvest: all 60 rows are left out of this iteration: max_pii_share: 20 of 60 rows" in caplog.text
    assert "shop.example" not in caplog.text
