"""The search: its study in a real database, gone on with after a kill, warm from earlier ones, its trials in parallel.

Where the claim is about the search, a trial is a formula (`tests.search_support`); one search trains for real.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest

import tasks.build
from flows.climb import climb
from flows.effects import lever_effects
from flows.outcome import Contender, Outcome, write_outcome
from flows.page import write_report
from flows.project import open_project, studies_url
from flows.search import make_runner, run_trials
from flows.show import show_effects
from tasks.collect import collect
from tasks.errors import ModelError
from tasks.given import Given
from tasks.records import Snapshot, Verdict, from_json, to_json
from tasks.search.past import report_of
from tasks.search.report import RECIPE
from tasks.search.space import Range, Search
from tasks.search.study import begin, open_study, run_in_turn
from tasks.search.trial import Ended, Job, run_apart, run_trial
from tasks.specs import Recipe
from tasks.store import Store
from tasks.train.methods import FineTune
from tests.loop_support import make_project
from tests.search_support import quick_fit, worth

SNAPSHOT = Snapshot("none", "d" * 64, {}, ("a", "b"))
SPACE = {"learning_rate": Range(1e-4, 1e-1, True), "dropout": Range(0.0, 0.5), "schedule": ("linear", "cosine")}
RECIPE_OF = Recipe(train=FineTune(epochs=4, learning_rate=0.02))
ROOT = Path(__file__).parents[2]


def job(folder, url, study="p/l/one", recipe=RECIPE_OF, **changes):
    return Job(url, study, Store(str(folder / "store")), recipe, SNAPSHOT, Given(), fit=quick_fit, **changes)


def searching(folder, url, study="p/l/one", space=SPACE, recipe=RECIPE_OF, minutes=None, prune=False, **spec):
    spec = Search(space=space, prune=prune, **{"trials": 6, **spec})
    return begin(spec, job(folder, url, study, recipe, prune=prune), space, "l", "p/l/", minutes)


def fits(folder):
    return len(list((folder / "marks").glob("fit-*")))


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/studies.db"


def by_formula(shift=0.0):
    def run(job, asked):
        score = worth(asked.train, shift)
        return Ended("complete", 0.0, 4.0, {"valid_score": score, "valid_loss": 1 - score})

    return run


def test_a_search_keeps_its_study_beside_our_tables_on_each_kind_of_database(database_url, tmp_path):
    from feedback.store import open_store

    ours = open_store(database_url)
    search = searching(tmp_path, studies_url(database_url), trials=2)
    run_in_turn(search)
    assert search.done == 2
    ours.close()
    open_store(database_url).close()  # its version table is still its own
    again = open_study(studies_url(database_url), "p/l/one")
    assert len(again.get_trials()) == 2


def test_the_recipe_itself_is_tried_first_and_the_best_found_is_returned(tmp_path, url):
    search = searching(tmp_path, url, trials=12)
    run_in_turn(search)
    found = report_of(search)
    assert [trial.number for trial in found.trials] == list(range(12))
    assert (found.trials[0].origin, found.trials[0].score) == (RECIPE, worth(RECIPE_OF.train))
    assert found.own_score == worth(RECIPE_OF.train) < found.best_score == max(trial.score for trial in found.trials)
    assert worth(found.train) == found.best_score
    assert replace(found.train, learning_rate=0.02, dropout=0.1, schedule="linear") == RECIPE_OF.train
    assert found.sentence.startswith(f"search: trial {found.best} scored ")


def test_where_nothing_is_better_the_recipe_stays_and_the_sentence_says_so(tmp_path, url):
    best = Recipe(train=FineTune(learning_rate=3e-3, dropout=0.2, schedule="cosine"))
    search = searching(tmp_path, url, recipe=best, trials=4)
    run_in_turn(search)
    found = report_of(search)
    assert (found.best, found.base, found.train) == (None, best.base, best.train)
    assert "nothing scored better on valid than the recipe's own values (4 trials in" in found.sentence


def test_the_same_search_tries_the_same_values_and_a_search_gone_on_with_repeats_none(tmp_path, url):
    whole = searching(tmp_path / "whole", f"sqlite:///{tmp_path}/whole.db", trials=9)
    run_in_turn(whole)
    for trials in (4, 9):
        parts = searching(tmp_path, url, trials=trials)
        run_in_turn(parts)
    values = [[trial.values for trial in report_of(each).trials] for each in (whole, parts)]
    assert values[0] == values[1]
    assert len({str(value) for value in values[1]}) == 9
    done = fits(tmp_path)
    run_in_turn(searching(tmp_path, url, trials=9))
    assert fits(tmp_path) == done


def test_a_space_of_few_values_ends_the_search_when_all_were_tried(tmp_path, url):
    search = searching(tmp_path, url, space={"schedule": ("linear", "cosine", "constant")}, trials=50)
    run_in_turn(search)
    assert sorted(trial.values["schedule"] for trial in report_of(search).trials) == ["constant", "cosine", "linear"]
    assert fits(tmp_path) == 3


def test_a_trial_that_fails_is_noted_and_the_search_goes_on(tmp_path, url):
    search = searching(tmp_path, url, space={"max_length": (4, 128), "dropout": Range(0.0, 0.5)}, trials=8)
    run_in_turn(search)
    found = report_of(search)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert 0 < len(failed) < 8
    assert all("out of memory at batch size 1" in trial.message and trial.score is None for trial in failed)
    assert found.best_score >= found.own_score


def test_where_all_trials_fail_the_error_names_the_first_reason(tmp_path, url):
    search = searching(tmp_path, url, recipe=Recipe(train=FineTune(max_length=4)), trials=2)
    run_in_turn(search)
    with pytest.raises(ModelError, match="none of its 2 trials ended with a model; the first one: out of memory"):
        report_of(search)


def test_what_is_clearly_worse_on_its_way_is_stopped_but_the_recipe_never(tmp_path, url):
    search = searching(tmp_path, url, trials=14, prune=True)
    run_in_turn(search)
    found = report_of(search)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert found.trials[0].state == "complete"
    assert 2 <= len(pruned) <= 12
    assert all(trial.epochs < 4 and "is clearly worse" in trial.message for trial in pruned)
    kept = max(trial.score for trial in found.trials if trial.score is not None)
    assert kept == found.best_score > found.own_score


def test_cost_is_traded_for_quality_and_equal_scores_are_told_by_their_loss(tmp_path, url):
    space = {"batch_size": (16, 32, 64)}  # costs in proportion, worth the same
    search = searching(tmp_path, url, space=space, trials=3, trade=0.05)
    run_in_turn(search)
    found, own = report_of(search), worth(RECIPE_OF.train)
    scores = {trial.values["batch_size"]: trial.score for trial in found.trials}
    assert scores == pytest.approx({"32": own, "16": own + 0.05, "64": own - 0.05})
    assert found.train.batch_size == 16
    tied = searching(tmp_path, url, "p/m/tied", space=space, trials=3)
    losses = {16: 0.4, 32: 0.5, 64: 0.3}
    run_in_turn(
        tied,
        lambda job, asked: Ended("complete", 0, 1, {"valid_score": 0.9, "valid_loss": losses[asked.train.batch_size]}),
    )
    assert report_of(tied).train.batch_size == 64


def test_the_minutes_of_earlier_processes_count(tmp_path, url):
    slow = Recipe(train=FineTune(epochs=1, accumulate=3))
    first = searching(tmp_path, url, recipe=slow, trials=2)
    run_in_turn(first)
    assert 0.4 / 60 < first.minutes_spent < 10 / 60
    again = searching(tmp_path, url, recipe=slow, trials=50, minutes=0.4 / 60)
    assert again.ask() is None
    assert report_of(again).minutes >= 0.4 / 60


def test_when_its_minutes_are_spent_a_running_trial_ends_at_its_next_epoch(tmp_path, url):
    slow = Recipe(train=FineTune(epochs=40, accumulate=2))
    search = searching(tmp_path, url, recipe=slow, trials=2)
    search.ask()
    ended = run_trial(search.job, replace(search.ask(), deadline=time.time() + 0.25))
    assert (ended.state, ended.epochs < 20) == ("pruned", True)
    assert "the search's minutes were spent" in ended.message


CHILD = """
import sys
from pathlib import Path
from tests.integration.test_search import searching, SLOW
from tasks.search.study import run_in_turn
run_in_turn(searching(Path(sys.argv[1]), sys.argv[2], recipe=SLOW, trials=5))
"""
SLOW = Recipe(train=FineTune(epochs=3, learning_rate=0.02, accumulate=3))


def test_a_killed_search_goes_on_runs_again_what_was_cut_off_and_nothing_else(tmp_path, url):
    command = [sys.executable, "-c", CHILD, str(tmp_path), url]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    until = time.monotonic() + 60
    while fits(tmp_path) < 3 and time.monotonic() < until:  # the third trial runs
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    search = searching(tmp_path, url, recipe=SLOW, trials=5)
    left = [trial for trial in search.study.get_trials() if "dead" in trial.user_attrs]
    assert (search.done, len(left)) == (2, 1)
    again = search.ask()
    assert again.train.learning_rate == left[0].params["learning_rate"]
    search.tell(again, run_trial(search.job, again))
    run_in_turn(search)
    assert (search.done, fits(tmp_path)) == (5, 6)  # five trials, one of which began twice
    whole = searching(tmp_path / "whole", f"sqlite:///{tmp_path}/whole.db", "p/l/one", recipe=SLOW, trials=5)
    run_in_turn(whole, by_formula())
    assert [t.values for t in report_of(search).trials] == [t.values for t in report_of(whole).trials]


def reached(search, target):
    """Return how many trials it took to score so much."""
    scores = [trial.score or 0.0 for trial in report_of(search).trials]
    return next((number for number, score in enumerate(scores, start=1) if score >= target), len(scores) + 1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_warm_search_reaches_in_half_the_trials_what_a_cold_one_did(tmp_path, url, seed):
    def run(study, family, shift, trials):
        spec = Search(space=SPACE, trials=trials, seed=seed, prune=False)
        search = begin(spec, job(tmp_path, url, study), SPACE, "l", family)
        run_in_turn(search, by_formula(shift))
        return search

    cold = run("c/l/later", "c/l/", 0.2, 14)
    run("p/l/earlier", "p/l/", 0.0, 14)
    warm = run("p/l/later", "p/l/", 0.2, 7)
    target = report_of(cold).best_score
    assert reached(warm, target) <= reached(cold, target) / 2
    origins = [trial.origin for trial in report_of(warm).trials]
    assert origins[0] == RECIPE and origins[1].startswith("trial ") and origins[1].endswith(" of earlier")
    assert warm.study.user_attrs["learned"] == "p/l/earlier"


def test_a_trial_whose_process_dies_is_a_failed_one(tmp_path, url):
    search = searching(tmp_path, url, recipe=Recipe(train=FineTune(seed=666)))
    ended = run_apart(search.job, search.ask())
    assert ended.state == "failed" and "its process died" in ended.message


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_trials_run_in_parallel_by_each_runner(prefect_api, tmp_path, url, runner):
    slow = Recipe(train=FineTune(epochs=3, learning_rate=0.02, accumulate=4))
    search = searching(tmp_path, url, recipe=slow, trials=4, parallel=2, runner=runner, prune=True)
    run_trials(search, make_runner(search.spec))
    found = report_of(search)
    assert len(found.trials) == 4 and {trial.state for trial in found.trials} <= {"complete", "pruned"}
    processes = {trial.ran_on for trial in found.trials}
    assert len(processes) >= 2 and not any(name.endswith(f":{os.getpid()}") for name in processes)
    spans = sorted((trial.datetime_start, trial.datetime_complete) for trial in search.counted())
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def test_one_line_moves_the_trials_to_a_dask_cluster_of_two_nodes(prefect_api, tmp_path, url):
    from distributed import LocalCluster

    slow = Recipe(train=FineTune(epochs=2, learning_rate=0.02, accumulate=3))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        workers = {f":{worker.pid}" for worker in cluster.workers.values()}
        search = searching(tmp_path, url, recipe=slow, trials=4, parallel=2, runner="dask",
                           address=cluster.scheduler_address)  # fmt: skip
        run_trials(search, make_runner(search.spec))
    ran = {f":{trial.ran_on.rsplit(':')[-1]}" for trial in report_of(search).trials}
    assert ran == workers and len(workers) == 2


@pytest.mark.filterwarnings("default")  # what libraries say while they train is not the search's
def test_a_search_lever_is_tried_with_what_it_found_and_says_what_each_trial_was_worth(
    prefect_api, tmp_path, tiny_base
):
    lever = {"trials": 3, "space": {"learning_rate": [0.001, 0.02], "epochs": [1, 8]}}
    plain = {"epochs": 1, "learning_rate": 0.001, "precision": "fp32"}
    spec = make_project(tmp_path / "tiny", tiny_base, levers=[{"name": "tuned", "search": lever}],
                        recipe={"base": str(tiny_base), "train": plain}, budget={"minutes": 30})  # fmt: skip
    project = open_project(spec)
    source = collect(project.store, str(project.root), project.spec.data)
    snapshot = tasks.build.snapshot(project.store, [source], project.spec.data)
    recipe = project.spec.recipe
    champion = Contender(recipe, tasks.build.build(tasks.build, project.store, recipe, snapshot))
    best, [trial] = climb(project, champion, snapshot, project.spec.levers, new_data=False)
    found = trial.search
    assert [each.state for each in found.trials] == ["complete"] * 3
    assert found.trials[0].epochs == 0 < found.trials[1].epochs  # the champion's own fit was in the store
    assert found.best_score == max(each.score for each in found.trials) > found.own_score
    assert len(list((project.state / "store" / "fit").glob("*/record.json"))) == 3  # nor was the best trained again
    assert trial.candidate.notes["valid_score"] == pytest.approx(found.best_score)
    assert trial.kept and best.recipe.train == found.train
    outcome = Outcome(2, "rejected", Verdict("reject", "no"), snapshot, "2026-11-27T00:00:00Z",
                      trials=(trial,), changed=("tuned",))  # fmt: skip
    assert from_json(Outcome, to_json(outcome)) == outcome
    write_outcome(project, outcome)
    write_report(outcome, [outcome], project.report_path(2))
    html = unescape(project.report_path(2).read_text("utf-8"))
    assert all(text in html for text in ("What searches tried", found.sentence, "Scores of a search's trials"))
    [effect] = lever_effects(project, "tuned")
    assert len(effect["search"]["trials"]) == 3
    show_effects([effect])


def test_a_missing_package_names_the_extra():
    with pytest.raises(ModelError, match="needs the package prefect_ray; install Ratchet's extra `ray`"):
        make_runner(Search(trials=1, runner="ray"))
