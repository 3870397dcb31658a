"""Running the trials of a search: several at a time, by the Prefect task runner that the spec names.

One line of the spec decides where they run: threads or processes here, a Dask or a Ray cluster. What is tried next, and
what is learned from it, is `tasks.search.study`'s business.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.project import Project
from tasks import stages
from tasks.build import training_rows
from tasks.data.rows import values
from tasks.data.snapshot import read_table
from tasks.errors import ModelError
from tasks.given import Given
from tasks.progress import report_progress
from tasks.records import Snapshot, Table
from tasks.search.past import report_of
from tasks.search.report import SearchReport
from tasks.search.space import Range, Search, Space, plain, usual_space
from tasks.search.study import Searching, begin
from tasks.search.trial import Fit, Job, fit_recipe
from tasks.specs import Lever, Recipe
from tasks.store import cache_key
from tasks.train.bases.base import base_identity

log = logging.getLogger(__name__)


def search(
    project: Project,
    recipe: Recipe,
    lever: Lever,
    snapshot: Snapshot,
    given: Given,
    minutes: float | None = None,
    fit: Fit = fit_recipe,
) -> SearchReport:
    """Return what a search lever found from a recipe: its best base and `train` section, and every trial.

    Args:
        given: what each trial is made with beside recipe and snapshot.
        minutes: what the iteration leaves it, where that is less than its own.

    Raises:
        ModelError: every trial failed, or the runner's package is not installed.
    """
    spec = lever.search
    assert spec is not None
    rows: Table = training_rows(stages, project.store, recipe, snapshot, given)
    counts = Counter(values(read_table(Path(rows.uri), rows.digest), "target"))
    space = spec.space or usual_space(recipe.base, recipe.train, min(counts.values(), default=0))
    family = f"{project.spec.name}/{lever.name}/"
    job = Job(project.studies_url, family + _inputs(rows, snapshot, recipe, given, space, spec), project.store, recipe,
              snapshot, given, spec.prune, _threads(spec), fit)  # fmt: skip
    runner = make_runner(spec)
    searching = begin(spec, job, space, lever.name, family, minutes)
    run_trials(searching, runner)
    found = report_of(searching)
    log.info("lever %s: %s", lever.name, found.sentence)
    return found


def _inputs(rows: Table, snapshot: Snapshot, recipe: Recipe, given: Given, space: Space, spec: Search) -> str:
    """Return what stands for all that a trial's score depends on: where it is the same, a study goes on."""
    varied = {name: asdict(each) if isinstance(each, Range) else [plain(value) for value in each]
              for name, each in space.items()}  # fmt: skip
    others = [part.digest if part else "" for part in (given.parent, given.unlabelled)]
    return cache_key(
        "fit", rows, snapshot, base_identity(recipe.base), recipe.train, varied, others,
        [spec.trade, spec.seed, spec.prune],
    )  # fmt: skip


def _threads(spec: Search) -> int:
    """Return on how many threads one trial computes: those of this machine in equal parts, where they are shared."""
    here = spec.parallel > 1 and not spec.address
    return max(1, (os.cpu_count() or 1) // spec.parallel) if here else 0


def run_trials(searching: Searching, runner: Any) -> None:
    """Run the trials that the search asks for in a Prefect flow of their own, `parallel` of them at a time."""
    from prefect import flow

    spec = searching.spec
    stage = stages.trial_apart if spec.runner == "threads" and spec.parallel > 1 else stages.trial

    def trials() -> None:
        _drive(searching, stage)

    flow(name="search", flow_run_name=f"search-{searching.lever}", task_runner=runner, log_prints=False)(trials)()


def _drive(searching: Searching, stage: Any) -> None:
    """Ask, submit and tell until the search asks for nothing more."""
    from prefect.futures import as_completed

    pending: dict[Any, Any] = {}
    while True:
        while len(pending) < searching.spec.parallel and (asked := searching.ask()) is not None:
            pending[stage.submit(searching.job, asked)] = asked
        if not pending:
            return
        _tell_progress(searching)
        ended = next(iter(as_completed(list(pending))))
        searching.tell(pending.pop(ended), ended.result())
        _tell_progress(searching)


def _tell_progress(searching: Searching) -> None:
    """Report trials, or minutes where only they are limited."""
    name, spec = f"search {searching.lever}", searching.spec
    if spec.trials is not None:
        report_progress(f"{name}, {searching.minutes_spent:.0f} min", searching.done, spec.trials)
    elif searching.minutes is not None:
        done = min(searching.minutes_spent, searching.minutes)
        report_progress(f"{name}, {searching.done} trials", round(60 * done), round(60 * searching.minutes))


def make_runner(spec: Search) -> Any:
    """Return the Prefect task runner that the spec names.

    Raises:
        ModelError: its package is not installed.
    """
    makers: dict[str, Callable[[Search], Any]] = {
        "threads": _threads_runner, "processes": _processes_runner, "dask": _dask_runner, "ray": _ray_runner,
    }  # fmt: skip
    try:
        return makers[spec.runner](spec)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"search: the runner {spec.runner!r} needs the package {error.name}; install Ratchet's extra "
            f"`{spec.runner}`: pip install -c constraints.txt '.[pipeline,{spec.runner}]'"
        ) from error


def _threads_runner(spec: Search) -> Any:
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=spec.parallel)


def _processes_runner(spec: Search) -> Any:
    from prefect.task_runners import ProcessPoolTaskRunner

    return ProcessPoolTaskRunner(max_workers=spec.parallel)


def _dask_runner(spec: Search) -> Any:
    from prefect_dask import DaskTaskRunner

    if spec.address:
        return DaskTaskRunner(address=spec.address)
    here = {"n_workers": spec.parallel, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=here)


def _ray_runner(spec: Search) -> Any:
    from prefect_ray import RayTaskRunner

    return RayTaskRunner(address=spec.address or None, init_kwargs={} if spec.address else {"num_cpus": spec.parallel})
