"""An augmentation is a lever: the gate measures what it was worth, with its interval, and the champion is the judge."""

from pathlib import Path
from typing import Any

import pytest
from prefect import flow

import tasks.build
from flows.climb import climb
from flows.effects import effects_of, lever_effects
from flows.outcome import Contender, Outcome, write_outcome
from flows.page import lever_rows, write_report
from flows.project import open_project
from tasks import stages
from tasks.build import build, training_rows
from tasks.data.rows import values
from tasks.data.snapshot import read_table
from tasks.given import Given
from tasks.levers import pull
from tasks.measure.runtime import load
from tasks.records import Verdict, from_json, to_json
from tasks.registry import VersionRecord
from tasks.store import Store
from tests.loop_support import make_project

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.filterwarnings("default")]

LEVERS = [
    {"name": "words", "augment": [{"kind": "swap", "share": 0.5}, {"kind": "dropout", "share": 0.5}]},
    {"name": "near", "augment": [{"kind": "synonyms", "share": 0.5, "min_similarity": 0.2, "base": "base"}]},
    {"name": "mixed", "train": {"epochs": 2, "learning_rate": 0.01, "mixup": 0.2, "precision": "fp32"}},
]


def test_an_augmentation_has_its_effect_in_the_ledger_with_its_interval(tmp_path: Path, tiny_base: Path) -> None:
    root = tmp_path / "project"
    path = make_project(root, tiny_base, levers=LEVERS)
    (root / "base").symlink_to(tiny_base)
    project = open_project(path)
    levers = project.spec.levers
    assert levers[1].augment is not None
    assert Path(levers[1].augment[0].base) == root / "base"  # type: ignore[union-attr]

    @flow(name="climb")
    def run() -> Any:
        rows = stages.collect(project.store, str(project.root), project.spec.data)
        snapshot = stages.snapshot(project.store, [rows], project.spec.data)
        champion = Contender(project.spec.recipe, build(stages, project.store, project.spec.recipe, snapshot))
        return snapshot, champion, climb(project, champion, snapshot, levers, new_data=False)

    snapshot, champion, (best, trials) = run()
    outcome = Outcome(1, "rejected", Verdict("reject", "for a test"), snapshot, "2026-11-01T00:00:00Z",
                      trials=tuple(trials))  # fmt: skip
    write_outcome(project, outcome)
    assert [trial.lever for trial in trials] == ["words", "near", "mixed"]
    for name in ("words", "near", "mixed"):
        [effect] = lever_effects(project, name)
        assert effect["quality"]["low"] <= effect["quality"]["value"] <= effect["quality"]["high"]
        assert effect["quality"]["low"] < effect["quality"]["high"]
    shown = {row.name: row for row in lever_rows(effects_of([outcome]), {})}
    assert all(" to " in shown[name].quality and shown[name].stage == "augment" for name in ("words", "near"))
    write_report(outcome, [outcome], tmp_path / "report.html")
    assert all(shown[name].quality in (tmp_path / "report.html").read_text("utf-8") for name in ("words", "near"))

    recipe = pull(levers[0], project.spec.recipe)
    made = training_rows(tasks.build, project.store, recipe, snapshot, Given(champion.candidate))
    assert made.reports[-1].parameters["teacher"] == champion.candidate.digest
    elsewhere = Store(str(tmp_path / "elsewhere"))
    record = VersionRecord(
        trials[0].candidate, recipe, snapshot, trials[0].card, outcome.verdict, Given(champion.candidate)
    )
    record = from_json(VersionRecord, to_json(record))  # as the registry keeps it
    again = training_rows(tasks.build, elsewhere, record.recipe, record.snapshot, record.given)
    assert (again.digest, again.reports) == (made.digest, made.reports)
    table = read_table(Path(made.uri), made.digest)
    generated = [row for row in table.to_pylist() if row["source"].startswith("augment:")]
    answers = load(champion.candidate).predict([row["text"] for row in generated])
    assert answers.outputs == [row["target"] for row in generated]
    assert sum(made.reports[-1].left_out.values()) > 0  # an undertrained champion doubts some
    assert not set(values(table, "id")) & {row["id"] for row in generated if row["split"] != "train"}
    assert from_json(Outcome, to_json(outcome)) == outcome
    kept = [trial for trial in trials if trial.kept]
    if kept:
        assert best.candidate == kept[-1].candidate
    if any(trial.kept and trial.stage == "augment" for trial in trials):
        assert best.given.teacher is not None
