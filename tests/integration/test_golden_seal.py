"""The sealed golden set of a project: what passes, what is refused, what waits; all but the training is real."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from feedback.records import FeedbackRow, PredictionRow, delivery
from flows import cli
from flows.budget import take_look
from flows.gather import gather, plain_stages
from flows.golden import holds, keep_sealed, read_standing
from flows.project import Project, open_project
from flows.refresh import golden_status, refresh_golden
from flows.suite import project_suite
from tasks import build
from tasks.data.golden import GoldenChange
from tasks.data.rows import values
from tasks.data.snapshot import read_table
from tasks.errors import GoldenError
from tasks.records import Snapshot
from tests.loop_support import make_project, messages, write_csv

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return open_project(make_project(tmp_path, tmp_path / "no-base"))


def see(project: Project) -> tuple[Snapshot, GoldenChange]:
    """What an iteration does before it trains anything, but for the checks."""
    standing = read_standing(project)
    sources = gather(plain_stages(), project, project_suite(project), standing.feedback)[0]
    snapshot = build.snapshot(project.store, sources, project.spec.data, holds(project, standing))
    return snapshot, keep_sealed(project, snapshot, sources, standing)


def changed(project: Project, **changes: Any) -> Project:
    """The project with other fields of its spec's sections; `data__feedback__use=False` goes into depth."""
    spec = yaml.safe_load(project.spec_path.read_text("utf-8"))
    for path, value in changes.items():
        *sections, name = path.split("__")
        at = spec
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    project.spec_path.write_text(yaml.safe_dump(spec), "utf-8")
    return open_project(project.spec_path)


def edit(project: Project, change: Any, name: str = "golden.csv") -> None:
    """Rewrite one of the project's files by a function of its rows."""
    with (project.root / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    write_csv(project.root / name, change(rows))


def say(project: Project, rows: list[dict[str, str]], event: str = "1", units: int = 1000, minutes: int = 0) -> None:
    """Send rows as predictions and their labels as feedback."""
    at = NOW + timedelta(minutes=minutes)
    predictions = [
        PredictionRow(row["id"], "1", row["text"], "refund", 0.5, at, f"u{n % units}", {"channel": row["channel"]})
        for n, row in enumerate(rows)
    ]
    project.database.add_predictions(delivery(f"p-{event}", "predictions", b"p"), predictions)
    votes = [FeedbackRow(row["id"], "app", at, target=row["label"]) for row in rows]
    project.database.add_feedback(delivery(f"f-{event}", "feedback", b"f"), votes)


def hows(project: Project) -> list[str]:
    return [seal.how for seal in read_standing(project).seals]


def golden_ids(snapshot: Snapshot, split: str = "golden") -> set[str]:
    table = read_table(Path(snapshot.uri), snapshot.digest)
    return {name for name, at in zip(values(table, "id"), values(table, "split"), strict=True) if at == split}


def test_the_first_turn_seals_and_the_same_set_passes(project: Project) -> None:
    snapshot, _ = see(project)
    assert len(read_standing(project).rows) == snapshot.rows["golden"] == 400
    assert see(project)[0] == snapshot
    edit(project, lambda rows: rows[::-1])
    see(project)
    assert hows(project) == ["created"]


def test_rows_that_the_source_adds_are_sealed_with_the_reason(project: Project) -> None:
    see(project)
    edit(project, lambda rows: rows + messages(20, seed=5))
    snapshot, change = see(project)
    assert (snapshot.rows["golden"], len(change.added)) == (420, 20)
    first, second = read_standing(project).seals
    assert (second.how, second.parent, second.rows, second.removed) == ("source", first.digest, 420, ())
    edit(project, lambda rows: rows[:400])
    with pytest.raises(GoldenError, match=r"420 rows that are sealed \(seal 2\), 20 gone"):
        see(project)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[3:], "3 gone (e.g. row 2-0, 2-1, 2-2)"),
        (lambda rows: [{**rows[0], "label": "praise" if rows[0]["label"] != "praise" else "refund"}, *rows[1:]],
         "1 edited (e.g. row 2-0)"),
        (lambda rows: [{**rows[0], "text": rows[0]["text"] + " thanks"}, *rows[2:]],
         "1 gone (e.g. row 2-1) and 1 edited (e.g. row 2-0)"),
    ],
)  # fmt: skip
def test_lost_and_edited_rows_are_refused_until_accepted(project: Project, change: Any, told: str) -> None:
    see(project)
    edit(project, change)
    for attempt in (see, lambda project: refresh_golden(project, accept=False)):
        with pytest.raises(GoldenError) as caught:
            attempt(project)
        assert told in str(caught.value)
        assert "`ratchet golden refresh --accept`" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert hows(project) == ["created"]
    accepted = refresh_golden(project, accept=True)
    assert accepted["seal"]["how"] == "accepted"
    assert accepted["removed"] + accepted["edited"] > 0
    see(project)
    assert hows(project) == ["created", "accepted"]


def test_a_row_moved_into_train_is_refused(project: Project) -> None:
    see(project)
    moved = messages(400, seed=2)[:1]
    edit(project, lambda rows: rows[1:])
    edit(project, lambda rows: rows + moved, "train.csv")
    with pytest.raises(GoldenError, match=r"1 gone \(e\.g\. row 2-0\)"):
        see(project)


def test_other_ids_of_the_same_rows_pass(project: Project) -> None:
    see(project)
    edit(project, lambda rows: [{**row, "id": f"new-{row['id']}"} for row in rows])
    _, change = see(project)
    assert change == GoldenChange()
    assert hows(project) == ["created", "source"]
    assert all(name.startswith("new-") for name in read_standing(project).rows)


def test_feedback_joins_and_leaves_only_when_its_users_take_it_back(project: Project) -> None:
    see(project)
    rows = messages(100, seed=7)
    say(project, rows)
    snapshot, change = see(project)
    assert 20 < len(change.added) < 60 and all(row.from_feedback for row in change.added)
    assert read_standing(project).seals[-1].drawn == len(change.added)
    taken_back = change.added[0].id.removeprefix("feedback-")
    row = next(row for row in rows if row["id"] == taken_back)
    other = "praise" if row["label"] != "praise" else "refund"
    late = FeedbackRow(taken_back, "app", NOW + timedelta(days=1), target=other)
    project.database.add_feedback(delivery("later", "feedback", b"l"), [late])
    later, change = see(project)
    assert [before.id for before, _ in change.edited] == [f"feedback-{taken_back}"]
    bad = FeedbackRow(taken_back, "app", NOW + timedelta(days=2), score=0.0)
    project.database.add_feedback(delivery("latest", "feedback", b"l"), [bad])
    latest, change = see(project)
    assert [row.id for row in change.removed] == [f"feedback-{taken_back}"]
    assert latest.rows["golden"] == snapshot.rows["golden"] - 1 == later.rows["golden"] - 1
    assert hows(project) == ["created", "feedback", "votes", "votes"]


def test_newer_feedback_of_a_user_does_not_push_sealed_rows_out(project: Project) -> None:
    project = changed(project, feedback__harvest={"max_rows_per_unit": 10})
    say(project, messages(100, seed=7), units=10)
    snapshot, _ = see(project)
    sealed = golden_ids(snapshot)
    say(project, messages(100, seed=8), event="2", units=10, minutes=5)
    again, _ = see(project)
    assert sealed <= golden_ids(again)


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({"data__feedback__use": False}, False),
        ({"feedback__harvest": {"trust_confirmations": False}}, False),
        ({"data__feedback__golden": 0.1}, True),
        ({"data__feedback__min_rows": 5000}, True),
    ],
)
def test_what_the_spec_says_later_does_not_take_feedback_out(
    project: Project, change: dict[str, Any], passes: bool
) -> None:
    rows = messages(100, seed=7)
    say(project, rows[:50])
    predictions = [
        PredictionRow(row["id"], "1", row["text"], row["label"], 0.5, NOW, row["id"], {"channel": "chat"})
        for row in rows[50:]
    ]
    project.database.add_predictions(delivery("p-2", "predictions", b"p"), predictions)
    thumbs = [FeedbackRow(row["id"], "app", NOW, score=1.0) for row in rows[50:]]
    project.database.add_feedback(delivery("f-2", "feedback", b"f"), thumbs)
    before, _ = see(project)
    assert before.rows["golden"] > 420
    project = changed(project, **change)
    if passes:
        assert golden_ids(before) <= golden_ids(see(project)[0])
        return
    with pytest.raises(GoldenError, match=r"gone \(e\.g\. row feedback-7-"):
        see(project)
    assert refresh_golden(project, accept=True)["seal"]["how"] == "accepted"
    assert golden_ids(see(project)[0]) < golden_ids(before)


def test_where_asked_feedback_waits_outside_every_split_until_the_refresh(project: Project) -> None:
    project = changed(project, data__feedback__refresh="asked")
    see(project)
    say(project, messages(100, seed=7))
    snapshot, change = see(project)
    assert change == GoldenChange() and snapshot.waiting > 20
    assert sum(snapshot.rows.values()) + snapshot.waiting <= 1000
    status = golden_status(project)
    assert (status["waiting"], status["refresh_mode"]) == (snapshot.waiting, "asked")
    refreshed = refresh_golden(project, accept=False)
    assert refreshed["gained"] == {"feedback": snapshot.waiting, "source": 0}
    assert refreshed["seal"]["drawn"] == snapshot.waiting
    admitted = {name for name in read_standing(project).rows if name.startswith("feedback-")}
    trained = golden_ids(snapshot, "train") | golden_ids(snapshot, "select") | golden_ids(snapshot, "valid")
    assert len(admitted) == snapshot.waiting and admitted.isdisjoint(trained)
    say(project, messages(100, seed=8), event="2")
    later, change = see(project)
    assert change == GoldenChange() and later.waiting > 20
    assert admitted <= golden_ids(later)
    assert golden_status(project)["waiting"] == later.waiting
    assert hows(project) == ["created", "feedback"]


def test_a_golden_set_that_is_drawn_keeps_its_rows_while_the_source_grows(project: Project) -> None:
    everything = messages(700, seed=4)
    write_csv(project.root / "train.csv", everything[:500])
    project = changed(project, data__source={"kind": "file", "path": "train.csv"})
    first, _ = see(project)
    for rows in (550, 620, 700):
        write_csv(project.root / "train.csv", everything[:rows])
        snapshot, change = see(project)
        assert golden_ids(first) <= golden_ids(snapshot)
        assert not change.removed and not change.edited
    assert set(hows(project)[1:]) == {"source"}
    edit(project, lambda rows: [row for row in rows if row["id"] != min(golden_ids(first))], "train.csv")
    with pytest.raises(GoldenError, match="1 gone"):
        see(project)


def test_a_golden_set_by_time_moves_only_when_asked(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.data.snapshot import write_table
    from tasks.records import Table

    everything = messages(300, seed=4)

    def collect(store: Any, root: str, spec: Any) -> Table:
        """Read the source's rows with the times that it gives them."""
        import pyarrow as pa

        rows = everything[: shown[0]]
        columns = {"id": "id", "text": "text", "target": "label", "channel": "channel"}
        table = pa.table({ours: [row[theirs] for row in rows] for ours, theirs in columns.items()})
        table = table.append_column("split", [[""] * len(rows)]).append_column("source", [["x.csv"] * len(rows)])
        times = [(NOW + timedelta(hours=n)).isoformat() for n in range(len(rows))]
        path = project.root / f"rows-{len(rows)}.parquet"
        table = table.append_column("time", [times])
        return Table(str(path), write_table(table, path), len(rows))

    shown = [200]
    monkeypatch.setattr("tasks.collect.collect", collect)
    project = changed(project, data__source={"kind": "file", "path": "train.csv"}, data__time="at")
    project = changed(project, data__split={"by": "time"})
    first, _ = see(project)
    assert golden_ids(first) == {f"4-{n}" for n in range(170, 200)}
    shown[0] = 300
    grown, change = see(project)
    assert golden_ids(grown) == {f"4-{n}" for n in range(170, 300)}
    assert len(change.added) == 100
    assert refresh_golden(project, accept=True)["seal"]["how"] == "accepted"
    moved, _ = see(project)
    assert golden_ids(moved) == {f"4-{n}" for n in range(255, 300)}


def test_a_refresh_says_what_is_new_and_when_the_budget_is_restored(project: Project) -> None:
    snapshot, _ = see(project)
    take_look(project, snapshot, "candidate", "champion", ["quality"])
    status = golden_status(project)
    assert (status["budget"]["looks"], status["share_new"], status["restores_budget"]) == (1, 0.0, False)
    assert (status["rows"], status["rows_to_restore"], status["age_days"]) == (400, 400, 0)
    assert status["composition"] == {"source": 400, "feedback": 0}
    edit(project, lambda rows: rows + messages(100, seed=5))
    partly = refresh_golden(project, accept=False)
    assert (partly["share_new"], partly["restores_budget"], partly["rows_to_restore"]) == (0.2, False, 300)
    edit(project, lambda rows: rows + messages(300, seed=6))
    wholly = refresh_golden(project, accept=False)
    assert (wholly["gained"], wholly["share_new"]) == ({"source": 300, "feedback": 0}, 0.5)
    assert wholly["restores_budget"]
    snapshot, _ = see(project)
    assert take_look(project, snapshot, "another", "champion", ["quality"]).number == 1
    again = refresh_golden(project, accept=False)
    assert not again["sealed_anew"] and again["seal"]["how"] == "source"


def ratchet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["ratchet", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    told = capsys.readouterr()
    return int(stopped.value.code or 0), told.out or told.err


def test_the_commands_answer(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, told = ratchet(capsys, monkeypatch, "golden", "status", project.root)
    assert code == 0 and "no golden set is sealed yet" in told
    code, told = ratchet(capsys, monkeypatch, "golden", "refresh", project.root)
    assert code == 0 and "gained 0 from feedback and 400 from the source" in told
    code, told = ratchet(capsys, monkeypatch, "golden", "status", project.root, "--json")
    status = json.loads(told)
    assert code == 0 and status["rows"] == 400 and [s["how"] for s in status["history"]] == ["created"]
    edit(project, lambda rows: rows[1:])
    code, told = ratchet(capsys, monkeypatch, "golden", "refresh", project.root)
    assert code == 2 and told.startswith("ratchet: golden: of the 400 rows") and told.count("\n") == 1
    code, told = ratchet(capsys, monkeypatch, "golden", "refresh", project.root, "--accept", "--json")
    assert code == 0 and json.loads(told)["removed"] == 1
    code, told = ratchet(capsys, monkeypatch, "golden", "status", project.root)
    assert code == 0 and "seal 2," in told and "accepted" in told
