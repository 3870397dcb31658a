"""What a user may write about the data's suite, in `data.checks` of the spec and in `checks.yaml` beside it.

A key left out is derived (`checking.suite`); `off` or null switches an expectation off. It looks at no data; what two
places together contradict is told where they are merged.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import core_schema

from tasks.data.cleaning.language import LANGUAGES

AUTO: Any = "auto"  # stands where nothing is written

Name = Literal[
    "columns", "types", "ids", "splits", "labels", "class_labels", "required_labels", "forbidden_labels",
    "known_labels", "min_rows", "max_rows", "min_distinct_texts", "min_class_rows", "max_class_distance",
    "max_class_factor", "max_empty_share", "max_duplicate_share", "max_pii_share", "max_chars", "length", "languages",
    "leakage",
]  # fmt: skip
NAMES: tuple[str, ...] = get_args(Name)  # in the order they are told
Severity = Literal["stop", "warn"]


def _known(name: Any) -> Any:
    if name in NAMES:
        return name
    near = get_close_matches(str(name), NAMES, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(NAMES)}"
    raise ValueError(f"unknown expectation {name!r}; {mend}")


def _off(value: Any) -> Any:
    """Return None for what switches off; YAML reads `off` as false."""
    if value is True:
        raise ValueError("expected a limit, or `off`, found yes")
    return None if value is False or value == "off" else value


def _switch(value: Any) -> Any:
    return False if value is None or value == "off" else value


def _check_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"no language {code!r} can be told; give ISO 639 codes such as en, de, fr, es or zh")
    return code


def _check_distinct(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    twice = _twice(names or ())
    if twice:
        raise ValueError(f"{twice!r} stands twice; keep one of them")
    return names


class _OrAuto:
    """Lets a field of any type also be `AUTO`, without a second mistake in the message where it is neither."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda value, validate: AUTO if isinstance(value, str) and value == AUTO else validate(value),
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
        )


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(gt=1, allow_inf_nan=False)]
KnownName = Annotated[Name, BeforeValidator(_known)]

Switch = Annotated[bool, BeforeValidator(_switch), _OrAuto()]
OptionalCount = Annotated[Count | None, BeforeValidator(_off), _OrAuto()]
OptionalShare = Annotated[Share | None, BeforeValidator(_off), _OrAuto()]
OptionalFactor = Annotated[Factor | None, BeforeValidator(_off), _OrAuto()]
Words = Annotated[tuple[str, ...] | None, AfterValidator(_check_distinct), BeforeValidator(_off), _OrAuto()]
Names = Annotated[tuple[KnownName, ...], _OrAuto()]


@dataclass(frozen=True, config={"extra": "forbid"})
class LengthRange:
    """The characters that a text has, but for a share of the rows."""

    min: Annotated[int, Field(ge=0)]
    max: Annotated[int, Field(ge=0)]
    outside: Share = 0.05  # of the rows, at most

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}; lower min or raise max")
        return self


@dataclass(frozen=True, config={"extra": "forbid"})
class LanguageMix:
    """The languages that the texts are in, but for a share of those whose language can be told."""

    allowed: Annotated[tuple[Annotated[str, AfterValidator(_check_language)], ...], Field(min_length=1)]
    min_share: Share = 0.5


@dataclass(frozen=True, config={"extra": "forbid"})
class ValidateSpec:
    """What a snapshot must keep to, where it is not left to be derived; `off` switches an expectation off.

    Shares are from 0 to 1 of all rows, counts at least 1. `warn` and `stop` name expectations whose severity is not
    the usual one. A `warn` that is written is also the whole list for `min_rows`, `max_chars`, `max_empty_share`,
    `max_duplicate_share`, `max_pii_share`, `min_class_rows` and `labels`: those of them that it leaves out stop.
    """

    columns: Words = AUTO  # that must be there
    types: Switch = AUTO  # every value is text, none is missing
    ids: Switch = AUTO  # no two rows share an id
    splits: Switch = AUTO  # every row is in train, valid, select or golden
    labels: Switch = AUTO  # every target is one of the snapshot's labels
    class_labels: Switch = AUTO  # targets are names, not many different decimal numbers
    required_labels: Words = AUTO  # that train must have
    forbidden_labels: Words = AUTO  # that no row may have
    known_labels: Words = AUTO  # another one in train is new
    min_rows: OptionalCount = AUTO
    max_rows: OptionalCount = AUTO
    min_distinct_texts: OptionalCount = AUTO
    min_class_rows: OptionalCount = AUTO  # training rows of each class
    max_class_distance: OptionalShare = AUTO  # total variation of train's class shares against the last snapshot's
    max_class_factor: OptionalFactor = AUTO  # by which a class's share of train may change
    max_empty_share: OptionalShare = AUTO
    max_duplicate_share: OptionalShare = AUTO  # rows whose text stands in an earlier row
    max_pii_share: OptionalShare = AUTO  # rows with personal data
    max_chars: OptionalCount = AUTO  # of one text
    length: Annotated[LengthRange | None, BeforeValidator(_off), _OrAuto()] = AUTO
    languages: Annotated[LanguageMix | None, BeforeValidator(_off), _OrAuto()] = AUTO
    leakage: Switch = AUTO  # no training row repeats a golden one, exactly or nearly
    warn: Names = AUTO
    stop: Names = AUTO

    @model_validator(mode="after")
    def _check(self) -> Self:
        for severity in ("warn", "stop"):
            twice = _twice(getattr(self, severity)) if getattr(self, severity) != AUTO else None
            if twice:
                raise ValueError(f"{severity} names {twice!r} twice; keep one of them")
        if AUTO not in (self.warn, self.stop) and (both := sorted(set(self.warn) & set(self.stop))):
            raise ValueError(f"warn and stop both name {both[0]!r}; keep it in one of them")
        found = find_contradiction(written(self))
        if found:
            raise ValueError("{} contradicts {}; change one of them".format(*(told for _, told in found)))
        return self


def written(spec: ValidateSpec) -> dict[str, Any]:
    """Return what is written of each expectation, as plain data; None or False where it is switched off."""
    return {name: value for name, value in asdict(spec).items() if name in NAMES and value != AUTO}


def find_contradiction(limits: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return two expectations that no data can both keep, each with its limit in words; empty where there are none."""
    low, high = limits.get("min_rows"), limits.get("max_rows")
    if low is not None and high is not None and low > high:
        return [("min_rows", f"min_rows {low}"), ("max_rows", f"max_rows {high}")]
    distinct = limits.get("min_distinct_texts")
    if distinct is not None and high is not None and distinct > high:
        return [("min_distinct_texts", f"min_distinct_texts {distinct}"), ("max_rows", f"max_rows {high}")]
    both = sorted(set(limits.get("required_labels") or ()) & set(limits.get("forbidden_labels") or ()))
    if both:
        return [(name, f"{both[0]!r} in {name}") for name in ("required_labels", "forbidden_labels")]
    length, chars = limits.get("length"), limits.get("max_chars")
    if length and chars is not None and length["min"] > chars and length["outside"] < 1:
        return [("length", f"length.min {length['min']}"), ("max_chars", f"max_chars {chars}")]
    return []


def _twice(names: tuple[str, ...]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
