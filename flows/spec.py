"""The whole user-facing spec: the rooms' sections composed, read from YAML and checked at the door.

Errors name file, field and mend; an unknown key suggests the nearest known one. Reads no data.
"""

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from feedback.harvest import HarvestSpec
from flows.mistakes import describe_mistake
from monitoring.drift import MonitorSpec
from tasks.errors import SpecError
from tasks.levers import stage_of
from tasks.measure.gate.limits import samples_needed
from tasks.specs import BenchmarkSpec, BudgetSpec, DataSpec, GateSpec, Lever, QualitySpec, Recipe, RegistrySpec

if TYPE_CHECKING:
    import yaml

T = TypeVar("T")

DEFAULT_FILE = "ratchet.yaml"
SHOWN_MISTAKES = 3


@dataclass(frozen=True, config={"extra": "forbid"})
class FeedbackSpec:
    """Where predictions and feedback are kept and what of them is trusted."""

    database_url: str = ""  # empty: SQLite in the project's own folder
    scrub: bool = True  # personal data is replaced before the webhook stores a text, and in what was stored before
    harvest: HarvestSpec = field(default_factory=HarvestSpec)


def _check_stage(lever: Lever) -> Lever:
    stage_of(lever)
    return lever


def _check_distinct(levers: tuple[Lever, ...]) -> tuple[Lever, ...]:
    names = [lever.name for lever in levers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} stands twice; give each lever a name of its own")
    return levers


Levers = Annotated[tuple[Annotated[Lever, AfterValidator(_check_stage)], ...], AfterValidator(_check_distinct)]


@dataclass(frozen=True, config={"extra": "forbid"})
class Spec:
    """What a user declares in one YAML file."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    data: DataSpec
    task: Literal["classification"] = "classification"
    recipe: Recipe = field(default_factory=Recipe)
    levers: Levers = ()
    budget: BudgetSpec = field(default_factory=BudgetSpec)
    quality: QualitySpec = field(default_factory=QualitySpec)
    benchmark: BenchmarkSpec = field(default_factory=BenchmarkSpec)
    gate: GateSpec = field(default_factory=GateSpec)
    registry: RegistrySpec = field(default_factory=RegistrySpec)
    feedback: FeedbackSpec = field(default_factory=FeedbackSpec)
    monitor: MonitorSpec = field(default_factory=MonitorSpec)

    @field_validator("gate")
    @classmethod
    def _check_samples(cls, gate: GateSpec, info: ValidationInfo) -> GateSpec:
        """Refuse a limit on a percentile that the benchmark's samples could never tell."""
        benchmark, needed = info.data.get("benchmark"), samples_needed(gate.limits)
        if benchmark is not None and benchmark.samples < needed:
            raise ValueError(f"its limit on a latency's percentile needs {needed} batch-1 predictions, and "
                             f"benchmark.samples is {benchmark.samples}; raise that to {needed}")  # fmt: skip
        return gate


def read_spec(path: Path) -> Spec:
    """Return the spec that a YAML file holds.

    Raises:
        SpecError: the file is missing, is no YAML, or does not validate: one line with the first three mistakes.
    """
    return read_as(Spec, path, "keys such as `name` and `data`", "`ratchet init` shows an example")


def read_as(kind: type[T], path: Path, expected: str, mend: str) -> T:
    """Return what a YAML file of keys and values holds, validated as a dataclass.

    Raises:
        SpecError: the file is missing, is no YAML, holds no keys (`expected` and `mend` say what to do), or does not
            validate: one line with the first three mistakes.
    """
    content = _read_yaml(path)
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise SpecError(f"{path}: expected {expected}, found {found}; {mend}")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        mistakes = list(dict.fromkeys(describe_mistake(detail, kind) for detail in error.errors()))
        if kind is not Spec:
            mistakes = [mistake.removeprefix("spec: ") for mistake in mistakes]  # the whole file is meant
        more = len(mistakes) - SHOWN_MISTAKES
        shown = "; ".join(mistakes[:SHOWN_MISTAKES]) + (f" (and {more} more)" if more > 0 else "")
        raise SpecError(f"{path}: {shown}") from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the spec, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(Spec).json_schema()}


def _read_yaml(path: Path) -> Any:
    """Return the file's content as plain data.

    Raises:
        SpecError: the file is missing or is no YAML in UTF-8.
    """
    import yaml

    try:
        text = path.read_text("utf-8")
        _refuse_twice(yaml.compose(text, yaml.SafeLoader), path, set())
        return yaml.safe_load(text)
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file; write one with `ratchet init DIR`, or name yours") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error.reason} at byte {error.start}"
        raise SpecError(f"{path}: cannot be read ({reason}); give a YAML file in UTF-8") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: {_describe_yaml(error)}; mend the YAML there") from error
    except (ValueError, RecursionError) as error:  # a date or a number that cannot be; brackets without end
        raise SpecError(f"{path}: no usable YAML ({error}); put such a value in quotes or remove it") from error


def _describe_yaml(error: "yaml.YAMLError") -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'not YAML'}"
    return " ".join(str(error).split())


def _refuse_twice(node: Any, path: Path, seen: set[int]) -> None:
    """Raise SpecError where a mapping has a key twice: YAML would let the last one win in silence."""
    if id(node) in seen or not isinstance(getattr(node, "value", None), list):
        return
    seen.add(id(node))
    keys: set[str] = set()
    for item in node.value:
        for child in item if isinstance(item, tuple) else (item,):
            _refuse_twice(child, path, seen)
        key = item[0] if isinstance(item, tuple) else None
        if key is None or not isinstance(key.value, str):
            continue
        if key.value in keys:
            line = key.start_mark.line + 1
            raise SpecError(f"{path}: line {line}: {key.value} stands twice in one place; keep one of them")
        keys.add(key.value)
