"""The whole user-facing spec: the rooms' sections composed, read from YAML and checked at the door.

Errors name file, field and mend; an unknown key suggests the nearest known one. Reads no data.
"""

import difflib
import types
import typing
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from feedback.harvest import HarvestSpec
from monitoring.drift import MonitorSpec
from tasks.errors import SpecError
from tasks.levers import stage_of
from tasks.specs import BenchmarkSpec, DataSpec, GateSpec, Lever, Recipe, RegistrySpec

DEFAULT_FILE = "ratchet.yaml"


@dataclass(frozen=True, config={"extra": "forbid"})
class FeedbackSpec:
    """Where predictions and feedback are kept and what of them is trusted."""

    database_url: str = ""  # empty: SQLite in the project's own folder
    harvest: HarvestSpec = field(default_factory=HarvestSpec)


@dataclass(frozen=True, config={"extra": "forbid"})
class Spec:
    """What a user declares in one YAML file."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    data: DataSpec
    task: Literal["classification"] = "classification"
    recipe: Recipe = field(default_factory=Recipe)
    levers: tuple[Lever, ...] = ()
    benchmark: BenchmarkSpec = field(default_factory=BenchmarkSpec)
    gate: GateSpec = field(default_factory=GateSpec)
    registry: RegistrySpec = field(default_factory=RegistrySpec)
    feedback: FeedbackSpec = field(default_factory=FeedbackSpec)
    monitor: MonitorSpec = field(default_factory=MonitorSpec)

    @model_validator(mode="after")
    def _levers_are_distinct(self) -> Self:
        names = [lever.name for lever in self.levers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"lever names must be distinct, {twice[0]!r} stands twice")
        for lever in self.levers:
            stage_of(lever)
        return self


def read_spec(path: Path) -> Spec:
    """Return the spec that a YAML file holds.

    Raises:
        SpecError: the file is missing, is no YAML, or does not validate: one line per mistake, the first three.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file; write one with `ratchet init DIR`, or name yours") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error}); give a YAML file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        problem = getattr(error, "problem", None) or "not YAML"
        raise SpecError(f"{path}: {where}: {problem}; mend the YAML there") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: expected keys such as `name` and `data`, found {type(content).__name__}")
    try:
        return TypeAdapter(Spec).validate_python(content)
    except ValidationError as error:
        mistakes = [_describe(detail) for detail in error.errors()]
        more = f" (and {len(mistakes) - 3} more)" if len(mistakes) > 3 else ""
        raise SpecError(f"{path}: " + "; ".join(mistakes[:3]) + more) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the spec, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(Spec).json_schema()}


def _describe(detail: Any) -> str:
    """Return one mistake as `field.path: what came; what to do`."""
    kind, where = detail["type"], detail["loc"]
    if kind == "unexpected_keyword_argument":
        known = _known_keys(where[:-1])
        near = difflib.get_close_matches(str(where[-1]), known, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{_path(where)}: unknown key; {mend}"
    if kind in ("missing", "missing_argument"):
        return f"{_path(where)}: missing; it is required"
    message = detail["msg"].removeprefix("Value error, ")
    given = detail.get("input")
    came = f" (found {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{_path(where) or 'spec'}: {message[0].lower() + message[1:]}{came}"


def _path(where: tuple[Any, ...]) -> str:
    """Return `levers[0].train.epochs`, without the tags that unions add to the location."""
    text = ""
    for step in _without_tags(where):
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _without_tags(where: tuple[Any, ...]) -> list[Any]:
    """Drop the discriminator values from a location: they name no key of the file."""
    steps: list[Any] = []
    owners: list[Any] = [Spec]
    for step in where:
        owners, named = _descend(owners, step)
        if named:
            steps.append(step)
    return steps


def _known_keys(where: tuple[Any, ...]) -> list[str]:
    owners: list[Any] = [Spec]
    for step in where:
        owners, _ = _descend(owners, step)
    return sorted({known.name for owner in owners if is_dataclass(owner) for known in fields(owner)})


def _descend(owners: list[Any], step: Any) -> tuple[list[Any], bool]:
    """Return the types that stand at a step below the owners, and whether the step is a key or index of the file."""
    if isinstance(step, int):
        return [part for owner in owners for part in _parts(owner)], True
    for owner in owners:
        if is_dataclass(owner) and step in {known.name for known in fields(owner)}:
            hint = get_type_hints(typing.cast(type, owner), include_extras=True)[step]
            return _alternatives(hint), True
    tagged = [owner for owner in owners if is_dataclass(owner) and getattr(owner, "kind", None) == step]
    return (tagged, False) if tagged else (owners, True)


def _alternatives(hint: Any) -> list[Any]:
    """Return the types a hint allows: `Annotated` and unions taken apart, sequences kept whole."""
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (typing.Union, types.UnionType):
        return [found for part in get_args(hint) for found in _alternatives(part)]
    return [hint]


def _parts(hint: Any) -> list[Any]:
    """Return the types of a sequence's items."""
    return [found for part in get_args(hint) if part is not Ellipsis for found in _alternatives(part)]
