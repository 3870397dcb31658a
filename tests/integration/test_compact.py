"""A search over compression passes on a real tiny model: what it tries, proposes, keeps and shows."""

import json
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

import tasks.build
from flows.climb import climb
from flows.compact import Journal
from flows.diary import Diary, _chosen_figures, _found
from flows.effects import effects_of, lever_effects, tries_of
from flows.given import given_for, given_for_passes
from flows.outcome import Contender, Outcome, write_outcome
from flows.page import write_report
from flows.project import open_project
from flows.recipes import recipe_changes
from flows.show import show_effects
from tasks.collect import collect
from tasks.compress.methods import Cascade, DistilInto, Onnx
from tasks.compress.searching.report import CompressReport, Point, passes_in_words
from tasks.compress.searching.shape import shape_of
from tasks.given import Given
from tasks.records import Candidate, Table, Verdict, from_json, to_json
from tasks.specs import Recipe
from tasks.train.bases.base import Base
from tasks.train.methods import Distil, FineTune
from tests.loop_support import make_project

SEARCH = {"minutes": 4, "passes": ["int8"], "runtimes": ["onnx"]}
TRAINED = {"epochs": 12, "learning_rate": 0.01, "patience": 12, "precision": "fp32"}
QUIET = {"margin": 0.03, "slice_margin": 0.1, "cost_margin": 0.95, "max_noise": 5}


@pytest.fixture
def begun(prefect_api, tmp_path, tiny_base, shared_store):
    """What makes a project with one search over passes: the project, its snapshot and its champion in PyTorch."""

    def begin(**gate):
        spec = make_project(
            tmp_path / "tiny", tiny_base, shared_store, levers=[{"name": "compact", "compress_search": SEARCH}],
            recipe={"base": str(tiny_base), "train": TRAINED}, gate=QUIET | gate,
        )  # fmt: skip
        project = open_project(spec)
        source = collect(project.store, str(project.root), project.spec.data)
        snapshot = tasks.build.snapshot(project.store, [source], project.spec.data)
        recipe = project.spec.recipe
        model = tasks.build.build(tasks.build, project.store, recipe, snapshot)
        return project, snapshot, Contender(recipe, model, snapshot=snapshot)

    return begin


@pytest.mark.filterwarnings("default")  # what libraries say while they export is not the search's
def test_a_search_over_passes_proposes_what_is_fastest_and_a_rerun_costs_little(begun):
    project, snapshot, champion = begun()
    levers = project.spec.levers
    best, [trial] = climb(project, champion, snapshot, levers, new_data=False)
    found = trial.compression
    assert [passes_in_words(point.passes) for point in found.points[:3]] == ["as it was", "onnx", "onnx, int8"]
    assert all(point.state == "measured" for point in found.points)
    assert found.chosen in found.front and trial.stage == "compress_search" and trial.claims == ("cost",)
    assert trial.kept and best.recipe.compress == found.passes == tuple(found.passes)
    assert best.candidate.runtime == "onnx" and trial.candidate.digest == best.candidate.digest
    picked = found.points[found.chosen]
    assert picked.rows == snapshot.rows["select"] and picked.speedup > 1 and picked.memory_bytes > 1e6
    assert picked.latency_p99_ms is not None and picked.cold_start_s > 0  # its last timing has the samples for it
    assert found.minutes * 60 < 240 and found.machine

    built = sorted(path.name for path in (project.state / "store" / "compress").glob("*"))
    again, [second] = climb(project, champion, snapshot, levers, new_data=False)
    assert second.compression == found and again.candidate == best.candidate
    assert sorted(path.name for path in (project.state / "store" / "compress").glob("*")) == built

    outcome = Outcome(2, "rejected", Verdict("reject", "no"), snapshot, "2026-11-27T00:00:00Z", trials=(trial,),
                      changed=("compact",))  # fmt: skip
    assert from_json(Outcome, to_json(outcome)) == outcome
    write_outcome(project, outcome)
    write_report(outcome, [outcome], project.report_path(2))
    html = unescape(project.report_path(2).read_text("utf-8"))
    for text in ("What searches over compression passes tried", found.sentence, "Score against time per text of what"):
        assert text in html
    [effect] = lever_effects(project, "compact")
    assert len(effect["compression"]["points"]) == len(found.points)
    show_effects([effect])
    [past] = tries_of(effects_of([outcome]))
    assert past.gain > 0  # the logarithm of the time saved
    assert _found(trial) == {"compression.passes": passes_in_words(found.passes)}
    assert _chosen_figures(trial)["compression.speedup"] == picked.speedup
    diary = Diary.open(project, 2, "test")
    diary.log_trials([trial])
    [run] = [run for run in nested_runs(project, diary.run_id) if run.info.run_name == "compact on select"]
    assert run.data.metrics["compression.speedup"] == pytest.approx(picked.speedup)
    diary.close("FINISHED")


def nested_runs(project, parent):
    from mlflow import MlflowClient

    client = MlflowClient(project.registry.tracking_uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return client.search_runs(experiments, f"tags.mlflow.parentRunId = '{parent}'")


@pytest.mark.filterwarnings("default")
def test_where_no_limit_can_be_kept_nothing_is_proposed_and_the_champion_stays(begun):
    project, snapshot, champion = begun(limits={"size_mb": 0.001})
    best, [trial] = climb(project, champion, snapshot, project.spec.levers, new_data=False)
    found = trial.compression
    assert best == champion and not trial.kept and trial.candidate == champion.candidate
    assert found.chosen is None and found.points[found.nearest].passes
    assert "nothing kept margin and limits" in trial.verdict.reason and "over the limit of 0.001 MB" in found.sentence
    [past] = tries_of(effects_of([Outcome(2, "unchanged", Verdict("reject", "no"), snapshot, "2026", trials=(trial,))]))
    assert (past.gain, past.worse) == (0.0, False)


def test_the_layers_of_a_model_and_what_each_is_worth_to_it(tiny_base, tmp_path):
    from tasks.train.finetune import finetune
    from tasks.train.lesson import Lesson
    from tests.loop_support import messages

    rows = [(row["text"], row["label"]) for row in messages(120, seed=1)]
    base = {"family": "bert", "layers": 2, "hidden_size": 32, "heads": 2, "max_length": 64, "tokenizer": str(tiny_base)}
    method = FineTune(epochs=2, learning_rate=0.01, precision="fp32")
    lesson = Lesson(rows, rows[:40], tuple(sorted({label for _, label in rows})))
    made = finetune(TypeAdapter(Base).validate_python(base), method, lesson, tmp_path / "model")
    shape = shape_of(made, [text for text, _ in rows[:40]])
    assert (shape.layers, shape.windows, len(shape.drops)) == (2, False, 2)
    assert all(0 <= share <= 1 for share in shape.drops)
    assert shape_of(made).drops == ()


def test_seconds_outlive_the_process_and_a_torn_file_begins_anew(tmp_path, caplog):
    path = tmp_path / "made" / "journal.json"
    journal = Journal.open(path)
    journal.setdefault("build", 3.5)
    journal.setdefault("build", 9.0)
    assert dict(Journal.open(path)) == {"build": 3.5} == json.loads(path.read_text("utf-8"))
    path.write_text('{"build": 3', "utf-8")
    assert dict(Journal.open(path)) == {}
    assert "the search's minutes begin anew" in caplog.text


TEXTS, OLD = Table("new.parquet", "b" * 64, 4), Table("old.parquet", "e" * 64, 3)
LEARNS, PLAIN = (DistilInto(), Onnx(), Cascade()), (Onnx(),)
READS = FineTune(distil=Distil())


@pytest.mark.parametrize(
    ("train", "compress", "stage", "was", "expected"),
    [
        (FineTune(), LEARNS, "compress", None, TEXTS),
        (FineTune(), LEARNS, "compress_search", OLD, OLD),
        (FineTune(), LEARNS, "clean", OLD, OLD),
        (FineTune(), LEARNS, "data", OLD, TEXTS),
        (FineTune(), LEARNS, "train", OLD, TEXTS),
        (FineTune(), PLAIN, "compress", OLD, None),
        (READS, LEARNS, "compress", OLD, OLD),
        (READS, LEARNS, "compress", None, None),  # its training read none, and is to stay as it is
        (READS, PLAIN, "compress_search", OLD, OLD),
    ],
)
def test_passes_that_learn_read_texts_without_labels_and_change_no_training(train, compress, stage, was, expected):
    best = Contender(Recipe(train=train), Candidate("u", "c" * 64, "torch", 1), given=Given(unlabelled=was))
    recipe = Recipe(train=train, compress=compress)
    assert given_for(None, best, recipe, stage, None, TEXTS).unlabelled == expected
    if stage == "compress_search" and compress == LEARNS:
        assert given_for_passes(best, ("distil",), TEXTS).unlabelled == expected
    assert given_for_passes(best, ("int8",), TEXTS) == best.given


def test_what_a_kept_search_changed_is_told_field_by_field():
    found = CompressReport((Point(0, (), 0, "measured"), Point(1, PLAIN, 0, "measured")), (1,), 1, None, 1.0, "s")
    record = SimpleNamespace(recipe=Recipe())
    registry = SimpleNamespace(version=lambda number: None, read_record=lambda version: record)
    project = SimpleNamespace(registry=registry, spec=SimpleNamespace(levers=()))

    def changes(report):
        trial = SimpleNamespace(lever="compact", search=None, compression=report)
        ended = SimpleNamespace(result="rejected", changed=("compact",), version="", champion_version="1")
        return recipe_changes(project, SimpleNamespace(**vars(ended), trials=(trial,)))

    assert changes(found) == [("compress", "none", "onnx (precision fp32)")]
    assert changes(replace(found, chosen=None)) == []
