"""The climb over the levers, with the building and judging of each left out."""

import logging
from types import SimpleNamespace

from flows import climb
from flows.outcome import Contender, write_outcome
from tasks.records import Candidate
from tasks.specs import Lever, Recipe
from tasks.train.finetune import FineTune
from tests.unit.test_effects import SNAPSHOT, outcome, trial


def test_a_climb_leaves_rested_levers_out_and_says_so(tmp_path, monkeypatch, caplog):
    project = SimpleNamespace(state=tmp_path)
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
