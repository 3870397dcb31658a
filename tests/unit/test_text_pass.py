"""The pass over texts: each distinct text once, the same on one core and on many, remembered from run to run."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data import text_pass
from tasks.data.cleaning.clean import DropEmpty, clean
from tasks.data.cleaning.filter import Filter
from tasks.data.cleaning.normalise import Normalise
from tasks.data.cleaning.scrub_step import Scrub
from tasks.data.text_pass import as_array, map_texts
from tasks.errors import ArtifactError
from tests.unit.data_rows import rows

SCHEMA = pa.schema([("upper", pa.large_string()), ("size", pa.int64())])


class Watched:
    """A function that counts the texts it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: list[str]) -> dict[str, list[object]]:
        self.asked += texts
        return {"upper": [text.upper() for text in texts], "size": [len(text) for text in texts]}


def expected(texts: list[str]) -> dict[str, list[object]]:
    return {"upper": [text.upper() for text in texts], "size": [len(text) for text in texts]}


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), max_size=30))
def test_every_text_gets_its_own_columns_in_order(texts: list[str]) -> None:
    function = Watched()
    assert map_texts("test", as_array(texts), function, SCHEMA).to_pydict() == expected(texts)
    assert function.asked == list(dict.fromkeys(texts))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "", "d", "é", "aa"]), max_size=6), min_size=1, max_size=4))
def test_what_was_seen_is_not_asked_again(tmp_path_factory: pytest.TempPathFactory, runs: list[list[str]]) -> None:
    memory, function = tmp_path_factory.mktemp("memory") / "of this function", Watched()
    for texts in runs:
        assert map_texts("test", as_array(texts), function, SCHEMA, memory).to_pydict() == expected(texts)
    assert sorted(function.asked) == sorted({text for texts in runs for text in texts})


def test_new_texts_alone_cost_a_second_run(tmp_path: Path) -> None:
    function = Watched()
    old = [f"text {number}" for number in range(1000)]
    map_texts("test", as_array(old), function, SCHEMA, tmp_path)
    function.asked.clear()
    made = map_texts("test", as_array(["new", *old, "newer"]), function, SCHEMA, tmp_path)
    assert function.asked == ["new", "newer"]
    assert made.column("upper").to_pylist() == ["NEW", *(text.upper() for text in old), "NEWER"]


def test_a_pass_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(texts: list[str]) -> dict[str, list[object]]:
        raise RuntimeError(texts[0])

    with pytest.raises(RuntimeError, match="one"):
        map_texts("test", as_array(["one"]), fail, SCHEMA, tmp_path)
    assert not list(tmp_path.iterdir())
    assert map_texts("test", as_array(["one"]), Watched(), SCHEMA, tmp_path).num_rows == 1


def test_a_damaged_memory_is_named(tmp_path: Path) -> None:
    map_texts("test", as_array(["one"]), Watched(), SCHEMA, tmp_path)
    [kept] = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:40])
    with pytest.raises(ArtifactError, match=rf"{kept.name}: what texts came to cannot be read .*; delete it"):
        map_texts("test", as_array(["one"]), Watched(), SCHEMA, tmp_path)


def test_processes_make_what_one_makes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = rows([f"  row {number} me{number}@example.com" if number % 3 else "x" for number in range(300)])
    steps = [Normalise(), DropEmpty(), Filter(min_words=2), Scrub()]
    alone = clean(table, steps)
    monkeypatch.setattr(text_pass, "PARALLEL_FROM", 1)
    together = clean(table, steps, tmp_path.joinpath)
    assert together.table.equals(alone.table)
    assert (together.reports, together.removed) == (alone.reports, alone.removed)
    monkeypatch.setattr(text_pass, "_run_parallel", None)  # not needed any more: all is remembered
    assert clean(table, steps, tmp_path.joinpath).table.equals(alone.table)
