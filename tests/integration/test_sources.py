"""Sources, each for real: files of every kind, a local dataset folder, SQLite; and every bad input."""

import csv
import io
import json
import sqlite3
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from feedback.harvest import HarvestedRow
from tasks.data.reading.batches import Columns
from tasks.data.reading.files import read_file
from tasks.data.reading.sources import FileSource, HubSource, SqlSource, hash_files, read_source
from tasks.data.rows import mend_text, values
from tasks.data.snapshot import read_table, write_table
from tasks.errors import DataError, SpecError

CSV = 'text,label,channel\n"my card, please",card,chat\nhello,greeting,mail\n'


def read(root: Path, source: Any = None, **columns: Any) -> pa.Table:
    source = source or FileSource(path=next(entry.name for entry in root.iterdir()))
    return read_source(source, **{"text": "text", "target": "label", **columns}, root=root)


def write(root: Path, name: str, content: str | bytes) -> Path:
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV.replace("\n", "\r\n") + "\r\n"),
        ("a.tsv", "text\tlabel\tchannel\nmy card, please\tcard\tchat\nhello\tgreeting\tmail\n"),
        ("a.jsonl", '{"text": "my card, please", "label": "card", "channel": "chat"}\n\n'
                    '{"text": "hello", "label": "greeting", "channel": "mail", "more": [1]}\n'),
    ],
)  # fmt: skip
def test_text_files_are_read(tmp_path: Path, name: str, content: str) -> None:
    table = read(write(tmp_path, name, content), slices=["channel"])
    assert table.column_names == ["id", "text", "target", "split", "source", "line", "channel"]
    assert values(table, "line") == (["1", "3"] if name == "a.jsonl" else ["2", "3"])
    assert table.drop(["id", "line"]).to_pylist() == [
        {"text": "my card, please", "target": "card", "split": "", "source": f"file:{name}", "channel": "chat"},
        {"text": "hello", "target": "greeting", "split": "", "source": f"file:{name}", "channel": "mail"},
    ]


def test_parquet_is_read_with_numbers_as_text(tmp_path: Path) -> None:
    columns = {"text": ["a", None, "c"], "label": [3, 4.0, 5.5], "id": [10, 11, 12], "unused": [b"x", b"y", b"z"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = read(tmp_path, labelled=False)
    assert (values(table, "id"), values(table, "text")) == (["10", "11", "12"], ["a", "", "c"])
    assert (values(table, "target"), values(table, "line")) == (["3", "4", "5.5"], ["1", "2", "3"])
    with pytest.raises(DataError, match=r"row 3: column 'label' holds the number 5\.5: a score is no label; name"):
        read(tmp_path)


def test_a_source_of_many_batches_is_read_whole_with_the_place_of_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("batches", "files", "hub"):
        monkeypatch.setattr(f"tasks.data.reading.{module}.BATCH_ROWS", 7)
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(50)]
    write(tmp_path, "a.csv", "text,label\n" + "".join(f"{row['text']},{row['label']}\n\n" for row in rows))
    write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("create table rows (text text, label text)")
        connection.executemany("insert into rows values (?, ?)", [tuple(row.values()) for row in rows])
    connection.close()
    query = SqlSource(url="sqlite:///a.db", query="select text, label from rows order by rowid")
    for source in (FileSource(path="a.csv"), FileSource(path="a.jsonl"), FileSource(path="a.parquet"), query):
        table = read(tmp_path, source)
        assert table.select(["text", "target"]).rename_columns(["text", "label"]).to_pylist() == rows
        assert table.column("text").num_chunks == 8
        step, first = (2, 2) if source == FileSource(path="a.csv") else (1, 1)
        assert values(table, "line") == [str(first + step * n) for n in range(50)]


def test_a_json_column_may_begin_late_and_is_missed_only_at_the_end(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", '{"other": 1}\n\n{"text": "x", "label": "a"}\n{"label": "b", "text": "y", "id": 7}\n')
    table = read(tmp_path, FileSource(path="a.jsonl"))
    assert (values(table, "text"), values(table, "line")) == (["x", "y"], ["3", "4"])
    with pytest.raises(DataError, match=r"no column 'labels' .data.target.; did you mean 'label'"):
        read(tmp_path, FileSource(path="a.jsonl"), target="labels")


def test_rows_carry_their_time_and_group_where_columns_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "text,label,at,user\nx,a,2026-03-01T12:00:00+02:00, u1 \ny,b,,\n,,never,\n")
    with pytest.raises(DataError, match=r"a\.csv line 4: column 'at' .data.time. holds 'never', which is no time; wri"):
        read(tmp_path, time="at")
    write(tmp_path, "a.csv", "text,label,at,user\nx,a,2026-03-01T12:00:00+02:00, u1 \ny,b,,\n")
    table = read(tmp_path, time="at", group="user", slices=["user"])
    assert table.column_names[5:] == ["line", "time", "group", "user"]
    assert (values(table, "time"), values(table, "group")) == (["2026-03-01T10:00:00+00:00", ""], ["u1", ""])
    with pytest.raises(DataError, match=r"no column 'whn' .data.time.; it has 'text'"):
        read(tmp_path, time="whn")
    with pytest.raises(SpecError, match="'group' is a name that Ratchet uses itself"):
        read(tmp_path, slices=["group"])


def test_times_of_every_format_agree(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 10, 0, 0, 250_000, UTC)
    stamps = pa.array([moment, moment], pa.timestamp("ns", "Europe/Berlin"))
    pq.write_table(pa.table({"text": ["x", "y"], "label": ["a", "b"], "at": stamps}), tmp_path / "a.parquet")
    lines = [{"text": "x", "label": "a", "at": 1772359200.25}, {"text": "y", "label": "b", "at": "1772359200250"}]
    write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    for name in ("a.parquet", "a.jsonl"):
        found = values(read(tmp_path, FileSource(path=name), time="at"), "time")
        assert found == ["2026-03-01T10:00:00.250000+00:00"] * 2


def test_named_splits_keep_their_names(tmp_path: Path) -> None:
    write(write(tmp_path, "a.csv", CSV), "b.csv", CSV)
    table = read(tmp_path, FileSource(splits={"train": "a.csv", "golden": "b.csv"}))
    assert values(table, "split") == ["train"] * 2 + ["golden"] * 2
    assert len(set(values(table, "id"))) == 4


def test_ids_follow_content_not_place(tmp_path: Path) -> None:
    first = read(write(tmp_path, "a.csv", "text,label\nx,a\nx,a\ny,b\n"))
    second = read(write(tmp_path, "a.csv", "text,label\nnew,a\ny,b\nx,a\nx,a\n"))
    assert len(set(values(first, "id"))) == 3
    assert set(values(first, "id")) < set(values(second, "id"))


@pytest.mark.parametrize("ids", [("7", "8", True), ("7", "7", False), ("7", "", False)])
def test_own_ids_are_used_where_unique(tmp_path: Path, ids: tuple[str, str, bool]) -> None:
    table = read(write(tmp_path, "a.csv", f"id,text,label\n{ids[0]},x,a\n{ids[1]},y,b\n"))
    assert (values(table, "id") == [*ids[:2]]) is ids[2]
    assert len(set(values(table, "id"))) == 2


def test_a_local_dataset_folder_is_read_with_label_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["ham", "spam"])}
    )
    (tmp_path / "mails").mkdir()
    for split in ("train", "test"):
        data = datasets.Dataset.from_dict({"text": ["hi", "win!"], "label": [0, 1]}, features=features)
        data.to_parquet(tmp_path / "mails" / f"{split}.parquet")
    table = read(tmp_path, HubSource(dataset="mails", splits={"train": "train", "golden": "test"}))
    assert values(table, "target") == ["ham", "spam"] * 2
    assert values(table, "split") == ["train", "train", "golden", "golden"]
    assert values(table, "source") == ["hub:mails"] * 4
    with pytest.raises(DataError, match="dataset mails split other: cannot be loaded"):
        read(tmp_path, HubSource(dataset="mails", splits={"train": "other"}))
    with pytest.raises(DataError, match="no column 'body'"):
        read(tmp_path, HubSource(dataset="mails"), text="body")


def test_a_hub_dataset_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="without a network, give a local folder"):
        read(tmp_path, HubSource(dataset="nobody/nothing"))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("create table mails (body text, label integer, kind text)")
        connection.executemany("insert into mails values (?, ?, ?)", [("hi", 1, "in"), ("bye 12:30", 2, "out")])
    connection.close()
    return tmp_path


def test_queries_are_read(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_DB", "sqlite:///app.db")
    query = "select body as text, label from mails where body not like '%12:31%'"
    table = read(database, SqlSource(url="${MAIL_DB}", query=query))
    assert (values(table, "text"), values(table, "target")) == (["hi", "bye 12:30"], ["1", "2"])
    assert values(table, "line") == ["1", "2"]
    splits = {"train": f"{query} and kind = 'in'", "golden": f"{query} and kind = 'out'"}
    assert values(read(database, SqlSource(url="sqlite:///app.db", splits=splits)), "split") == ["train", "golden"]


@pytest.mark.parametrize(
    ("url", "query", "message"),
    [
        ("${NOT_SET_ANYWHERE}", "select 1", "environment variable NOT_SET_ANYWHERE is not set"),
        ("sqlite:///missing.db", "select 1", r"missing\.db: no such database file"),
        ("sqlite:///app.db", "select absent", "database refused .OperationalError: .*no such column"),
        ("sqlite:///app.db", "delete from mails", "returns no rows; expected a SELECT"),
        (
            "sqlite:///app.db",
            "select body as txt, label from mails",
            "no column 'text' .data.text.; did you mean 'txt'",
        ),
        ("sqlite:///app.db", "select body as text, label from mails where 0", "no rows"),
        ("nonsense", "select 1", "the database refused .ArgumentError"),
        ("oracle://me:secret@h/d", "select 1", "the database refused .ModuleNotFoundError"),
    ],
)
def test_a_bad_query_is_one_clear_line(database: Path, url: str, query: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(database, SqlSource(url=url, query=query))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(read(database, SqlSource(url="sqlite:///app.db", query="select body as text, label from mails"))) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty; expected a header"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.jsonl", "\n", "no rows"),
        ("a.csv", "txt,label\nx,a\n", r"a\.csv: no column 'text' .data\.text.; did you mean 'txt'"),
        ("a.csv", "a,b\nx,a\n", "it has 'a', 'b'"),
        ("a.csv", "text,text\nx,a\n", "line 1: a column name stands twice"),
        ("a.csv", "\n\ntext,text\nx,a\n", "line 3: a column name stands twice"),
        ("a.csv", "text,label\nx,a\n\"two\nlines\",b\ny,a,more\n", "line 5: 3 fields, expected 2"),
        ("a.csv", "text,label\r\nx,a\r\ny,a,more\r\n", "line 3: 3 fields, expected 2"),
        ("a.csv", "text,label\rx,a\ry,b\r", "line 1: not CSV .new-line.* lines end in LF or CRLF"),
        ("a.csv", "text,label\nx,\ny,\n", "line 2: column 'label' is empty .text 'x'., and so it is on all 2 rows"),
        ("a.csv", "text,label\nx,0.25\ny,0.5\nz,1\n", "line 2: column 'label' holds 3 different numbers on 3 rows"),
        ("a.csv", "text,label\n" + "".join(f"t,{n}\n" for n in range(60)), "holds 60 different numbers on 60 rows"),
        ("a.csv", "text,label\n" + "".join(f"t,{n % 60}.5\n" for n in range(900)), "60 different numbers on 900 rows"),
        ("a.jsonl", '{"text": "x", "label": 3}\n{"text": "y", "label": 2.5}\n', "line 2: column 'label' holds the num"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', "line 1: column 'label' is empty .text 'x'.; give"),
        ("a.jsonl", '{"text": "x", "label": -Infinity}\n', "line 1: column 'label' holds -inf; expected text or a fin"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": {}, "label": "b"}\n', "line 2: column 'text' holds a dict"),
        ("a.jsonl", b'{"text": "x\0", "label": "a"}\n', "line 1: not JSON"),
        ("a.csv", "text,label\nx\n", "line 2: 1 fields, expected 2"),
        ("a.csv", b"text,label\nx,a\nsch\xf6n,a\n", "line 3: byte 3 is not UTF-8"),
        ("a.csv", "text,label\nx,a\n".encode("utf-16"), "line 1: byte 0 is not UTF-8"),
        ("a.csv", "text,label\nx,a\n\"open,a\n", "line 3: not CSV"),
        ("a.csv", "text,label\nx,a\nto me@x.org, \n", "line 3: column 'label' is empty .text 'to <EMAIL>'"),
        ("a.csv", "text,label\nx,a\n" + "y" * 10_000_000 + ",b\n", "line 3: not CSV .field larger than field limit"),
        ("a.jsonl", '{"text": "' + "é" * 600_000 + '", "label": "a"}', "line 1: column 'text' holds 1200000 bytes"),
        ("a.jsonl", '{"text": "x", "label": "a"}\n{"text": "y"}\n', "line 2: column 'label' is empty"),
        ("a.jsonl", '{"text": "x", "label": ["a"]}\n', "line 1: column 'label' holds a list"),
        ("a.jsonl", '{"text": "x"\n', "line 1: not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.json", '["x"]\n', "line 1: a JSON list; expected one object per line"),
        ("a.parquet", b"PAR1 nonsense", "not Parquet or damaged"),
        ("a.xlsx", b"PK", r"unknown kind of file '\.xlsx'; expected one of \.csv"),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_labels_that_differ_in_type_only_are_one_label(tmp_path: Path) -> None:
    labels = [3, "3", 3.0, " 3 ", True, "true", "2.5"]
    write(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": "x", "label": label}) for label in labels))
    assert values(read(tmp_path), "target") == ["3"] * 4 + ["true"] * 2 + ["2.5"]


def test_numbers_may_be_labels_where_they_repeat(tmp_path: Path) -> None:
    rows = "".join(f"t{n},{n % 77}\nu{n},{n % 77}\n" for n in range(77))
    assert len(set(values(read(write(tmp_path, "a.csv", "text,label\n" + rows)), "target"))) == 77
    rows = "".join(f"t{n},{n % 10 / 2}\n" for n in range(100))
    assert len(set(values(read(write(tmp_path, "a.csv", "text,label\n" + rows)), "target"))) == 10


def test_a_column_that_stands_twice_is_refused(database: Path) -> None:
    with pytest.raises(DataError, match=r"query: column 'text' .data.text. stands twice; rename one"):
        read(database, SqlSource(url="sqlite:///app.db", query="select body as text, kind as text, label from mails"))


def test_bytes_from_a_database_are_refused(database: Path) -> None:
    with pytest.raises(DataError, match="query row 1: column 'text' holds a bytes"):
        read(database, SqlSource(url="sqlite:///app.db", query="select cast(body as blob) as text, label from mails"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(5, "Input/output error")

    write(tmp_path, "a.jsonl", '{"text": "x", "label": "a"}')
    monkeypatch.setattr(Path, "open", refuse)
    for read_it in (lambda: read(tmp_path), lambda: hash_files(FileSource(path="a.jsonl"), tmp_path)):
        with pytest.raises(DataError, match=r"a\.jsonl: cannot be read .*Input/output error"):
            read_it()


@pytest.mark.parametrize("row", ["x", "x,", "x,a"])
def test_the_limit_of_csv_fields_is_put_back_however_reading_ends(tmp_path: Path, row: str) -> None:
    limit = csv.field_size_limit()
    try:
        read(write(tmp_path, "a.csv", f"text,label\n{row}\n"))
        assert row == "x,a"
    except DataError:  # whose traceback holds the reader
        assert row != "x,a"
        assert csv.field_size_limit() == limit
    assert csv.field_size_limit() == limit


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"trian\.csv: no such file; did you mean 'train\.csv'"):
        read(write(tmp_path, "train.csv", CSV), FileSource(path="trian.csv"))


def test_reserved_slices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'source' is a name that Ratchet uses itself"):
        read(write(tmp_path, "a.csv", CSV), slices=["source"])


def test_empty_rows_are_skipped_and_empty_texts_kept(tmp_path: Path) -> None:
    assert values(read(write(tmp_path, "a.csv", "text,label\n,\n\n ,a\n")), "text") == [" "]


def test_nul_and_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", b"text,label\nnul\0here,a\n")
    assert values(read(tmp_path), "text") == ["nul\ufffdhere"]
    write(tmp_path, "b.jsonl", '{"text": "lone \\ud800 \\u0000", "label": "pair \\ud83d\\ude00"}')
    table = read(tmp_path, FileSource(path="b.jsonl"))
    assert (values(table, "text"), values(table, "target")) == (["lone \ufffd \ufffd"], ["pair \U0001f600"])


CELLS = st.text(st.characters(codec="utf-8") | st.sampled_from("\n\r,;\"'\0\ufeff"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_any_csv_is_read_with_the_line_of_each_row(tmp_path: Path, pairs: list[tuple[str, str]], end: str) -> None:
    written, lines = io.StringIO(newline=""), []
    writer = csv.writer(written, lineterminator=end, quoting=csv.QUOTE_ALL)
    for pair in (("text", "label"), *((text, f"label {label}.") for text, label in pairs)):
        lines.append(str(1 + written.getvalue().count("\n")))
        writer.writerow(pair)
    table = read(write(tmp_path, "a.csv", written.getvalue()), FileSource(path="a.csv"))
    assert values(table, "text") == [mend_text(text) for text, _ in pairs]
    assert values(table, "target") == [mend_text(f"label {label}.") for _, label in pairs]
    assert values(table, "line") == lines[1:]


def test_no_more_is_read_than_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.reading.batches.BATCH_ROWS", 5)
    write(tmp_path, "a.csv", "text,label\n" + "x,a\n" * 9 + "x\n")
    write(tmp_path, "a.jsonl", '{"text": "x", "label": "a"}\n' * 9 + "{")
    for name in ("a.csv", "a.jsonl"):
        batches = read_file(tmp_path / name, Columns("text", "label")).batches
        assert len(next(batches).places) == 5
        with pytest.raises(DataError, match=r"line 1[01]: "):
            next(batches)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.db"])
def test_records_of_one_batch_are_python_objects_at_a_time(tmp_path: Path, name: str) -> None:
    def peak(rows: int) -> int:
        records = [{"text": f"text {n} " * 5, "label": "ab"[n % 2]} for n in range(rows)]
        table = pa.Table.from_pylist(records)
        if name == "a.csv":
            pa_csv.write_csv(table, tmp_path / name)
        elif name == "a.jsonl":
            write(tmp_path, name, "\n".join(map(json.dumps, records)))
        elif name == "a.parquet":
            pq.write_table(table, tmp_path / name)
        else:
            with sqlite3.connect(tmp_path / name) as connection:
                connection.execute("drop table if exists rows")
                connection.execute("create table rows (text text, label text)")
                connection.executemany("insert into rows values (?, ?)", [tuple(row.values()) for row in records])
            connection.close()
        source = SqlSource(url="sqlite:///a.db", query="select * from rows") if name == "a.db" else None
        del records, table
        tracemalloc.start()
        try:
            assert read(tmp_path, source or FileSource(path=name)).num_rows == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1000)  # what is imported and cached
    assert peak(60_000) < 1.5 * peak(20_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1, max_size=5))
def test_any_json_text_is_read_and_stored(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"text": text, "label": f"{label}."}) for text, label in pairs]
    table = read(write(tmp_path, "a.jsonl", "\n".join(lines)), FileSource(path="a.jsonl"))
    digest = write_table(table, tmp_path / "stored.parquet")
    assert read_table(tmp_path / "stored.parquet", digest).equals(table)
    assert table.num_rows == len(pairs)


def test_harvested_rows_have_the_columns_of_all_rows() -> None:
    from flows.gather import as_row

    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    row = HarvestedRow("p1", "x", "a", {"channel": "chat", "text": "no text", "time": "no time"}, moment, "u1")
    expected = {"id": "feedback-p1", "text": "x", "target": "a", "channel": "chat"}
    assert as_row(row, scrub=False) == {**expected, "time": "2026-03-01T10:00:00+00:00", "group": "u1"}
    assert as_row(replace(row, unit=None), scrub=False)["group"] == ""


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (FileSource, {}, "exactly one of `path` and `splits`"),
        (FileSource, {"path": "a", "splits": {"train": "b"}}, "exactly one of `path` and `splits`"),
        (FileSource, {"splits": {"golden": "b"}}, "must name `train`"),
        (FileSource, {"splits": {"train": "a", "test": "b"}}, "'train', 'valid', 'select' or 'golden'"),
        (SqlSource, {"url": "sqlite://"}, "exactly one of `query` and `splits`"),
        (HubSource, {"dataset": "d", "splits": {}}, "splits"),
        (HubSource, {"dataset": "d", "name": "x"}, "Unexpected keyword argument"),
    ],
)
def test_a_source_is_validated_at_the_door(kind: Any, value: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(kind).validate_python(value)
