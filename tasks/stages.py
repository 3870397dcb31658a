"""The stages as Prefect tasks: one table of names, retries, timeouts, caching and tags. The work is in `tasks.build`.

A stage's Prefect cache key is the content key its output is stored under, so a rerun with nothing changed shows every
stage as cached. `collect` looks at the source each time; judging and promoting are never cached.
"""

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext

from tasks import build
from tasks.errors import UserError
from tasks.store import Store, cache_key
from tasks.train.finetune import base_identity


def by_content(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return the key of a stage call: its name and code, every argument, and the store that its handle points into."""
    parts = [_identity(name, value) for name, value in parameters.items()]
    return cache_key(context.task.name, *parts)


def _identity(name: str, value: Any) -> Any:
    if isinstance(value, Store):
        return value.root
    return base_identity(value) if name == "base" else value


def _cached(name: str, **options: Any) -> Callable[..., Any]:
    return task(name=name, cache_key_fn=by_content, persist_result=True, result_serializer="json",
                log_prints=False, **options)  # fmt: skip


def _can_pass(task: Any, run: Any, state: State[Any]) -> bool:
    """Return whether trying again may help: not for a mistake of the user's."""
    return not isinstance(state.result(raise_on_failure=False), UserError)


HOUR = 3600
collect = task(
    name="collect", retries=2, retry_delay_seconds=5, retry_condition_fn=_can_pass, timeout_seconds=HOUR, tags={"data"}
)(build.collect)
collect_feedback = task(name="harvest", tags={"data"})(build.collect_feedback)
snapshot = _cached("snapshot", tags={"data"})(build.snapshot)
check = _cached("check", tags={"data"})(build.check)
clean_rows = _cached("clean", tags={"data"})(build.clean_rows)
augment_rows = _cached("augment", tags={"data"})(build.augment_rows)
fit = _cached("fit", tags={"train"}, timeout_seconds=24 * HOUR)(build.fit)
compress = _cached("compress", tags={"compress"}, timeout_seconds=6 * HOUR)(build.compress)
score = _cached("score", tags={"measure"}, timeout_seconds=6 * HOUR)(build.score)
benchmark = _cached("benchmark", tags={"measure"}, timeout_seconds=6 * HOUR)(build.benchmark)
