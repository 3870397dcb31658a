"""Golden's suspects as a stage: listed and stored, golden unharmed, and never a reason to stop."""

from pathlib import Path

import pytest

from tasks.data.cleaning.label_errors import LabelErrors
from tasks.data.cleaning.normalise import Normalise
from tasks.data.rows import make_rows
from tasks.data.snapshot import read_table, write_table
from tasks.records import Snapshot
from tasks.store import Store
from tasks.suspects import find_golden_suspects, label_step, suspects_csv
from tests.unit.test_data_label_errors import made

STEP = LabelErrors(features="ngrams")


@pytest.fixture
def snapshot(tmp_path):
    def _snapshot(texts, labels):
        golden = [("the card is broken", "card"), ("password is gone, ask me@example.com", "money")]
        table = make_rows({
            "id": [f"r{row}" for row in range(len(texts))] + ["g0", "g1"],
            "text": [*texts, *(text for text, _ in golden)], "target": [*labels, *(label for _, label in golden)],
            "split": ["train"] * len(texts) + ["golden"] * 2, "source": ["test"] * (len(texts) + 2),
        })  # fmt: skip
        path = tmp_path / "snapshot.parquet"
        return Snapshot(str(path), write_table(table, path), {}, tuple(sorted(set(labels))))

    return _snapshot


def test_suspects_are_stored_once_and_golden_stays_as_it_is(snapshot, tmp_path, monkeypatch):
    texts, labels, _ = made()
    taken, store = snapshot(texts, labels), Store(str(tmp_path / "store"))
    found = find_golden_suspects(store, taken, STEP)
    assert [(row.id, row.text, row.given, row.suggested) for row in found.first] == [
        ("g1", "password is gone, ask <EMAIL>", "money", "login")
    ]
    assert (found.rows, found.reason) == (1, "")
    assert suspects_csv(found).splitlines()[1].startswith('g1,"password is gone, ask <EMAIL>",money,login,0.')
    read_table(Path(taken.uri), taken.digest)
    monkeypatch.setattr("tasks.suspects.list_suspects", None)  # a second call only reads
    assert find_golden_suspects(store, taken, STEP) == found


def test_what_cleaning_cannot_do_is_a_reason_and_no_error(snapshot, tmp_path):
    taken = snapshot(["one", "two", "three"], ["a", "b", "c"])
    found = find_golden_suspects(Store(str(tmp_path / "store")), taken, STEP)
    assert (found.rows, found.first) == (0, ())
    assert "3 different targets" in found.reason
    assert suspects_csv(found).splitlines() == ["id,text,given,suggested,confidence,suggested_confidence"]


def test_the_step_is_the_first_that_the_spec_names():
    assert label_step([Normalise(), STEP, LabelErrors()]) == STEP
    assert label_step([Normalise()]) is None
