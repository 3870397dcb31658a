"""A user's mistakes in words: what Pydantic found wrong with a spec, as the field's path, what came and the mend.

Knows the types that the data is validated against, from the root given; not which spec that is.
"""

import difflib
import types
import typing
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

SHOWN_CHARS = 60
SUGGESTION = 0.5  # how alike a known name must be

_LISTS = ("tuple_type", "list_type", "set_type")
_MAPPINGS = ("dataclass_type", "dict_type", "model_type", "model_attributes_type")


def describe_mistake(detail: Any, root: Any) -> str:
    """Return one of Pydantic's error details as one line, `field.path: what came; what to do`."""
    kind, where = detail["type"], detail["loc"]
    path = _path(where, root)
    if kind == "unexpected_keyword_argument":
        return f"{path}: unknown key; {suggestion(str(where[-1]), _known_keys(where[:-1], root))}"
    if kind in ("missing", "missing_argument"):
        return f"{path}: missing; it is required"
    if kind.startswith("union_tag"):
        return _describe_kind(detail, path, root)
    if kind == "invalid_key":
        owner = _path(where[:-1], root) or "spec"
        return f"{owner}: the key {detail['input']!r} is no text; put it in quotes or remove it"
    if kind in _LISTS:
        return f"{path}: expected a list such as [a, b], found {_shown(detail['input'])}"
    if kind in _MAPPINGS:
        return f"{path}: expected keys with values, found {_shown(detail['input'])}"
    return f"{path or 'spec'}: {_message(detail)}"


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return the mend for an unknown word: the known one that is nearest, or all of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=SUGGESTION)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _describe_kind(detail: Any, path: str, root: Any) -> str:
    """Return what is wrong with the key that tells the members of a union apart."""
    owners = _owners(detail["loc"], root)
    known = [owner.kind for owner in owners if hasattr(owner, "kind")]
    if detail["type"] == "union_tag_not_found":
        return f"{path}.kind: missing; known are {', '.join(known)}"
    tag = detail["ctx"]["tag"]
    return f"{path}.kind: unknown kind {_shown(tag)}; {suggestion(tag, known)}"


def _message(detail: Any) -> str:
    """Return Pydantic's message, or the validator's own, in the house's words."""
    text = " ".join(detail["msg"].split())
    if detail["type"] == "value_error":
        return text.removeprefix("Value error, ")
    for theirs, ours in (("Input should be", "expected"), ("String should match pattern", "expected text like")):
        text = text.replace(theirs, ours)
    return f"{text[0].lower()}{text[1:]} (found {_shown(detail['input'])})"


def _shown(value: Any) -> str:
    """Return the value in a few characters: what it is where it is no scalar."""
    match value:
        case None:
            return "nothing"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return f"keys {', '.join(map(str, value))}"[:SHOWN_CHARS]
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}… ({len(str(value))} characters)"


def _path(where: tuple[Any, ...], root: Any) -> str:
    """Return `levers[0].train.epochs`, without the tags that unions add to the location."""
    text = ""
    owners = [root]
    for step in where:
        owners, named = _descend(owners, step)
        if named and step != "[key]":
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _known_keys(where: tuple[Any, ...], root: Any) -> list[str]:
    """Return the keys that the types at a location know, in the order they are declared."""
    owners = [owner for owner in _owners(where, root) if is_dataclass(owner)]
    return list(dict.fromkeys(known.name for owner in owners for known in fields(owner)))


def _owners(where: tuple[Any, ...], root: Any) -> list[Any]:
    owners = [root]
    for step in where:
        owners, _ = _descend(owners, step)
    return owners


def _descend(owners: list[Any], step: Any) -> tuple[list[Any], bool]:
    """Return the types that stand at a step below the owners, and whether the step is a key or index of the file."""
    if isinstance(step, int):
        return [part for owner in owners for part in _parts(owner)], True
    for owner in owners:
        if is_dataclass(owner) and step in {known.name for known in fields(owner)}:
            hint = get_type_hints(typing.cast(type, owner), include_extras=True)[step]
            return _alternatives(hint), True
    tagged = [owner for owner in owners if step in (getattr(owner, "kind", None), getattr(owner, "__name__", None))]
    return (tagged, False) if tagged else (owners, "[" not in str(step))  # `tuple[int, ...]` is Pydantic's own step


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
