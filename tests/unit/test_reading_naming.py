"""Ids: like a count over all rows would give them, and untouched by where rows stand or what stands beside them."""

import hashlib
import logging
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.reading.naming import name_rows
from tasks.data.rows import make_rows, values, with_values

CELLS = st.sampled_from(["", "a", "b", "ab", "é"])
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=30)


def rows(contents: list[tuple[str, str, str]], ids: list[str] | None = None) -> pa.Table:
    source, text, target = zip(*contents, strict=True)
    lines = [str(number) for number in range(len(contents))]
    columns = {"id": ids or [""] * len(lines), "text": text, "target": target, "source": source, "line": lines}
    return make_rows(columns)


def counted(contents: list[tuple[str, str, str]]) -> list[str]:
    """The same by counting row after row."""
    seen: Counter[str] = Counter()
    found = []
    for content in map("\x1f".join, contents):
        seen[content] += 1
        found.append(hashlib.sha256(f"{content}\x1f{seen[content]}".encode()).hexdigest()[:20])
    return found


@given(ROWS, st.integers(1, 7))
def test_ids_are_those_of_a_count_whatever_the_batches(contents: list[tuple[str, str, str]], size: int) -> None:
    table = rows(contents)
    batches = pa.concat_tables([table.slice(start, size) for start in range(0, len(contents), size)])
    named = name_rows(batches)
    assert values(named, "id") == counted(contents)
    assert named.drop(["id"]).equals(table.drop(["id"]))
    assert name_rows(named).equals(named)


@given(ROWS, ROWS)
def test_appended_rows_and_lines_leave_ids_alone(
    contents: list[tuple[str, str, str]], more: list[tuple[str, str, str]]
) -> None:
    ids = values(name_rows(rows(contents)), "id")
    longer = rows([*contents, *more])
    moved = with_values(longer, "line", [str(9 + number) for number in range(longer.num_rows)])
    assert values(name_rows(moved), "id")[: len(ids)] == ids
    assert len(set(values(name_rows(moved), "id"))) == longer.num_rows


@pytest.mark.parametrize(("ids", "warned"), [(["1", "2"], False), (["1", "1"], True), (["1", ""], True)])
def test_own_ids_are_kept_or_given_up_with_a_word(
    ids: list[str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    contents = [("s", "a", "b"), ("s", "a", "b")]
    with caplog.at_level(logging.WARNING):
        named = values(name_rows(rows(contents, ids)), "id")
    assert named == (counted(contents) if warned else ids)
    assert ("not unique or has gaps" in caplog.text) is warned
