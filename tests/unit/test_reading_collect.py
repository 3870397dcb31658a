"""Collecting: an unchanged file is hashed and not parsed; a changed byte, column or path is; nothing stale is kept."""

import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tasks.collect
from tasks.collect import collect, collect_feedback
from tasks.data.reading.sources import FileSource, SqlSource
from tasks.data.rows import values
from tasks.data.snapshot import read_table
from tasks.errors import DataError
from tasks.specs import DataSpec
from tasks.store import Store

SPEC = DataSpec(source=FileSource(path="a.csv"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were really read, in their order."""
    done = []
    read_source = tasks.collect.read_source

    def watched(source: Any, **named: Any) -> Any:
        done.append(getattr(source, "path", None) or source.kind)
        return read_source(source, **named)

    monkeypatch.setattr(tasks.collect, "read_source", watched)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text,label,kind,at\nx,a,k,2026-01-01\ny,b,l,2026-01-02\n")
    return done


def test_an_unchanged_file_is_not_parsed_again(tmp_path: Path, store: Store, reads: list[str]) -> None:
    first = collect(store, str(tmp_path), SPEC)
    os.utime(tmp_path / "a.csv", (1, 1))
    assert collect(store, str(tmp_path), SPEC) == first
    assert collect(store, str(tmp_path), replace(SPEC, leakage="drop", out_of_scope="none")) == first
    assert reads == ["a.csv"]
    assert values(read_table(Path(first.uri), first.digest), "text") == ["x", "y"]


@pytest.mark.parametrize(
    "change",
    [
        {"source": FileSource(path="b.csv")},
        {"source": FileSource(splits={"train": "a.csv"})},
        {"text": "kind"},
        {"target": "kind"},
        {"slices": ("kind",)},
        {"time": "at"},
        {"group": "kind"},
    ],
)
def test_another_path_or_column_is_read(tmp_path: Path, store: Store, reads: list[str], change: dict[str, Any]) -> None:
    first = collect(store, str(tmp_path), SPEC)
    second = collect(store, str(tmp_path), replace(SPEC, **change))
    assert second.digest != first.digest
    assert collect(store, str(tmp_path), SPEC) == first
    assert len(reads) == 2


def test_the_order_of_the_splits_counts(tmp_path: Path, store: Store, reads: list[str]) -> None:
    forth = replace(SPEC, source=FileSource(splits={"train": "a.csv", "golden": "b.csv"}))
    back = replace(SPEC, source=FileSource(splits={"golden": "b.csv", "train": "a.csv"}))
    assert collect(store, str(tmp_path), forth).digest != collect(store, str(tmp_path), back).digest
    assert len(reads) == 2


def test_a_changed_byte_is_read_and_the_old_bytes_are_remembered(
    tmp_path: Path, store: Store, reads: list[str]
) -> None:
    first = collect(store, str(tmp_path), SPEC)
    before = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").write_bytes(before.replace(b"y,b", b"z,b"))
    second = collect(store, str(tmp_path), SPEC)
    assert values(read_table(Path(second.uri), second.digest), "text") == ["x", "z"]
    (tmp_path / "a.csv").write_bytes(before)
    assert collect(store, str(tmp_path), SPEC) == first
    assert len(reads) == 2


def test_changed_code_reads_again(
    tmp_path: Path, store: Store, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = collect(store, str(tmp_path), SPEC)
    monkeypatch.setattr("tasks.store.code_digest", lambda stage: "other")
    assert collect(store, str(tmp_path), SPEC) == first
    assert len(reads) == 2


@pytest.mark.parametrize("lost", ["folder", "file"])
def test_rows_that_are_gone_from_the_store_are_read_again(
    tmp_path: Path, store: Store, reads: list[str], lost: str
) -> None:
    first = collect(store, str(tmp_path), SPEC)
    if lost == "folder":
        shutil.rmtree(Path(first.uri).parent)
    else:
        Path(first.uri).unlink()
    for _ in range(2):
        assert collect(store, str(tmp_path), SPEC) == first
        assert read_table(Path(first.uri), first.digest).num_rows == 2
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_kept_under_no_hash(
    tmp_path: Path, store: Store, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_source = tasks.collect.read_source

    def late(*arguments: Any, **named: Any) -> Any:
        (tmp_path / "b.csv").write_text("text,label\nlate,a\n")
        return read_source(*arguments, **named)

    spec = replace(SPEC, source=FileSource(splits={"train": "a.csv", "golden": "b.csv"}))
    with monkeypatch.context() as writing:
        writing.setattr(tasks.collect, "read_source", late)
        with pytest.raises(DataError, match=r"b\.csv: the file changed while it was read; run again"):
            collect(store, str(tmp_path), spec)
    assert not [*Path(store.root).glob("*/*/record.json")]
    assert collect(store, str(tmp_path), spec).rows == 3


def test_a_missing_file_and_a_bad_row_are_said_each_time(tmp_path: Path, store: Store, reads: list[str]) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx\n")
    for _ in range(2):
        with pytest.raises(DataError, match=r"a\.csv line 2: 1 fields, expected 2"):
            collect(store, str(tmp_path), SPEC)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(DataError, match=r"a\.csv: no such file; did you mean 'b\.csv'"):
        collect(store, str(tmp_path), SPEC)


def test_a_database_is_read_each_time(tmp_path: Path, store: Store, reads: list[str]) -> None:
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("create table rows (text text, label text)")
    connection.execute("insert into rows values ('x', 'a')")
    connection.commit()
    connection.close()
    spec = replace(SPEC, source=SqlSource(url="sqlite:///a.db", query="select * from rows"))
    assert collect(store, str(tmp_path), spec) == collect(store, str(tmp_path), spec)
    assert reads == ["sql", "sql"]


def test_feedback_is_stored_with_the_columns_asked_for(store: Store) -> None:
    rows = [
        {"id": "1", "text": "x", "target": "a", "time": "2026-01-01T00:00:00+00:00", "group": "u1", "channel": "chat"},
        {"id": "2", "text": "y", "target": "b", "time": "2026-01-01T00:00:01+00:00", "group": ""},
    ]
    stored = collect_feedback(store, rows, ("time", "channel"))
    table = read_table(Path(stored.uri), stored.digest)
    assert table.column_names == ["id", "text", "target", "time", "channel", "split", "source"]
    assert (values(table, "channel"), values(table, "source")) == (["chat", ""], ["feedback"] * 2)
    assert values(table, "time") == [row["time"] for row in rows]
