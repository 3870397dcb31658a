"""What a search over recipes may vary, how long, and where its trials run. Searches nothing."""

import difflib
import json
import math
from dataclasses import asdict, field, fields, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from tasks.train.bases.base import Base
from tasks.train.methods import Contrastive, FineTune, Full

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BASE = "base"  # the one name in a space that is no field of `train`


@dataclass(frozen=True, config={"extra": "forbid"})
class Range:
    """Numbers from `low` to `high`, both included; whole ones where the field holds whole ones."""

    low: float
    high: float
    log: bool = False  # drawn evenly on the logarithmic scale


Space = dict[str, Range | tuple[Any, ...]]


@cache
def _hints() -> dict[str, Any]:
    return {**get_type_hints(FineTune, include_extras=True), BASE: Base}


def _check_name(name: Any) -> None:
    known = [BASE, *(each.name for each in fields(FineTune))]
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    raise ValueError(f"{name!r} is no field of `train` and not `base`; {mend}")


def is_whole(name: str) -> bool:
    """Return whether a field of `train` holds whole numbers."""
    return _number_type(name) is int


def _number_type(name: str) -> type | None:
    hint = _hints()[name]
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return kind if kind in (int, float) else None


@cache
def _door(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_hints()[name])


def _check_value(name: str, value: Any) -> Any:
    """Return the value as the field holds it, so that `frozen` and `{kind: frozen}` are one choice."""
    try:
        return _door(name).validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]
        if detail["type"] == "unexpected_keyword_argument":
            raise ValueError(f"{name}: {value!r} has an unknown key {str(detail['loc'][-1])!r}") from error
        reason = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        raise ValueError(f"{name}: {value!r} cannot be a choice: {reason[0].lower()}{reason[1:]}") from error


def _check_range(name: str, given: Any) -> Range:
    """Return numbers between two bounds, both of which the field takes."""
    try:
        span = TypeAdapter(Range).validate_python(given)
    except ValidationError as error:
        raise ValueError(f"{name}: expected a list of choices or {{low: .., high: ..}}, found {given!r}") from error
    if _number_type(name) is None:
        raise ValueError(f"{name}: a range needs a number, and {name} is none; give a list of choices")
    if not (math.isfinite(span.low) and math.isfinite(span.high) and span.low < span.high):
        raise ValueError(f"{name}: low must lie below high (found low {span.low:g}, high {span.high:g})")
    if span.log and span.low <= 0:
        raise ValueError(f"{name}: a logarithmic range starts above 0 (found low {span.low:g})")
    for end in (span.low, span.high):
        _check_value(name, end)
    return span


def _check_choices(name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the choices, equal ones once."""
    choices: list[Any] = []
    for each in given:
        value = _check_value(name, each)
        choices += [] if value in choices else [value]
    if not choices:
        raise ValueError(f"{name}: an empty list leaves nothing to choose from; remove it or give choices")
    return tuple(choices)


@dataclass(frozen=True, config={"extra": "forbid"})
class Search:
    """A search for the best `train` section and base: what it varies, its budget, where its trials run."""

    space: Space = field(default_factory=dict)  # field of `train`, or `base`; empty: usual
    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # then no trial begins or goes on
    trials: Annotated[int, Field(ge=1)] | None = None  # in all
    parallel: Annotated[int, Field(ge=1, le=1024)] = 1  # trials at a time
    runner: Literal["threads", "processes", "dask", "ray"] = "threads"  # Prefect's task runner
    address: str = ""  # of a Dask or Ray cluster; empty: one on this machine
    prune: bool = True  # stop what is clearly worse on its way (successive halving)
    trade: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # the share of accuracy that half the cost is worth
    seed: int = 13

    @field_validator("space", mode="before")
    @classmethod
    def _check_space(cls, space: Any) -> Any:
        """Refuse what no trial could be made of, before any is."""
        if not isinstance(space, dict):
            return space
        for name in space:
            _check_name(name)
        return {
            name: _check_choices(name, tuple(given)) if isinstance(given, list | tuple) else _check_range(name, given)
            for name, given in space.items()
        }

    @field_validator("minutes", "trials", mode="before")
    @classmethod
    def _check_budget(cls, given: Any) -> Any:
        if isinstance(given, int | float) and not isinstance(given, bool) and given <= 0:
            raise ValueError(f"a search with a budget of {given:g} tries nothing; give more than 0")
        return given

    @model_validator(mode="after")
    def _check_whole(self) -> "Search":
        if self.minutes is None and self.trials is None:
            raise ValueError("a search without a budget never ends; give `minutes` or `trials`, as in {trials: 20}")
        if self.address and self.runner not in ("dask", "ray"):
            raise ValueError(f"`address` is that of a Dask or Ray cluster, and the runner is {self.runner!r}; "
                             "set `runner: dask` or `runner: ray`, or remove the address")  # fmt: skip
        return self


def usual_space(base: Base, method: FineTune, fewest: int) -> Space:
    """Return a sensible space around a recipe.

    Args:
        fewest: rows of the rarest class. Where it is small, contrastive training is a choice, and training may take
            more epochs, since an epoch has few steps.
    """
    few = fewest < Contrastive().below
    decays = tuple(Full(layer_decay=decay) for decay in (1.0, 0.95, 0.9, 0.8))
    rate, batch, epochs = method.learning_rate, method.batch_size, method.epochs
    return {
        "learning_rate": Range(rate / 4, max(rate, min(4 * rate, 0.5)), log=True),
        "epochs": Range(max(1, epochs // 2), min(1000, (6 if few else 2) * epochs + 1)),
        "batch_size": tuple(sorted({max(1, batch // 4 if few else batch // 2), batch, min(4096, 2 * batch)})),
        "label_smoothing": Range(0.0, 0.2),
        "dropout": Range(0.0, 0.4),
        "weight_decay": Range(0.0, 0.1),
        "tune": decays,
        "schedule": ("linear", "cosine", "constant"),
        **({"contrastive": (None, Contrastive())} if few else {}),
    }


def with_own(space: Space, base: Base, method: FineTune) -> Space:
    """Return the space with the recipe's own value among the choices of every field, so that the recipe is in it."""

    def add(name: str, given: Range | tuple[Any, ...]) -> Range | tuple[Any, ...]:
        own = own_value(name, base, method)
        return given if isinstance(given, Range) or own in given else (*given, own)

    return {name: add(name, given) for name, given in space.items()}


def own_value(name: str, base: Base, method: FineTune) -> Any:
    """Return what a recipe has under a name of the space."""
    return base if name == BASE else getattr(method, name)


def change(base: Base, method: FineTune, values: dict[str, Any]) -> tuple[Base, FineTune]:
    """Return base and method with the values of a point of the space in their places."""
    return values.get(BASE, base), replace(method, **{name: value for name, value in values.items() if name != BASE})


Plain = float | int | str | bool | None


def plain(value: Any) -> Plain:
    """Return a value as a number, a text or None; equal values give equal ones: a method becomes its JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    content = {"of": type(value).__name__, **asdict(value)} if _is_record(value) else value
    return json.dumps(content, sort_keys=True, default=_as_list)


def made_of(base: Base, method: FineTune) -> str:
    """Return what stands for base and method: equal ones have equal texts."""
    return json.dumps([plain(base), plain(method)])


def _is_record(value: Any) -> TypeGuard["DataclassInstance"]:
    return is_dataclass(value) and not isinstance(value, type)


def _as_list(value: Any) -> list[Any]:
    return list(value)


def shown(value: Any) -> str:
    """Return a value as a person reads it: `lora (rank 8)`, where only what differs from the usual is named."""
    if not _is_record(value):
        return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
    name = str(getattr(value, "kind", type(value).__name__.lower()))
    usual = {each.name: each.default for each in fields(value)}
    changed = {key: getattr(value, key) for key in usual if key != "kind" and getattr(value, key) != usual[key]}
    return name + (f" ({', '.join(f'{key} {part}' for key, part in changed.items())})" if changed else "")
