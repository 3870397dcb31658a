"""Texts without labels: gathered from production's real database and the spec, never near an evaluation row."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from feedback.records import PredictionRow, delivery
from feedback.store import open_store
from flows.gather import ask_texts, gather_texts, plain_stages
from flows.outcome import inputs_digest
from flows.spec import Spec
from tasks.data.assemble import draw_feedback
from tasks.data.rows import make_rows, values
from tasks.data.snapshot import read_table, write_table
from tasks.errors import DataError
from tasks.records import Snapshot
from tasks.search.space import Search
from tasks.specs import DataSpec, FeedbackSplit, FileSource, Lever, Recipe
from tasks.store import Store
from tasks.train.methods import Adapt, Distil, FineTune

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ADAPTING = Recipe(train=FineTune(adapt=Adapt()))
GOLDEN = "where is the parcel that I ordered on the first of May"


@pytest.fixture
def project(tmp_path, sqlite_url):
    """A project with a snapshot and a real, empty database."""
    data = DataSpec(FileSource(path="rows.csv"), feedback=FeedbackSplit(golden=0.001, select=0.001, valid=0.001))
    database = open_store(sqlite_url)
    yield SimpleNamespace(root=tmp_path, store=Store(str(tmp_path / "store")), database=database,
                          spec=Spec("texts", data))  # fmt: skip
    database.close()


@pytest.fixture
def snapshot(tmp_path):
    rows = {"id": ["t", "v", "s", "g"], "text": ["my money back", "valid text here", "select text here", GOLDEN],
            "target": ["a"] * 4, "split": ["train", "valid", "select", "golden"], "source": ["test"] * 4}  # fmt: skip
    path = tmp_path / "snapshot.parquet"
    return Snapshot(str(path), write_table(make_rows(rows), path), dict.fromkeys(rows["split"], 1), ("a",))


def predicted(project, *texts):
    rows = [
        PredictionRow(f"p-{hashlib.sha256(text.encode()).hexdigest()[:8]}", "1", text, "a", 0.5,
                      NOW + timedelta(minutes=place))
        for place, text in enumerate(texts)
    ]  # fmt: skip
    body = repr(rows).encode()
    project.database.add_predictions(delivery(hashlib.sha256(body).hexdigest(), "predictions", body), rows)


def gathered(project, snapshot, recipe=ADAPTING, levers=()):
    table = gather_texts(plain_stages(), project, snapshot, recipe, levers)
    return table and values(read_table(Path(table.uri), table.digest), "text")


def with_data(project, **changes):
    project.spec = replace(project.spec, data=replace(project.spec.data, **changes))


def test_production_texts_stand_once_and_scrubbed(project, snapshot):
    predicted(project, "when does it come", "When does  it come", "write to jane.doe@example.com", " ")
    first, second = gathered(project, snapshot)
    assert first == "When does  it come"
    assert second.startswith("write to <")


def test_nothing_equals_or_nearly_repeats_an_evaluation_row(project, snapshot):
    predicted(project, GOLDEN, GOLDEN.upper(), GOLDEN + "!", "valid text here", "select text here", "my money back")
    assert gathered(project, snapshot) == ["my money back"]


def test_texts_that_feedback_would_draw_for_evaluation_are_left_out(project, snapshot):
    with_data(project, feedback=FeedbackSplit(golden=0.3, select=0.2, valid=0.1))
    predicted(project, *(f"question {number * 7919} of {number * 104729}" for number in range(60)))
    stored = project.database.window()
    rows = make_rows({"id": [f"feedback-{row.prediction_id}" for row in stored],
                      "text": [row.text for row in stored], "split": [""] * 60})  # fmt: skip
    drawn = draw_feedback(rows, project.spec.data, {}, frozenset())
    pairs = zip(values(drawn, "text"), values(drawn, "split"), strict=True)
    expected = [text for text, split in pairs if split == "train"]
    assert 0 < len(expected) < 60
    assert gathered(project, snapshot) == sorted(expected)
    with_data(project, feedback=FeedbackSplit(use=False))
    assert len(gathered(project, snapshot)) == 60


def test_equal_texts_have_an_equal_digest_whatever_order_they_came_in(project, snapshot):
    def found():
        return gather_texts(plain_stages(), project, snapshot, ADAPTING)

    predicted(project, "one text", "another one")
    first = found()
    predicted(project, "another one", "zzz", "one text")
    second = found()
    assert (first.rows, second.rows) == (2, 3)
    assert found() == second
    digests = [inputs_digest(project, snapshot, table) for table in (None, first, second)]
    assert len(set(digests)) == 3
    assert inputs_digest(project, snapshot, second) == digests[2]


def test_only_the_newest_predictions_are_read(project, snapshot):
    predicted(project, "the oldest", "the middle one", "the newest of all")
    with_data(project, production_texts=2)
    assert gathered(project, snapshot) == ["the middle one", "the newest of all"]
    with_data(project, production_texts=0)
    assert gathered(project, snapshot) is None


def test_the_spec_names_further_texts(project, snapshot, tmp_path):
    (tmp_path / "more.csv").write_text(f"text,other\nfrom a file,1\n{GOLDEN},2\n", "utf-8")
    predicted(project, "from production")
    with_data(project, unlabelled=FileSource(path="more.csv"))
    assert gathered(project, snapshot) == ["from a file", "from production"]
    with_data(project, unlabelled=FileSource(path="gone.csv"))
    with pytest.raises(DataError, match=r"gone\.csv"):
        gathered(project, snapshot)


@pytest.mark.parametrize(
    ("recipe", "levers", "asked"),
    [
        (Recipe(), (), False),
        (ADAPTING, (), True),
        (Recipe(), (Lever("a", train=FineTune(adapt=Adapt())),), True),
        (Recipe(), (Lever("d", train=FineTune(distil=Distil())),), True),
        (Recipe(), (Lever("d", train=FineTune(distil=Distil(unlabelled=False))), Lever("c", compress=())), False),
        (Recipe(), (Lever("s", search=Search(trials=2, space={"adapt": (None, {"epochs": 1})})),), True),
        (Recipe(), (Lever("s", search=Search(trials=2)),), False),
    ],
)
def test_texts_are_gathered_only_where_a_training_asks(project, snapshot, recipe, levers, asked):
    assert ask_texts(recipe, levers) is asked
    predicted(project, "a text of production")
    assert (gathered(project, snapshot, recipe, levers) is not None) is asked
