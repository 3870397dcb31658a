"""The content-addressed store: what is built once, what a failure leaves, and what its keys depend on."""

import errno
import threading
import time
from dataclasses import dataclass, replace

import pytest

from tasks.compress.methods import Int8Dynamic
from tasks.errors import DataError, StorageError
from tasks.records import Candidate, Snapshot, Table
from tasks.specs import Recipe
from tasks.store import CODE, RECORD, Store, cache_key, code_digest
from tasks.train.methods import FineTune

TABLE = Table("somewhere/rows.parquet", "d1", 5)


class Maker:
    """A stage that counts its runs and leaves a file."""

    def __init__(self, error=None):
        self.runs = 0
        self.error = error

    def __call__(self, folder):
        self.runs += 1
        (folder / "rows.parquet").write_text("rows")
        if self.error is not None:
            raise self.error
        return replace(TABLE, uri=str(folder / "rows.parquet"))


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def test_what_is_built_once_is_reused(store):
    maker = Maker()
    first = store.build("clean", "key", Table, maker)
    assert store.build("clean", "key", Table, maker) == first
    assert maker.runs == 1
    assert (store.folder("clean", "key") / "rows.parquet").read_text() == "rows"


def test_a_record_holds_while_all_that_it_names_is_there(store, tmp_path):
    @dataclass(frozen=True)
    class Outer:
        table: Table
        others: dict

    table = store.build("clean", "key", Table, Maker())
    whole = Outer(TABLE, {"a": [table]})
    assert store.holds(table) and store.holds(whole)
    (store.folder("clean", "key") / "rows.parquet").unlink()
    assert not store.holds(table) and not store.holds(whole)
    assert store.holds(Outer(TABLE, {}))  # what lies elsewhere is not the store's


def test_another_key_or_stage_is_built_anew(store):
    maker = Maker()
    for stage, key in (("clean", "a"), ("clean", "b"), ("augment", "a")):
        store.build(stage, key, Table, maker)
    assert maker.runs == 3


def test_what_a_killed_build_left_is_built_anew(store):
    folder = store.folder("clean", "key")
    folder.mkdir(parents=True)
    (folder / "half.parquet").write_text("half")
    (folder / f"{RECORD}.partial").write_text("{")
    assert store.build("clean", "key", Table, Maker()).rows == 5
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, "rows.parquet"]


@pytest.mark.parametrize("content", ["", "{", '{"uri": 1}', "[]"])
def test_a_record_that_cannot_be_read_is_made_anew(store, content):
    maker = Maker()
    store.build("clean", "key", Table, maker)
    (store.folder("clean", "key") / RECORD).write_text(content)
    assert store.build("clean", "key", Table, maker).rows == 5
    assert maker.runs == 2


def test_a_stage_that_fails_leaves_no_record_and_can_be_tried_again(store):
    with pytest.raises(DataError, match="no rows"):
        store.build("clean", "key", Table, Maker(DataError("no rows")))
    assert not (store.folder("clean", "key") / RECORD).exists()
    assert store.build("clean", "key", Table, Maker()).rows == 5


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "free some space"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "free some space"),  # as safetensors says it
        (PermissionError(errno.EACCES, "Permission denied", "/somewhere/x"), "/somewhere/x: Permission denied; mend"),
        (OSError(errno.EROFS, "Read-only file system"), "mend its rights"),
    ],
)
def test_a_full_disk_is_said_and_nothing_is_left(store, error, mend):
    with pytest.raises(StorageError, match=mend) as caught:
        store.build("clean", "key", Table, Maker(error))
    assert caught.value.__cause__ is error
    assert not store.folder("clean", "key").exists()
    assert store.build("clean", "key", Table, Maker()).rows == 5


def test_a_root_that_is_a_file_is_no_storage_to_mend(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(OSError, match=r"exists|directory"):
        Store(str(tmp_path / "store")).build("clean", "key", Table, Maker())


def test_a_full_disk_leaves_what_was_complete_before(store):
    store.build("clean", "old", Table, Maker())
    with pytest.raises(StorageError):
        store.build("clean", "new", Table, Maker(OSError(errno.ENOSPC, "No space left on device")))
    again = Maker()
    store.build("clean", "old", Table, again)
    assert again.runs == 0


def test_two_threads_build_one_key_once(store):
    begun = threading.Event()
    runs = []

    def slow(folder):
        runs.append(folder)
        begun.set()
        time.sleep(0.2)
        return TABLE

    results = []
    threads = [
        threading.Thread(target=lambda: results.append(store.build("clean", "key", Table, slow))) for _ in range(4)
    ]
    threads[0].start()
    assert begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(runs), results) == (1, [TABLE] * 4)


def test_equal_inputs_have_equal_keys_and_other_inputs_others():
    recipe = Recipe(train=FineTune(epochs=3))
    key = cache_key("fit", TABLE, recipe)
    assert key == cache_key("fit", replace(TABLE), Recipe(train=FineTune(epochs=3)))
    others = {
        cache_key("fit", replace(TABLE, digest="d2"), recipe),
        cache_key("fit", TABLE, Recipe(train=FineTune(epochs=4))),
        cache_key("score", TABLE, recipe),
        cache_key("fit", recipe, TABLE),
        cache_key("fit", TABLE, recipe, 1),
    }
    assert len(others | {key}) == 6


def test_keys_do_not_depend_on_where_files_lie():
    def key(root):
        snapshot = Snapshot(f"{root}/s.parquet", "d", {"train": 1}, ("a",))
        return cache_key("score", snapshot, Candidate(f"{root}/model", "c", "torch", 1), [Table(f"{root}/t", "d", 1)])

    assert key("/here") == key("/there")


@dataclass(frozen=True)
class Left:
    x: int = 1


@dataclass(frozen=True)
class Right:
    x: int = 1


def test_two_kinds_of_method_with_equal_parameters_have_different_keys():
    assert cache_key("compress", Left()) != cache_key("compress", Right())
    assert cache_key("compress", [Left(), Right()]) != cache_key("compress", [Right(), Left()])


@pytest.mark.parametrize("part", [None, [TABLE, None], replace(TABLE, digest=""), (replace(TABLE, digest=""),)])
def test_a_part_without_identity_raises(part):
    with pytest.raises(ValueError, match=r"None|without a digest"):
        cache_key("clean", part)


def test_an_unknown_stage_raises():
    with pytest.raises(KeyError):
        cache_key("polish", TABLE)


def test_the_code_of_every_stage_exists_and_counts():
    assert all(len(code_digest(stage)) == 64 for stage in CODE)
    assert cache_key("clean", TABLE) != cache_key("augment", TABLE)


def test_parameters_of_a_pass_count():
    assert cache_key("compress", TABLE, Int8Dynamic()) != cache_key("compress", TABLE, Int8Dynamic(reduce_range=True))
