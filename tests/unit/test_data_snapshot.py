"""Snapshots: assembly, the checks that refuse one, and the digest that names one."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.rows import SPLITS, make_rows, mend_text, values, with_values
from tasks.data.snapshot import digest_table, make_snapshot_table, read_table, write_table
from tasks.errors import ArtifactError, DataError, StorageError
from tests.unit.data_rows import rows


def whole(targets: str = "abababab") -> pa.Table:
    """Two rows of each split."""
    return rows([f"text {n}" for n in range(8)], list(targets), [*SPLITS, *SPLITS])


def test_tables_are_joined_with_every_slice_column() -> None:
    feedback = make_rows({"text": ["t"], "id": ["f1"], "split": ["train"], "target": ["a"], "source": ["feedback"]})
    sliced = whole("aabbbbaa").append_column("channel", pa.array(["chat"] * 8, pa.large_string()))
    table = make_snapshot_table([sliced, feedback], labelled=True)
    assert table.column_names == ["id", "text", "target", "split", "source", "channel"]
    assert values(table, "channel") == ["chat"] * 8 + [""]
    assert set(table.schema.types) == {pa.string()}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows(["x"], split="golden"), "split 'train' has no rows"),
        (rows(["x", "y"], split=["train", "valid"]), "split 'select' has no rows"),
        (rows(["x"], split="test"), r"rows with split \['test'\]"),
        (with_values(whole("aabbbbaa"), "id", ["same"] * 8), "id 'same' stands on 8 rows"),
        (whole("abcaabca"), "train has one class only, 'a'"),
        (whole("aabnbbaa"), "golden has 1 labels that train does not, e.g. 'n' on 1 rows .row r3."),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(table: pa.Table, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_snapshot_table([table], labelled=True)


def test_answers_need_no_classes() -> None:
    assert make_snapshot_table([whole("abcdefgh")], labelled=False).num_rows == 8


@settings(deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=8), st.integers(1, 3))
def test_the_digest_knows_rows_and_order_but_no_chunks(texts: list[str], size: int) -> None:
    table = rows([mend_text(text) for text in texts])
    digest = digest_table(table)
    parts = [table.slice(start, size) for start in range(0, len(texts), size)]
    assert digest_table(pa.concat_tables(parts)) == digest
    assert digest_table(with_values(table, "text", ["changed!!", *values(table, "text")[1:]])) != digest
    assert digest_table(table.slice(1)) != digest


CELLS = st.sampled_from([None, "", "a", "b", "ab", "é"])
TABLES = st.integers(0, 3).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=4)
)


def nullable(cells: list[list[str | None]], kind: pa.DataType | None = None, names: str = "abc") -> pa.Table:
    columns = zip(*cells, strict=True)
    return pa.table({name: pa.array(column, kind or pa.string()) for name, column in zip(names, columns, strict=False)})


@settings(deadline=None)
@given(TABLES, TABLES)
def test_two_tables_have_one_digest_where_they_are_equal_and_only_there(
    one: list[list[str | None]], other: list[list[str | None]]
) -> None:
    left, right = nullable(one), nullable(other)
    same = left.to_pydict() == right.to_pydict() and left.num_rows == right.num_rows
    assert (digest_table(left) == digest_table(right)) is same


@settings(deadline=None)
@given(TABLES, st.integers(1, 3), st.data())
def test_the_digest_depends_on_no_way_of_storing(cells: list[list[str | None]], size: int, data: st.DataObject) -> None:
    table = nullable(cells)
    digest = digest_table(table)
    parts = [table.slice(start, size) for start in range(0, table.num_rows, size)]
    assert digest_table(pa.concat_tables([*parts, table.slice(0, 0)])) == digest
    assert digest_table(nullable(cells, pa.large_string())) == digest
    assert digest_table(nullable(cells, pa.string_view())) == digest
    coded = pa.table({name: table.column(name).dictionary_encode() for name in table.column_names})
    assert table.num_columns == 0 or digest_table(coded) == digest
    shuffled = data.draw(st.permutations(range(table.num_rows)))
    moved = table.take(shuffled)
    assert (digest_table(moved) == digest) is (moved.to_pydict() == table.to_pydict())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([["ab", "c"]], [["a", "bc"]]),
        ([["ab"], ["c"]], [["a"], ["bc"]]),
        ([["", "a"]], [["a", ""]]),
        ([[None]], [[""]]),
        ([["a"], [None]], [["a"], [""]]),
        ([[None, ""]], [["", None]]),
        ([["a"]], [["a"], [""]]),
        ([["a", "b"]], [["b", "a"]]),
    ],
)
def test_what_moves_between_cells_and_rows_changes_the_digest(one: list[list[str]], other: list[list[str]]) -> None:
    assert digest_table(nullable(one)) != digest_table(nullable(other))


def test_names_and_their_order_change_the_digest() -> None:
    digest = digest_table(nullable([["x", "x"]]))
    assert digest_table(nullable([["x", "x"]], names="ac")) != digest
    assert digest_table(nullable([["x", "x"]], names="ba")) != digest
    assert digest_table(nullable([["x", "x"]]).slice(1)) != digest_table(nullable([["x", "x"]], names="ac").slice(1))


def test_what_lies_under_a_null_does_not_count() -> None:
    offsets, data = pa.array([0, 1, 3], pa.int32()).buffers()[1], pa.py_buffer(b"axx")
    hidden = pa.StringArray.from_buffers(2, offsets, data, pa.py_buffer(b"\x01"), 1)
    assert hidden.to_pylist() == ["a", None]
    assert digest_table(pa.table({"a": hidden})) == digest_table(nullable([["a"], [None]]))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "split=train" / "rows.parquet"
    digest = write_table(whole(), path)
    assert read_table(path, digest).equals(whole())
    assert digest == digest_table(whole())
    assert [entry.name for entry in path.parent.iterdir()] == ["rows.parquet"]


def test_a_changed_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    digest = write_table(whole(), path)
    write_table(whole("aaaaaaaa"), path)
    with pytest.raises(ArtifactError, match="the file was changed"):
        read_table(path, digest)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_table(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_table(tmp_path / "none.parquet")


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        write_table(whole(), tmp_path / "file" / "rows.parquet")
