"""Levers: one change to a recipe each, and in what order they are tried. Builds and measures nothing.

The order follows the stages that the levers touch; within a stage, what was never tried comes first (explore), then
what gained most per minute in earlier iterations (exploit). What was clearly worse again and again rests for a while.

Where an iteration's minutes are limited, `tasks.search.spending` says which levers they go to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tasks.compress.searching.report import CompressReport
from tasks.compress.searching.spec import CompressSearch
from tasks.measure.gate.evidence import Claim
from tasks.search.report import SearchReport
from tasks.search.space import Search
from tasks.search.spending import Cost, spend
from tasks.specs import Lever, Recipe

STAGES = ("clean", "augment", "base", "train", "search", "compress", "compress_search")
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "data": ("quality",),
    "clean": ("quality",),
    "augment": ("quality",),
    "base": ("quality",),
    "train": ("quality",),
    "search": ("quality",),
    "compress": ("cost",),
    "compress_search": ("cost",),
}
REST_AFTER = 3  # tries in a row that were clearly worse
RETRY_EVERY = 4  # iterations, after which a resting lever is tried once more
SHORTEST_SECONDS = 1.0  # what a try is counted as at least; less is a rerun that found everything stored


@dataclass(frozen=True)
class Try:
    """What one earlier trial of a lever was worth."""

    lever: str
    iteration: int
    gain: float  # in what the lever claims: difference of mean scores, or the logarithm of the time saved
    worse: bool  # clearly, beyond what chance explains
    seconds: float | None  # that it took; None where it was not noted


@dataclass(frozen=True)
class Plan:
    """The levers to try, in order, and the ones to leave out this time."""

    order: tuple[Lever, ...]
    rested: dict[str, str]  # by name, with the reason
    minutes: dict[str, float] = field(default_factory=dict)  # that a search may take, where the iteration's are limited
    unpaid: tuple[str, ...] = ()  # those of the rested that the iteration's minutes do not reach for


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
    """Return the recipe with the lever's stage replaced; an equal recipe means that the lever changes nothing.

    Another base cannot start from the champion's weights: training then starts from the base.
    """
    stage = stage_of(lever)
    pulled = replace(recipe, **{stage: getattr(lever, stage)})
    return replace(pulled, train=replace(pulled.train, start="base")) if stage == "base" else pulled


def claims_of(lever: Lever) -> tuple[Claim, ...]:
    """Return what the lever claims to improve: what it says, cost for a distillation into a student, or its stage's."""
    if lever.claim is not None:
        return (lever.claim,)
    if lever.train is not None and lever.train.distil is not None and lever.train.distil.student:
        return ("cost",)
    return CLAIMS[stage_of(lever)]


def pull_found(found: SearchReport, recipe: Recipe) -> Recipe:
    """Return the recipe with the base and the `train` section that a search found."""
    return replace(recipe, base=found.base, train=found.train)


def pull_passes(found: CompressReport, recipe: Recipe) -> Recipe:
    """Return the recipe with the passes that a search chose; as it is where none was chosen."""
    return recipe if found.passes is None else replace(recipe, compress=found.passes)


def plan_levers(levers: Sequence[Lever], tries: Sequence[Try], iteration: int, minutes: float | None = None) -> Plan:
    """Return which levers an iteration tries, in order, and which rest; equal histories give equal plans.

    Args:
        minutes: of the iteration's trials; None where they are not limited.
    """
    reasons = {lever.name: _why_rested(_of(tries, lever), iteration) for lever in levers}
    awake = [lever for lever in levers if not reasons[lever.name]]
    rested = {name: reason for name, reason in reasons.items() if reason}
    if minutes is None:
        return Plan(tuple(in_order(awake, tries)), rested)
    costs = [_cost_of(lever, _of(tries, lever)) for lever in in_order(awake, tries)]
    spent = spend(costs, minutes)
    paid = [lever for lever in awake if lever.name in spent.minutes]
    caps = {lever.name: spent.minutes[lever.name] for lever in paid if _searches(lever)}
    return Plan(tuple(in_order(paid, tries)), rested | spent.left_out, caps, tuple(spent.left_out))


def _cost_of(lever: Lever, past: Sequence[Try]) -> Cost:
    """Return what a lever took and gained; a search takes the minutes of its own, and fewer where need be."""
    took = max((each.seconds / 60 for each in past if each.seconds is not None), default=None)
    found = _searches(lever)
    own = found.minutes if found else None
    return Cost(lever.name, claims_of(lever), tuple(each.gain for each in past), own or took, found is not None)


def _searches(lever: Lever) -> Search | CompressSearch | None:
    """Return what the lever searches by, where it is a search."""
    return lever.search or lever.compress_search


def in_order(levers: Sequence[Lever], tries: Sequence[Try] = ()) -> list[Lever]:
    """Return the levers in the order they are tried: clean, augment, train, compress.

    Within a stage, levers never tried come first, then those with the highest past gain per minute; equals stay as
    declared.
    """

    def rank(lever: Lever) -> tuple[int, bool, float]:
        past = _of(tries, lever)
        return STAGES.index(stage_of(lever)), bool(past), -gain_per_minute(past)

    return sorted(levers, key=rank)


def gain_per_minute(tries: Sequence[Try]) -> float:
    """Return what a minute spent on the lever of these tries is expected to gain; 0 where it lost, or was never tried.

    The mean gain is shrunken towards none as if one more try had gained nothing, so that one lucky try does not lead
    for ever. The minutes are those of the longest try: shorter ones found parts of the work stored already.
    """
    mean = sum(past.gain for past in tries) / (len(tries) + 1)
    seconds = max([SHORTEST_SECONDS, *(past.seconds for past in tries if past.seconds is not None)])
    return max(0.0, mean) / (seconds / 60)


def _of(tries: Sequence[Try], lever: Lever) -> list[Try]:
    return sorted((past for past in tries if past.lever == lever.name), key=lambda past: past.iteration)


def _why_rested(tries: Sequence[Try], iteration: int) -> str:
    """Return why a lever with these tries, oldest first, is left out of an iteration; empty where it is tried."""
    last = tries[-REST_AFTER:]
    if len(last) < REST_AFTER or not all(past.worse for past in last):
        return ""
    again = last[-1].iteration + RETRY_EVERY
    if iteration >= again:
        return ""
    found = ", ".join(str(past.iteration) for past in last)
    return f"rested: clearly worse in its last {REST_AFTER} tries (iterations {found}); tried again from {again} on"
