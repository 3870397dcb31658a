"""The models that a spec names by folders beside it: relative paths start at the spec. Opens none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.spec import Spec
from tasks.compress.methods import Cascade, DistilInto
from tasks.data.named_models import model_fields
from tasks.search.space import Search
from tasks.specs import Lever, Recipe
from tasks.train.bases.base import FromConfig, Pretrained
from tasks.train.methods import FineTune

Place = Callable[[str], str]


def place_models(root: Path, spec: Spec) -> Spec:
    """Return the spec with every model that is a folder below `root` as an absolute path; other names stay."""

    def place(name: str) -> str:
        return str(root / name) if (root / name).is_dir() else name

    recipe = replace(spec.recipe, **_placed(spec.recipe, place))
    return replace(spec, recipe=recipe, levers=tuple(replace(lever, **_placed(lever, place)) for lever in spec.levers))


def _placed(part: Recipe | Lever, place: Place) -> dict[str, Any]:
    """Return the parts of a recipe or lever that may name models, with the names placed."""
    moved: dict[str, Any] = {name: _methods(getattr(part, name), place) for name in ("clean", "augment")}
    moved |= {"base": _base(part.base, place), "train": _train(part.train, place)}
    moved["compress"] = _passes(part.compress, place)
    if isinstance(part, Lever):
        moved["search"] = _search(part.search, place)
    return moved


def _methods(methods: tuple[Any, ...] | None, place: Place) -> tuple[Any, ...] | None:
    if methods is None:
        return None
    fields = [{field: place(getattr(method, field)) for field in model_fields(method)} for method in methods]
    return tuple(replace(method, **places) for method, places in zip(methods, fields, strict=True))


def _base(base: Any, place: Place) -> Any:
    """Return a base with its name placed; a search's values may be plain keys still, a student's be layer numbers."""
    match base:
        case str():
            return place(base)
        case Pretrained():
            return replace(base, name=place(base.name))
        case FromConfig():
            return replace(base, tokenizer=place(base.tokenizer))
        case dict():
            names = [key for key in ("name", "tokenizer") if isinstance(base.get(key), str)]
            return {**base, **{key: place(base[key]) for key in names}}
    return base


def _train(method: FineTune | None, place: Place) -> FineTune | None:
    if method is None or method.distil is None:
        return method
    return replace(method, distil=replace(method.distil, student=_base(method.distil.student, place)))


def _passes(passes: tuple[Any, ...] | None, place: Place) -> tuple[Any, ...] | None:
    """Return the passes, in which a distillation may name the base of its student; in a cascade's stage too."""
    return None if passes is None else tuple(_pass(each, place) for each in passes)


def _pass(method: Any, place: Place) -> Any:
    if isinstance(method, DistilInto):
        return replace(method, student=_base(method.student, place))
    if isinstance(method, Cascade) and isinstance(method.stage, tuple):
        return replace(method, stage=tuple(_pass(each, place) for each in method.stage))
    return method


def _search(search: Search | None, place: Place) -> Search | None:
    bases = search.space.get("base") if search else None
    if search is None or not isinstance(bases, tuple):
        return search
    return replace(search, space={**search.space, "base": tuple(_base(base, place) for base in bases)})
