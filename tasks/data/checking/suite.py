"""The suite that guards a snapshot: named expectations with limit, severity and where the limit comes from.

Derived from the last accepted snapshot and from what is written, the latter over the former; contradictions are
refused. It looks at no rows: `checking.validate` holds them against it.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.data.checking.limits import AUTO, NAMES, Severity, ValidateSpec, find_contradiction, written
from tasks.data.checking.profile import DataProfile
from tasks.data.rows import COLUMNS
from tasks.errors import SpecError

log = logging.getLogger(__name__)

ALWAYS, DEFAULT, LAST = "always", "the default", "the last accepted snapshot"
LOOKED_AT = 30  # rows whose language must have been told before a mix of languages is expected

# What is odd warns; all else makes results wrong, and stops.
WARNS = frozenset(
    {
        "known_labels", "max_rows", "min_class_rows", "max_class_distance", "max_class_factor",
        "max_duplicate_share", "max_pii_share", "max_chars", "length", "languages",
    }
)  # fmt: skip
# A written `warn` is the whole list for these: it was so before there were others.
_LISTED_IN_WARN = (
    "min_rows", "max_chars", "max_empty_share", "max_duplicate_share", "max_pii_share", "min_class_rows", "labels",
)  # fmt: skip

Derived = tuple[Any, str]  # a limit, and where it comes from


@dataclass(frozen=True)
class Expectation:
    """One thing that data must keep to."""

    name: str
    limit: Any  # plain data, as the suite's file has it; None or False where it is switched off
    severity: Severity
    origin: str  # where the limit comes from: a file, or what it was derived from

    @property
    def on(self) -> bool:
        """Return whether it is looked at."""
        return not (self.limit is None or self.limit is False or self.limit == ())  # a limit of 0 is one


@dataclass(frozen=True)
class Suite:
    """All expectations, in the order of `NAMES`, and the last accepted snapshot that data is compared with."""

    expectations: tuple[Expectation, ...]
    last: DataProfile | None = None
    out_of_scope: str = ""  # the target of evaluation rows that no label fits; empty where there are none

    def limit(self, name: str) -> Any:
        """Return an expectation's limit; None or False where it is switched off."""
        return next(known.limit for known in self.expectations if known.name == name)


def derive_suite(
    last: DataProfile | None,
    columns: Sequence[str] = (),
    languages: Sequence[str] = (),
    sources: Sequence[tuple[str, ValidateSpec]] = (),
    out_of_scope: str = "",
) -> Suite:
    """Return the suite: for each expectation what the last of the sources says, else what is derived.

    Args:
        last: the profile of the last accepted snapshot, None where there is none yet.
        columns: that the spec names beside those that every table has.
        languages: that the spec declares; empty where it does not, then the last snapshot's main language counts.
        out_of_scope: the target that evaluation rows may have although train does not.
        sources: name and content of the places where a user writes limits; a later one is over an earlier one.

    Raises:
        SpecError: what is written contradicts itself; names both sides and where they stand.
    """
    derived = _derive(last, columns, languages)
    said = _merge(sources)
    limits = {**_yield(derived, said), **said}
    _refuse_contradictions({name: limit for name, (limit, _) in limits.items()}, limits)
    severities = _severities(sources)
    expectations = tuple(Expectation(name, limits[name][0], severities[name], limits[name][1]) for name in NAMES)
    return Suite(expectations, last, out_of_scope)


def _derive(last: DataProfile | None, columns: Sequence[str], languages: Sequence[str]) -> dict[str, Derived]:
    """Return the limits that hold where nothing is written."""
    fixed: dict[str, Any] = {
        "columns": (*COLUMNS, *columns), "types": True, "ids": True, "splits": True, "labels": True,
        "class_labels": True, "leakage": True,
    }  # fmt: skip
    usual: dict[str, Any] = {
        "required_labels": None, "forbidden_labels": None, "known_labels": None, "min_rows": 20, "max_rows": None,
        "min_distinct_texts": 10, "min_class_rows": 5, "max_class_distance": None, "max_class_factor": None,
        "max_empty_share": 0.2, "max_duplicate_share": 0.5, "max_pii_share": 0.1, "max_chars": 10_000, "length": None,
        "languages": {"allowed": tuple(languages), "min_share": 0.5} if languages else None,
    }  # fmt: skip
    found = {name: (limit, ALWAYS) for name, limit in fixed.items()} | {
        name: (limit, DEFAULT) for name, limit in usual.items()
    }
    if last is None:
        return found
    return found | {name: (limit, LAST) for name, limit in _derive_from(last, languages).items()}


def _derive_from(last: DataProfile, languages: Sequence[str]) -> dict[str, Any]:
    """Return the limits that the last accepted snapshot gives, each with slack for what changes from time to time."""
    low, _, high = last.lengths
    labels = tuple(last.classes)
    found: dict[str, Any] = {
        "required_labels": labels,
        "known_labels": labels,
        "min_rows": max(20, math.ceil(last.rows / 2)),
        "max_rows": max(100, 3 * last.rows),
        "max_class_distance": 0.2,
        "max_class_factor": 3.0,
        "max_empty_share": _with_slack(last.empty_share, 0.1),
        "max_duplicate_share": _with_slack(last.duplicate_share, 0.3),
        "max_pii_share": _with_slack(last.pii_share, 0.1),
        "length": {"min": max(1, low // 2), "max": max(1, 2 * high), "outside": 0.05},
    }
    told = sum(last.languages.values())
    if told >= LOOKED_AT:
        allowed = tuple(languages) or (max(last.languages, key=lambda code: (last.languages[code], code)),)
        share = sum(last.languages.get(code, 0) for code in allowed) / told
        found["languages"] = {"allowed": allowed, "min_share": round(max(0.0, share - 0.1), 3)}
    return found


def _with_slack(share: float, slack: float) -> float:
    return round(min(1.0, share + slack), 3)


def _merge(sources: Sequence[tuple[str, ValidateSpec]]) -> dict[str, Derived]:
    """Return what is written of each expectation and where; a later place is over an earlier one."""
    said: dict[str, Derived] = {}
    for place, spec in sources:
        for name, limit in written(spec).items():
            if name in said and said[name][0] != limit:
                log.warning("suite: %s of %s stands over that of %s", name, place, said[name][1])
            said[name] = limit, place
    return said


def _yield(derived: Mapping[str, Derived], said: Mapping[str, Derived]) -> dict[str, Derived]:
    """Return the derived limits without those that something written contradicts: who writes knows better."""
    left = dict(derived)
    forbidden = said.get("forbidden_labels", (None, ""))[0] or ()
    for name in ("required_labels", "known_labels"):
        limit, origin = left[name]
        if limit is not None:
            left[name] = tuple(label for label in limit if label not in forbidden), origin
    while True:
        limits = {name: limit for name, (limit, _) in {**left, **said}.items()}
        against = [name for name, _ in find_contradiction(limits) if name not in said]
        if not against:
            return left
        left[against[0]] = None, left[against[0]][1]


def _refuse_contradictions(limits: Mapping[str, Any], origins: Mapping[str, Derived]) -> None:
    found = find_contradiction(limits)
    if found:
        (one, told), (other, against) = found
        raise SpecError(
            f"the suite contradicts itself: {told} ({origins[one][1]}) against {against} ({origins[other][1]}); "
            "change one of them"
        )


def _severities(sources: Sequence[tuple[str, ValidateSpec]]) -> dict[str, Severity]:
    """Return each expectation's severity: the usual one unless a source names another."""
    found: dict[str, Severity] = {name: "warn" if name in WARNS else "stop" for name in NAMES}
    for _, spec in sources:
        if spec.warn != AUTO:
            found.update(dict.fromkeys(_LISTED_IN_WARN, "stop"))
            found.update(dict.fromkeys(spec.warn, "warn"))
        if spec.stop != AUTO:
            found.update(dict.fromkeys(spec.stop, "stop"))
    return found
