"""The stages as Prefect tasks: one table of names, retries, timeouts and caching.

The work is in `tasks.collect`, `tasks.guard`, `tasks.build` and `tasks.measurements`. A stage is cached by the content
of its arguments, so a rerun with nothing changed shows every stage as cached. `collect` looks at the source each time;
judging and promoting are never cached, nor are a search's trials, which its study knows. Tasks carry no tags: for each
tag Prefect asks its server for a concurrency slot, and a server on SQLite often answers that only after seconds.
"""

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext

from tasks import build, guard, measurements
from tasks import collect as collecting
from tasks.errors import UserError
from tasks.identities import named_models, student_identity
from tasks.search import trial as trials
from tasks.store import Store, cache_key
from tasks.suspects import find_golden_suspects
from tasks.train.bases.base import base_identity


def by_content(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return the key of a stage call: its name and code, every argument, and the store that its handle points into."""
    parts = [_identity(name, value) for name, value in parameters.items()]
    return cache_key(context.task.name, *parts)


def _identity(name: str, value: Any) -> Any:
    if isinstance(value, Store):
        return value.root
    if name in ("steps", "methods"):
        return [value, named_models(value)]
    if name == "step":
        return [value, named_models([value])]
    if name == "method":
        return [value, student_identity(value)]
    if name == "teacher":
        return value or ""  # the empty value where there is none
    return base_identity(value) if name == "base" else value


def _cached(name: str, **options: Any) -> Callable[..., Any]:
    """Return what makes a cached task of a stage; a cached record counts only while what it names is in the store."""

    def make(function: Callable[..., Any]) -> Callable[..., Any]:
        stage = task(name=name, cache_key_fn=by_content, persist_result=True, result_serializer="json",
                     log_prints=False, **options)(function)  # fmt: skip

        def run(store: Store, *arguments: Any) -> Any:
            made = stage(store, *arguments)
            return made if store.holds(made) else stage.with_options(refresh_cache=True)(store, *arguments)

        return run

    return make


def _can_pass(task: Any, run: Any, state: State[Any]) -> bool:
    """Return whether trying again may help: not for a mistake of the user's."""
    return not isinstance(state.result(raise_on_failure=False), UserError)


HOUR = 3600
collect = task(name="collect", retries=2, retry_delay_seconds=5, retry_condition_fn=_can_pass, timeout_seconds=HOUR)(
    collecting.collect
)
collect_feedback = task(name="harvest")(collecting.collect_feedback)
collect_texts = task(name="unlabelled")(collecting.collect_texts)
snapshot = _cached("snapshot")(build.snapshot)
check = _cached("check")(guard.check)
check_feedback = _cached("check_feedback")(guard.check_feedback)
suspects = _cached("suspects")(find_golden_suspects)
clean_rows = _cached("clean")(build.clean_rows)
augment_rows = _cached("augment", timeout_seconds=24 * HOUR)(build.augment_rows)
fit = _cached("fit", timeout_seconds=24 * HOUR)(build.fit)
trial = task(name="trial", cache_policy=NO_CACHE)(trials.run_trial)  # its own deadline is the search's
trial_apart = task(name="trial", cache_policy=NO_CACHE)(trials.run_apart)
compress = _cached("compress", timeout_seconds=6 * HOUR)(build.compress)
score = _cached("score", timeout_seconds=6 * HOUR)(measurements.score)
screen = _cached("screen", timeout_seconds=6 * HOUR)(measurements.screen)
benchmark = _cached("benchmark", timeout_seconds=6 * HOUR)(measurements.benchmark)
profile = _cached("profile", timeout_seconds=HOUR)(measurements.profile)
