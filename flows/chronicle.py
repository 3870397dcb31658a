"""What the iterations so far amount to: the champions one after another, and the models that compare with today's.

Reads outcomes; measures nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.outcome import Outcome
from tasks.records import Quality, Scorecard
from tasks.registry import BASELINE, CHAMPION


@dataclass(frozen=True)
class Reign:
    """The champion at the end of one iteration, as it was measured then."""

    iteration: int
    version: str
    quality: Quality
    promoted: bool  # in this iteration, or the first model


@dataclass(frozen=True)
class Model:
    """One model measured on golden, its time per text relative to the baseline's of the same session."""

    digest: str
    iteration: int  # that measured it last
    roles: tuple[str, ...]  # in the present iteration; empty for a model of an earlier one
    quality: Quality
    time_ratio: float
    size_bytes: int
    on_front: bool = False  # no other model is as fast and as good and better in one of both


def reigns(outcomes: Sequence[Outcome]) -> list[Reign]:
    """Return the champion of every iteration that measured on golden, oldest first."""
    found = []
    for outcome in outcomes:
        promoted = outcome.result == "promoted"
        card = outcome.cards.get("candidate" if promoted else CHAMPION)
        if card is not None:
            new = promoted or outcome.result == "baseline"
            found.append(Reign(outcome.iteration, outcome.champion_version, card.quality, new))
    return found


def comparable_models(outcomes: Sequence[Outcome]) -> tuple[list[Model], int]:
    """Return the models measured on the last outcome's golden rows and machine, and how many others were left out.

    A model measured in several iterations stands with its last measurement. Empty where the last outcome timed none.
    """
    present = outcomes[-1].cards.get(BASELINE) if outcomes else None
    if present is None or present.speed is None:
        return [], 0
    found, others = dict[str, Model](), set[str]()
    for outcome in outcomes:
        for digest, model in _models(outcome, outcome is outcomes[-1]).items():
            if _alike(outcome.cards[BASELINE], present):
                found[digest] = model
            else:
                others.add(digest)
    models = list(found.values())
    return [_judged(model, models) for model in models], len(others - set(found))


def _models(outcome: Outcome, now: bool) -> dict[str, Model]:
    base = outcome.cards.get(BASELINE)
    if base is None or base.speed is None:
        return {}
    models = {}
    for card in outcome.cards.values():
        if card.speed is None:
            continue
        roles = tuple(role for role, other in outcome.cards.items() if now and other.candidate == card.candidate)
        ratio = base.speed.throughput_b1_per_s / card.speed.throughput_b1_per_s
        models[card.candidate] = Model(
            card.candidate, outcome.iteration, roles, card.quality, ratio, card.speed.size_bytes
        )
    return models


def _alike(one: Scorecard, other: Scorecard) -> bool:
    assert one.speed and other.speed
    return (one.quality.rows_digest, one.candidate, one.speed.machine) == (
        other.quality.rows_digest, other.candidate, other.speed.machine,
    )  # fmt: skip


def _judged(model: Model, models: Sequence[Model]) -> Model:
    """Return the model with its place on or below the front."""
    beaten = any(
        other.time_ratio <= model.time_ratio
        and other.quality.mean >= model.quality.mean
        and (other.time_ratio, other.quality.mean) != (model.time_ratio, model.quality.mean)
        for other in models
    )
    return Model(
        model.digest, model.iteration, model.roles, model.quality, model.time_ratio, model.size_bytes, not beaten
    )
