"""`build(recipe, snapshot)`: what is stored is reused, and a changed lever rebuilds only the suffix that it touches."""

from dataclasses import replace

import pytest

import tasks.build
from tasks.artifacts import seal
from tasks.compress.export import Onnx
from tasks.compress.quantize import Int8Dynamic
from tasks.data.augmentation.augment import Swap, Typos
from tasks.data.cleaning.clean import DropEmpty
from tasks.data.cleaning.normalise import Normalise
from tasks.data.rows import make_rows
from tasks.data.snapshot import write_table
from tasks.records import Snapshot
from tasks.specs import Recipe
from tasks.store import Store
from tasks.train.finetune import FineTune

RECIPE = Recipe(
    base="hub/none",
    clean=(Normalise(), DropEmpty()),
    augment=(Typos(share=0.5),),
    train=FineTune(epochs=2),
    compress=(Onnx(), Int8Dynamic()),
)


def build(store, recipe, snapshot):
    return tasks.build.build(tasks.build, store, recipe, snapshot)


@pytest.fixture
def snapshot(tmp_path):
    splits = ["train"] * 12 + ["valid", "select", "golden"] * 2
    table = make_rows(
        {
            "id": [f"r{row}" for row in range(len(splits))],
            "text": [f"please send order number{row} again" for row in range(len(splits))],
            "target": ["a", "b"] * (len(splits) // 2),
            "split": splits,
            "source": ["test"] * len(splits),
        }
    )
    path = tmp_path / "snapshot.parquet"
    digest = write_table(table, path)
    return Snapshot(str(path), digest, {name: splits.count(name) for name in set(splits)}, ("a", "b"))


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def runs(monkeypatch):
    """The stages that really worked, in their order; training and passes are fakes that write what they were given."""
    done = []

    def worked(stage, function):
        def wrapper(*arguments, **named):
            done.append(stage)
            return function(*arguments, **named)

        return wrapper

    def finetune(base, method, train, valid, labels, folder):
        folder.mkdir()
        (folder / "weights").write_text(repr((base, method, train, valid, labels)))
        return seal(folder, runtime="torch", labels=list(labels), notes={})

    def compress_pass(method, source, folder):
        folder.mkdir()
        (folder / "weights").write_text(repr((method, source.digest)))
        return seal(folder, runtime="onnx", notes={})

    for stage, name, function in (
        ("clean", "clean", tasks.build.clean),
        ("augment", "augment", tasks.build.augment),
        ("fit", "finetune", finetune),
        ("compress", "compress_pass", compress_pass),
    ):
        monkeypatch.setattr(tasks.build, name, worked(stage, function))
    return done


def test_a_rerun_builds_nothing(store, snapshot, runs):
    first = build(store, RECIPE, snapshot)
    assert runs == ["clean", "augment", "fit", "compress", "compress"]
    runs.clear()
    assert build(store, RECIPE, snapshot) == first
    assert runs == []


@pytest.mark.parametrize(
    ("change", "rebuilt"),
    [
        ({"compress": (Onnx(), Int8Dynamic(reduce_range=True))}, ["compress"]),
        ({"compress": (Onnx(),)}, []),
        ({"train": FineTune(epochs=3)}, ["fit", "compress", "compress"]),
        ({"base": "hub/other"}, ["fit", "compress", "compress"]),
        ({"augment": (Swap(),)}, ["augment", "fit", "compress", "compress"]),
        ({"augment": ()}, ["fit", "compress", "compress"]),
        ({"clean": (DropEmpty(), Normalise())}, ["clean"]),  # it made the same rows: what follows is reused
    ],
)
def test_a_changed_lever_rebuilds_only_the_suffix(store, snapshot, runs, change, rebuilt):
    first = build(store, RECIPE, snapshot)
    runs.clear()
    second = build(store, replace(RECIPE, **change), snapshot)
    assert runs == rebuilt
    assert (second == first) is (rebuilt == ["clean"])
    runs.clear()
    assert build(store, RECIPE, snapshot) == first  # both are kept
    assert runs == []


def test_a_killed_stage_goes_on_where_it_was(store, snapshot, runs, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(tasks.build, "finetune", killed)
        with pytest.raises(KeyboardInterrupt):
            build(store, RECIPE, snapshot)
    assert runs == ["clean", "augment"]
    runs.clear()
    build(store, RECIPE, snapshot)
    assert runs == ["fit", "compress", "compress"]


def test_the_same_recipe_elsewhere_makes_the_same_model(tmp_path, snapshot, runs):
    here, there = (build(Store(str(tmp_path / name)), RECIPE, snapshot) for name in ("here", "there"))
    assert here.uri != there.uri
    assert here.digest == there.digest
