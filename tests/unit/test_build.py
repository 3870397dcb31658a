"""`build(recipe, snapshot)`: what is stored is reused, and a changed lever rebuilds only the suffix that it touches."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tasks.build
from serving.predictors import Predictions
from tasks.artifacts import seal
from tasks.compress.methods import Cascade, DistilInto, Int8Dynamic, Onnx, Recover
from tasks.data.augmentation.augment import Swap, Teacher, Typos
from tasks.data.augmentation.keep_label import KeepLabel
from tasks.data.augmentation.mask_fill import MaskFill
from tasks.data.cleaning.clean import DropEmpty
from tasks.data.cleaning.normalise import Normalise
from tasks.data.rows import make_rows
from tasks.data.snapshot import read_table, write_table
from tasks.errors import ModelError
from tasks.given import Given, Guides
from tasks.levers import pull
from tasks.progress import Stopped, purpose, trainings_to
from tasks.records import Candidate, Snapshot, Table
from tasks.specs import Lever, Recipe
from tasks.store import Store
from tasks.train.bases.base import FromConfig, Pretrained
from tasks.train.methods import Adapt, Distil, FineTune

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

    def finetune(base, method, lesson, folder):
        folder.mkdir()
        (folder / "weights").write_text(repr((base, method, replace(lesson, work=None, tokens=None))))
        return seal(folder, runtime="torch", labels=list(lesson.labels), notes={})

    def compress_pass(method, source, folder, material):
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
        ({"base": Pretrained("hub/none", layers=(0, 2))}, ["fit", "compress", "compress"]),
        ({"base": Pretrained("hub/none", window=64)}, ["fit", "compress", "compress"]),
        ({"base": FromConfig("t5", tokenizer="hub/none")}, ["fit", "compress", "compress"]),
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


def test_a_lever_that_names_a_base_builds_from_fit_on(store, snapshot, runs):
    build(store, RECIPE, snapshot)
    runs.clear()
    lever = Lever("wider-window", base=Pretrained("hub/none", window=64))
    first = build(store, pull(lever, RECIPE), snapshot)
    assert runs == ["fit", "compress", "compress"]
    runs.clear()
    assert build(store, pull(lever, RECIPE), snapshot) == first
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


@pytest.fixture
def opened(monkeypatch):
    """The digests of the teachers that were opened; each says `a` of every text."""
    found = []

    def open_teacher(candidate):
        if candidate is None:
            return None
        found.append(candidate.digest)
        return Teacher(candidate.digest, ("a", "b"), lambda texts: Predictions(["a"] * len(texts), np.ones(len(texts))))

    monkeypatch.setattr(tasks.build, "open_teacher", open_teacher)
    return found


def teacher(name):
    return Candidate(f"models/{name}", name * 64, "onnx", 1)


def test_another_teacher_rebuilds_what_it_judges_and_nothing_before(store, snapshot, runs, opened):
    def made(judge):
        runs.clear()
        candidate = tasks.build.build(tasks.build, store, RECIPE, snapshot, Given(judge))
        return candidate, list(runs)

    alone, _ = made(None)
    first, done = made(teacher("c"))
    assert (done, opened) == (["augment", "fit", "compress", "compress"], ["c" * 64])
    assert first != alone
    assert made(replace(teacher("c"), uri="moved"))[1] == []  # it is its content that counts
    second, done = made(teacher("d"))
    assert done == ["augment"]  # it judged alike: the rows are the same, and so is what follows
    assert second == first
    assert made(None) == (alone, [])


def test_the_rows_say_who_judged_them(store, snapshot, runs, opened):
    rows = tasks.build.training_rows(tasks.build, store, RECIPE, snapshot, Given(teacher("c")))
    assert [report.step for report in rows.reports] == ["normalise", "drop_empty", "typos", "keep_label"]
    assert rows.reports[-1].parameters["teacher"] == "c" * 64
    table = read_table(Path(rows.uri), rows.digest).to_pylist()
    assert {row["target"] for row in table if row["source"] != "test"} == {"a"}
    again = tasks.build.training_rows(tasks.build, store, RECIPE, snapshot, Given(teacher("c")))
    assert again == rows
    assert runs == ["clean", "augment"]


def test_a_teacher_that_nobody_asks_changes_nothing(store, snapshot, runs, opened):
    for filters in (KeepLabel(teacher="tfidf"), KeepLabel(teacher="none")):
        recipe = replace(RECIPE, augment=(Typos(share=0.5), filters))
        first = build(store, recipe, snapshot)
        runs.clear()
        assert tasks.build.build(tasks.build, store, recipe, snapshot, Given(teacher("c"))) == first
        assert runs == opened == []


def test_the_models_that_methods_name_stand_in_the_key_by_their_content(tmp_path):
    model = tmp_path / "mlm"
    model.mkdir()
    (model / "config.json").write_text("{}", "utf-8")
    [first] = tasks.build.named_models([Swap(), MaskFill(model=str(model))])
    (model / "config.json").write_text("{ }", "utf-8")
    assert tasks.build.named_models([MaskFill(model=str(model))]) != [first]
    assert tasks.build.named_models([MaskFill(model="hub/model"), Swap()]) == ["hub/model"]


TEXTS = Table("texts.parquet", "7" * 64, 2)


@pytest.fixture
def guides(monkeypatch):
    """What each fit was given beside its rows, with its method."""
    found = []

    def fit(store, rows, snapshot, base, method, given):
        found.append((method, given))
        return teacher(f"{method.seed:x}"[-1])

    monkeypatch.setattr(tasks.build, "fit", fit)
    return found


def fitted(store, snapshot, train, given):
    return tasks.build.fitted(tasks.build, store, replace(RECIPE, augment=(), train=train), snapshot, given)


def test_a_fit_is_given_only_what_its_method_asks_for(store, snapshot, guides):
    everything = Given(teacher("c"), teacher("d"), TEXTS)
    for train in (
        FineTune(),
        FineTune(start="champion"),
        FineTune(adapt=Adapt()),
        FineTune(distil=Distil(teacher="champion", unlabelled=False)),
    ):
        fitted(store, snapshot, train, everything)
    assert [given for _, given in guides] == [
        Guides(), Guides(parent=teacher("d")), Guides(unlabelled=TEXTS), Guides(teachers=(teacher("d"),)),
    ]  # fmt: skip


def test_the_recipes_teachers_are_the_fits_of_the_recipe_without_distillation(store, snapshot, guides):
    distil = Distil(seeds=(5, 6), student=(0,))
    fitted(store, snapshot, FineTune(seed=4, distil=distil), Given(unlabelled=TEXTS))
    assert guides == [
        (FineTune(seed=5), Guides()),
        (FineTune(seed=6), Guides()),
        (FineTune(seed=4, distil=distil), Guides(None, (teacher("5"), teacher("6")), TEXTS)),
    ]


def test_no_champion_to_learn_from_is_said(store, snapshot, guides):
    with pytest.raises(ModelError, match="there is no champion yet to learn from"):
        fitted(store, snapshot, FineTune(distil=Distil(teacher="champion")), Given())
    assert guides == []


def test_a_pass_that_trains_is_one_training(store, snapshot, runs):
    opened = []

    @contextmanager
    def open_one(what):
        opened.append(what)
        yield

    recipe = replace(RECIPE, compress=(DistilInto(), Recover(), Onnx()))
    fit_alone = replace(RECIPE, compress=())
    with trainings_to(open_one), purpose("smaller"):
        build(store, fit_alone, snapshot)
        assert opened == ["smaller"]
        build(store, recipe, snapshot)
    assert runs[-3:] == ["compress"] * 3
    assert opened == ["smaller"] * 3


def test_the_stage_of_a_cascade_is_made_by_its_passes_and_taken_from_the_store(store, snapshot, runs, monkeypatch):
    """Here the search has built it already; then as the first to want it, and once more."""
    stages, counted = [], tasks.build.compress_pass

    def compress_pass(method, source, folder, material):
        stages.append(material.stage)
        return counted(method, source, folder, material)

    monkeypatch.setattr(tasks.build, "compress_pass", compress_pass)
    small = build(store, replace(RECIPE, compress=(DistilInto(), Onnx())), snapshot)
    runs.clear()
    recipe = replace(RECIPE, compress=(Onnx(), Cascade(stage=(DistilInto(), Onnx())), Cascade()))
    made = build(store, recipe, snapshot)
    assert runs == ["compress"] * 3 and stages[-3:] == [None, small, None]
    further = replace(recipe, compress=(Onnx(), Cascade(stage=(DistilInto(epochs=1), Onnx()))))
    build(store, further, snapshot)
    assert runs == ["compress"] * 6 and stages[-1].uri != small.uri  # its two passes and the cascade
    assert build(store, recipe, snapshot) == made and len(runs) == 6


def test_a_pass_that_was_stopped_for_good_keeps_no_checkpoints(store, snapshot, runs, monkeypatch):
    def stopped(method, source, folder, material):
        material.work.mkdir(parents=True)
        raise Stopped

    monkeypatch.setattr(tasks.build, "compress_pass", stopped)
    with pytest.raises(Stopped):
        build(store, replace(RECIPE, compress=(DistilInto(),)), snapshot)
    assert not list((Path(store.root) / "checkpoints").glob("*"))
