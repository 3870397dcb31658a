"""The climb over the levers, with the building and judging of each left out."""

import logging
from types import SimpleNamespace

import pytest

from flows import climb
from flows.outcome import Contender, write_outcome
from tasks.data.augmentation.augment import Swap, Typos
from tasks.data.augmentation.keep_label import KeepLabel
from tasks.records import Candidate, Given, Verdict
from tasks.specs import BudgetSpec, Lever, Recipe
from tasks.train.methods import FineTune
from tests.unit.test_effects import SNAPSHOT, outcome, trial


def test_a_climb_leaves_rested_levers_out_and_says_so(tmp_path, monkeypatch, caplog):
    project = SimpleNamespace(state=tmp_path, spec=SimpleNamespace(budget=BudgetSpec()))
    tried = []

    def try_it(project, best, recipe, name, stage, snapshot):
        tried.append(name)
        return best, trial(name)

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
    monkeypatch.setattr(climb, "measure", lambda *_: [SimpleNamespace(), SimpleNamespace()])
    monkeypatch.setattr(climb, "with_scores", lambda *_: None)
    monkeypatch.setattr(climb, "decide", lambda *_: Verdict("promote", "for a test"))
    monkeypatch.setattr(climb, "keep", lambda *_: kept)
    monkeypatch.setattr(climb, "LeverTrial", lambda *_: None)
    project = SimpleNamespace(store=None, spec=SimpleNamespace(gate=None, benchmark=None))
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
        best, _ = climb._try(project, best, recipe, "lever", stage, SNAPSHOT)
    if kept:
        assert asked == ["old", "made 1", "made 1", "made 3", None, None]
        assert best.given.teacher is None
    else:
        assert asked == ["old", "champion", "old", "champion", None, None]
        assert best.given.teacher == old
