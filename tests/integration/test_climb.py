"""The climb over the levers, with the building and judging of each left out."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from flows import climb, given
from flows.outcome import Contender, write_outcome
from tasks.data.augmentation.augment import Swap, Typos
from tasks.data.augmentation.keep_label import KeepLabel
from tasks.given import Given
from tasks.levers import CLAIMS
from tasks.records import Candidate, Table, Verdict
from tasks.specs import BudgetSpec, GateSpec, Lever, Recipe
from tasks.train.methods import Adapt, Distil, FineTune
from tests.unit.test_effects import SNAPSHOT, outcome, trial


def test_a_climb_leaves_rested_levers_out_and_says_so(tmp_path, monkeypatch, caplog):
    project = SimpleNamespace(state=tmp_path, spec=SimpleNamespace(budget=BudgetSpec()))
    tried = []

    def try_it(project, best, pulled, snapshot, texts):
        tried.append(pulled.name)
        return best, trial(pulled.name)

    monkeypatch.setattr(climb, "_try", try_it)
    (tmp_path / "iterations").mkdir()
    for iteration in (1, 2, 3):
        write_outcome(project, outcome(iteration, trial("bad", effect=-0.05)))
    levers = (Lever("bad", train=FineTune(epochs=9)), Lever("good", train=FineTune(epochs=8)))
    champion = Contender(Recipe(), Candidate("u", "c" * 64, "onnx", 1))
    with caplog.at_level(logging.INFO):
        _, trials = climb.climb(project, champion, SNAPSHOT, levers, new_data=False)
    assert tried == [made.lever for made in trials] == ["good"]
    assert "lever bad: rested: clearly worse in its last 3 tries (iterations 1, 2, 3)" in caplog.text


@pytest.mark.parametrize("kept", [True, False])
def test_the_best_so_far_judges_what_is_generated_until_the_augmentation_or_the_data_changes(monkeypatch, kept):
    asked = []

    def build(stages, store, recipe, snapshot, given):
        asked.append(given.teacher and given.teacher.uri)
        return Candidate(f"made {len(asked)}", f"{len(asked)}" * 64, "onnx", 1)

    monkeypatch.setattr(climb, "build", build)
    monkeypatch.setattr(climb, "measure", lambda *_: [SimpleNamespace(speed=None), SimpleNamespace(speed=None)])
    monkeypatch.setattr(climb, "with_scores", lambda *_: None)
    monkeypatch.setattr(climb, "decide", lambda *_: Verdict("promote", "for a test"))
    monkeypatch.setattr(climb, "keep", lambda *_: kept)
    monkeypatch.setattr(climb, "LeverTrial", lambda *_: None)
    project = SimpleNamespace(store=None, spec=SimpleNamespace(gate=GateSpec(), benchmark=None))
    champion = Candidate("champion", "c" * 64, "onnx", 1)
    old = Candidate("old", "d" * 64, "onnx", 1)
    best = climb.Contender(Recipe(augment=(Typos(),)), champion, given=Given(old))
    for stage, recipe in [
        ("train", Recipe(augment=(Typos(),), train=FineTune(epochs=9))),  # one change at a time: the teacher stays
        ("augment", Recipe(augment=(Swap(),))),
        ("train", Recipe(augment=(Swap(),), train=FineTune(epochs=8))),
        ("data", Recipe(augment=(Swap(),))),
        ("augment", Recipe(augment=(Swap(), KeepLabel(teacher="tfidf")))),
        ("train", Recipe()),
    ]:
        best, _ = climb._try(project, best, climb.Pull("lever", stage, CLAIMS[stage], recipe), SNAPSHOT, None)
    if kept:
        assert asked == ["old", "made 1", "made 1", "made 3", None, None]
        assert best.given.teacher is None
    else:
        assert asked == ["old", "champion", "old", "champion", None, None]
        assert best.given.teacher == old


PARENT, FITTED = Candidate("parent", "a" * 64, "torch", 1), Candidate("fitted", "f" * 64, "torch", 1)
OLD_TEXTS, NEW_TEXTS = Table("old.parquet", "e" * 64, 3), Table("new.parquet", "b" * 64, 4)
OLD_SNAPSHOT = replace(SNAPSHOT, digest="9" * 64)
NOTHING = Given()
PLAIN, WARM = FineTune(), FineTune(start="champion")
LEARNS, DISTILS = FineTune(distil=Distil(teacher="champion", unlabelled=False)), FineTune(distil=Distil())
ADAPTS = FineTune(adapt=Adapt())


@pytest.fixture
def fitted(monkeypatch):
    """What was fitted to be a parent: recipe, snapshot and what it was given."""
    asked = []

    def fit(stages, store, recipe, snapshot, found):
        asked.append((recipe, snapshot, found))
        return FITTED

    monkeypatch.setattr(given, "fitted", fit)
    return asked


def given_to(train, stage, before=PLAIN, was=NOTHING):
    """What a try with this section `train` is given, of a champion made with the section `before`."""
    best = Contender(Recipe(train=before), Candidate("u", "c" * 64, "onnx", 1), given=was, snapshot=OLD_SNAPSHOT)
    return given.given_for(SimpleNamespace(store=None), best, Recipe(train=train), stage, SNAPSHOT, NEW_TEXTS)


@pytest.mark.parametrize("stage", ["data", "clean", "augment", "base", "train", "search", "compress"])
def test_what_is_not_asked_for_is_not_given(stage, fitted):
    was = Given(parent=PARENT, unlabelled=OLD_TEXTS)
    assert given_to(PLAIN, stage, PLAIN, was) == Given()
    assert fitted == []


@pytest.mark.parametrize("stage", ["base", "train", "search"])
@pytest.mark.parametrize("train", [WARM, LEARNS])
def test_a_training_lever_starts_from_the_torch_model_of_the_best_so_far(train, stage, fitted):
    was = Given(unlabelled=OLD_TEXTS)
    assert given_to(train, stage, ADAPTS, was) == Given(parent=FITTED)
    assert fitted == [(Recipe(train=ADAPTS), OLD_SNAPSHOT, was)]  # as it was made, on the rows it was made of


@pytest.mark.parametrize("stage", ["clean", "augment", "compress"])
@pytest.mark.parametrize("train", [WARM, LEARNS])
def test_a_lever_of_another_stage_keeps_the_parent(train, stage, fitted):
    assert given_to(train, stage, train, Given(parent=PARENT)) == Given(parent=PARENT)
    assert fitted == []


def test_on_new_data_a_warm_start_goes_on_from_the_champion_and_a_student_keeps_its_teacher(fitted):
    assert given_to(WARM, "data", WARM, Given(parent=PARENT)).parent == FITTED
    assert given_to(LEARNS, "data", LEARNS, Given(parent=PARENT)).parent == PARENT


@pytest.mark.parametrize("train", [ADAPTS, DISTILS])
def test_texts_are_renewed_where_training_changes_and_else_kept(train):
    was = Given(unlabelled=OLD_TEXTS)
    for stage in ("data", "base", "train", "search"):
        assert given_to(train, stage, train, was).unlabelled == NEW_TEXTS
    for stage in ("clean", "augment", "compress"):
        assert given_to(train, stage, train, was).unlabelled == OLD_TEXTS


@pytest.mark.parametrize(
    ("varied", "expected"),
    [
        (("epochs", "base"), NOTHING),
        (("adapt",), Given(unlabelled=NEW_TEXTS)),
        (("start",), Given(parent=FITTED)),
        (("distil",), Given(parent=FITTED, unlabelled=NEW_TEXTS)),
    ],
)
def test_the_trials_of_a_search_are_given_what_its_space_may_ask_for(fitted, varied, expected):
    best = Contender(Recipe(), Candidate("u", "c" * 64, "onnx", 1), snapshot=OLD_SNAPSHOT)
    assert given.given_for_trials(SimpleNamespace(store=None), best, varied, SNAPSHOT, NEW_TEXTS) == expected


@pytest.mark.parametrize(("claim", "claims"), [(None, ("quality",)), ("cost", ("cost",))])
def test_a_lever_is_judged_for_what_it_claims(tmp_path, monkeypatch, claim, claims):
    judged = []
    monkeypatch.setattr(climb, "_try", lambda project, best, pulled, *_: judged.append(pulled) or (best, None))
    (tmp_path / "iterations").mkdir()
    champion = Contender(Recipe(), Candidate("u", "c" * 64, "onnx", 1))
    lever = Lever("smaller", base="hub/smaller", claim=claim)
    project = SimpleNamespace(state=tmp_path, spec=SimpleNamespace(budget=BudgetSpec()))
    climb.climb(project, champion, SNAPSHOT, (lever,), new_data=False)
    assert [(pulled.name, pulled.stage, pulled.claims) for pulled in judged] == [("smaller", "base", claims)]
