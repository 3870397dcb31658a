"""How two models are made differently, field by field. Makes none."""

import json
import logging
from typing import Any

from flows.outcome import Outcome
from flows.project import Project
from flows.promotion import JUDGED_AGAINST
from tasks.errors import RatchetError
from tasks.levers import pull, pull_found, pull_passes
from tasks.registry import flat_params
from tasks.specs import Recipe

log = logging.getLogger(__name__)


def recipe_changes(project: Project, outcome: Outcome) -> list[tuple[str, str, str]]:
    """Return field, champion's value and candidate's value of what the kept levers changed about the recipe.

    Empty for the first model, where no lever was kept, and where the champion's record cannot be read.
    """
    if outcome.result == "baseline" or not outcome.changed:
        return []
    registry = project.registry
    try:
        judged = registry.version(outcome.version).tags.get(JUDGED_AGAINST) if outcome.version else ""
        before = registry.read_record(registry.version(judged or outcome.champion_version)).recipe
    except RatchetError as error:  # a report does without it
        log.warning("the champion's recipe cannot be read: %s", error)
        return []
    after = before
    levers = {lever.name: lever for lever in project.spec.levers}
    found = {trial.lever: trial.search for trial in outcome.trials if trial.search}
    compressed = {trial.lever: trial.compression for trial in outcome.trials if trial.compression}
    for name in outcome.changed:  # in the order they were kept; `new-data` leaves the recipe as it is
        if name in found:
            after = pull_found(found[name], after)
        elif name in compressed:
            after = pull_passes(compressed[name], after)
        elif name in levers:
            after = pull(levers[name], after)
    return difference(before, after)


def difference(before: Recipe, after: Recipe) -> list[tuple[str, str, str]]:
    """Return field, value before and value after of what differs between two recipes, as text."""
    old, new = flat_params(before), flat_params(after)
    return [(name, _shown(old[name]), _shown(new[name])) for name in old if old[name] != new[name]]


def _shown(value: Any) -> str:
    """Return a parameter as a person reads it: `normalise, near_duplicates (threshold 0.9)`, `minilm (layers 0 2)`."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return str(value)
    if isinstance(found, dict):
        return _step(found)
    if not isinstance(found, list):
        return str(value)
    return ", ".join(_step(step) for step in found) or "none"


def _step(step: Any) -> str:
    """Return a step, a method or a base: what it is called, and its settings."""
    if not isinstance(step, dict):
        return str(step)
    title = next((name for name in ("kind", "name", "family") if name in step), "")
    settings = ", ".join(
        f"{name} {_setting(value)}" for name, value in step.items() if name != title and value not in (None, (), [])
    )
    return str(step.get(title, "")) + (f" ({settings})" if settings else "")


def _setting(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return str(value)
    if any(isinstance(each, dict) for each in value):  # the passes of a cascade's stage
        return f"[{', '.join(map(_step, value))}]"
    return " ".join(map(str, value))
