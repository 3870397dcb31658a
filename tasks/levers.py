"""Levers: one change to a recipe each, in the order of the stages they touch. Builds and measures nothing."""

from collections.abc import Sequence
from dataclasses import replace

from tasks.measure.gate import Claim
from tasks.specs import Lever, Recipe

STAGES = ("clean", "augment", "train", "compress")
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "data": ("quality",),
    "clean": ("quality",),
    "augment": ("quality",),
    "train": ("quality",),
    "compress": ("cost",),
}


def stage_of(lever: Lever) -> str:
    """Return the one stage that the lever changes.

    Raises:
        ValueError: it changes none, or several.
    """
    touched = [stage for stage in STAGES if getattr(lever, stage) is not None]
    if len(touched) != 1:
        found = " and ".join(touched) or "none of them"
        raise ValueError(f"lever {lever.name!r} must set exactly one of {', '.join(STAGES)}; it sets {found}")
    return touched[0]


def pull(lever: Lever, recipe: Recipe) -> Recipe:
    """Return the recipe with the lever's stage replaced; an equal recipe means that the lever changes nothing."""
    stage = stage_of(lever)
    return replace(recipe, **{stage: getattr(lever, stage)})


def in_order(levers: Sequence[Lever]) -> list[Lever]:
    """Return the levers in the order they are tried: clean, augment, train, compress; equal stages as declared."""
    return sorted(levers, key=lambda lever: STAGES.index(stage_of(lever)))
