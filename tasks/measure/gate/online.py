"""The sequential online gate: whether live votes show the candidate to be better, at any time and however often asked.

Tests by betting: a capital that begins at 1 and is expected never to grow while the candidate is no better. Then by
Ville's inequality (J. Ville, Etude critique de la notion de collectif, 1939) it ever reaches 1 / alpha with probability
at most alpha, so one may look after every unit. Routes no traffic, stores nothing and reads no clock.

What the guarantee rests on: units are assigned at random with the share asked for, and the arm does not change who
votes. Where it does, the split of the voting units shifts, and the alarm on the split is there to see that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pydantic
from pydantic import AfterValidator, Field

from tasks.measure.gate.votes import Series, Settled, Vote, find_flaw, settle, until

DAY_S = 86_400.0
LIMIT = 600.0  # of the logarithm of a capital, so that it stays a float; to understate a capital is valid
STAKES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # shares of the largest stake that can never lose more than all
SPLIT_WEIGHT = 100.0  # units that the prior of the split is worth
STEPS = 21  # halvings of [-1, 1]: bounds to a millionth

OnlineDecision = Literal["promote", "roll back", "go on", "no winner", "not judged"]


def _check_guardrails(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"guardrails must be different names of metrics, not {list(names)}; keep each once")
    return names


@pydantic.dataclasses.dataclass(frozen=True, config={"extra": "forbid"})
class OnlineSpec:
    """What a candidate must show on live votes before it may be promoted."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05  # of ever promoting a candidate that is no better
    share: Annotated[float, Field(ge=0.01, le=0.99)] = 0.5  # probability that a unit is the candidate's
    metric: Annotated[str, Field(min_length=1)] = "quality"
    guardrails: Annotated[tuple[str, ...], AfterValidator(_check_guardrails)] = ()  # metrics that must not get worse
    margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.02  # the loss of a guardrail that counts as none
    settle_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3600.0  # how long a unit may change its mind
    min_units: Annotated[int, Field(ge=1)] = 500  # settled, of both arms together
    min_duration_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DAY_S  # from the first vote on
    max_duration_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 14 * DAY_S
    srm_alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.001  # of a false alarm about the split of the units

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "OnlineSpec":
        if self.metric in self.guardrails:
            raise ValueError(f"{self.metric!r} is both the metric and a guardrail; take it out of guardrails")
        if self.min_duration_s > self.max_duration_s or self.settle_s >= self.max_duration_s:
            raise ValueError(f"max_duration_s ({self.max_duration_s:g}) must be at least min_duration_s "
                             f"({self.min_duration_s:g}) and above settle_s ({self.settle_s:g}); raise it")  # fmt: skip
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the metric and the guardrails."""
        return (self.metric, *self.guardrails)


@dataclass(frozen=True)
class Effect:
    """What the settled units show of one metric. Each bound alone holds at all times together with 1 - alpha."""

    metric: str
    bound: float  # what candidate minus champion must exceed
    estimate: float | None  # candidate's mean minus champion's, in [-1, 1]; None where an arm has no unit
    low: float  # confidence sequence, intersected over time
    high: float
    units_champion: int
    units_candidate: int
    e_better: float  # largest capital so far against "not above the bound"
    e_worse: float  # largest capital so far against "not below the bound"
    e_split: float  # largest capital so far against "units are split as asked for"


@dataclass(frozen=True)
class OnlineVerdict:
    """The online gate's decision, the reason in one sentence, and what it stands on."""

    decision: OnlineDecision
    reason: str
    effects: tuple[Effect, ...] = ()  # of the metric, then of the guardrails, up to the stop
    stopped_at: float | None = None  # seconds since the epoch, when the first rule held; None while it goes on
    duplicates: int = 0
    late: int = 0
    contaminated: int = 0
    waiting: int = 0


def effect_terms(outcomes: np.ndarray, candidate: np.ndarray, share: float) -> np.ndarray:
    """Return one term per unit whose expectation, given all units before, is its effect; inside (-1, 1) / least share.

    Inverse propensity weighting of the outcome less the mean of the outcomes before it, which takes out most of the
    noise and, being known before the unit's arm is drawn, moves no expectation.

    Args:
        outcomes: [..., units], in [0, 1], in the order of settling.
        candidate: [..., units] bool.
        share: probability that a unit is the candidate's, in (0, 1).
    """
    before = np.cumsum(outcomes, axis=-1) - outcomes
    centre = (0.5 + before) / np.arange(1, outcomes.shape[-1] + 1)  # never 0 or 1
    terms: np.ndarray = (outcomes - centre) * np.where(candidate, 1 / share, -1 / (1 - share))
    return terms


def capital(terms: np.ndarray, bound: float, share: float) -> np.ndarray:
    """Return the capital after each unit of bets on "the mean effect is above the bound"; [..., units], at least 0.

    The average of five gamblers who each stake a constant: prod(1 + stake (term - bound)). A constant stake that cannot
    lose more than all keeps every factor positive with expectation at most 1 under "not above", so each is a
    nonnegative supermartingale, and so is their average. For "below the bound" pass `-terms, -bound`.
    Source: I. Waudby-Smith and A. Ramdas, JRSS B 86 (2024), 1-27.

    Args:
        terms: [..., units], of `effect_terms`, or these negated.
        bound: in [-1, 1].
        share: as for the terms.
    """
    least = min(share, 1 - share)
    total = np.zeros(terms.shape)
    for part in STAKES:
        stake = part * least / (1 + least)  # term - bound is above -1 / least - 1
        grown = np.cumsum(np.log1p(stake * (terms - bound)), axis=-1)
        total += np.exp(np.minimum(grown, LIMIT))
    return total / len(STAKES)


def split_capital(candidate: np.ndarray, share: float) -> np.ndarray:
    """Return the capital after each unit of bets on "units are not split as asked for"; [..., units], above 0.

    The likelihood of the arms under a Dirichlet prior around the share asked for, over that under the share itself.
    Source: M. Lindon and A. Malek, NeurIPS 2022, "Anytime-valid inference for multinomial count data".
    """
    chosen = np.where(candidate, share, 1 - share)
    before = np.cumsum(candidate, axis=-1) - candidate
    place = np.arange(candidate.shape[-1])
    alike = np.where(candidate, before, place - before)  # earlier units of the same arm
    factors = (SPLIT_WEIGHT * chosen + alike) / (SPLIT_WEIGHT + place) / chosen
    result: np.ndarray = np.exp(np.minimum(np.cumsum(np.log(factors), axis=-1), LIMIT))
    return result


def lower_bound(terms: np.ndarray, share: float, alpha: float) -> float:
    """Return the largest effect in [-1, 1] that was ever rejected as "not above it" by the terms [units].

    As stakes are constant, the capital falls as the bound rises, so halving finds the end of what is rejected. With
    probability 1 - alpha it is never above the truth. The upper bound is `-lower_bound(-terms, share, alpha)`.
    """
    low, high = -1.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if capital(terms, middle, share).max(initial=0.0) >= 1 / alpha:
            low = middle
        else:
            high = middle
    return low


def judge_online(votes: Sequence[Vote], spec: OnlineSpec, now: float) -> OnlineVerdict:
    """Return the verdict on the votes received up to `now` (seconds since the epoch).

    It is that of the first moment at which one of these rules held, whatever came after; so it is the same however
    often it was asked before, and its error is that of asking after every unit:

    * "not judged": the split of a metric's units is not as asked for, at `srm_alpha` over all metrics (Bonferroni);
    * "roll back": the metric is shown below 0 or a guardrail below -margin, at alpha over all of them (Bonferroni);
    * "promote": the metric was shown above 0 and every guardrail above -margin, each at alpha and each at some time,
      not before the minimum duration and units. Needs no correction: for a wrong promotion the one claim that is wrong
      must have been shown, and waiting for the rest only makes that rarer (R. L. Berger, Technometrics 24, 1982);
    * "no winner": the maximum duration is over, and the champion stays.

    Where several hold at one moment, the first of them counts. "not judged" is also the answer to unusable votes.
    """
    read = [vote for vote in votes if vote.metric in spec.metrics]
    flaw = find_flaw(read) if math.isfinite(now) else f"now is {now}; give seconds since the epoch"
    if flaw:
        return OnlineVerdict("not judged", f"Not judged, so not promoted: {flaw}.")
    settled = settle(read, spec.metrics, spec.settle_s, now)
    decision, stop = _first_rule(settled, spec, now)
    effects = tuple(_effect(name, until(settled.series[name], stop), spec) for name in spec.metrics)
    lasted = 0.0 if settled.begun is None else min(stop, now) - settled.begun
    return OnlineVerdict(
        decision,
        _reason(decision, effects, lasted, spec),
        effects,
        None if decision == "go on" else stop,
        settled.duplicates,
        settled.late,
        settled.contaminated,
        settled.waiting,
    )


def _first_rule(settled: Settled, spec: OnlineSpec, now: float) -> tuple[OnlineDecision, float]:
    """Return the rule that held first and when; "go on" and infinity where none did."""
    if settled.begun is None:
        return "go on", math.inf
    count, series = len(spec.metrics), settled.series
    better, worse, uneven = [], [], []
    for name in spec.metrics:
        for_better, for_worse, for_uneven = _capitals(series[name], _bound(name, spec), spec.share)
        better.append(_reached(series[name], for_better, 1 / spec.alpha))
        worse.append(_reached(series[name], for_worse, count / spec.alpha))
        uneven.append(_reached(series[name], for_uneven, count / spec.srm_alpha))
    primary = series[spec.metric].at
    enough = float(primary[spec.min_units - 1]) if len(primary) >= spec.min_units else math.inf
    rules: list[tuple[OnlineDecision, float]] = [
        ("not judged", min(uneven)),
        ("roll back", min(worse)),
        ("promote", max(*better, enough, settled.begun + spec.min_duration_s)),
        ("no winner", settled.begun + spec.max_duration_s),
    ]
    decision, stop = min(rules, key=lambda rule: rule[1])  # of equals the first
    # Only after the moment, when every unit that settled at it is in.
    return (decision, stop) if stop < now else ("go on", math.inf)


def _bound(metric: str, spec: OnlineSpec) -> float:
    return 0.0 if metric == spec.metric else -spec.margin


def _capitals(series: Series, bound: float, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the capitals against "not above the bound", "not below it" and "split as asked for"; each [units]."""
    terms = effect_terms(series.outcomes, series.candidate, share)
    return capital(terms, bound, share), capital(-terms, -bound, share), split_capital(series.candidate, share)


def _reached(series: Series, path: np.ndarray, level: float) -> float:
    """Return when the capital first reached the level; infinity where it did not."""
    there = path >= level
    return float(series.at[there.argmax()]) if there.any() else math.inf


def _effect(metric: str, series: Series, spec: OnlineSpec) -> Effect:
    bound = _bound(metric, spec)
    capitals = [float(path.max(initial=1.0)) for path in _capitals(series, bound, spec.share)]
    terms = effect_terms(series.outcomes, series.candidate, spec.share)
    ours, theirs = series.outcomes[series.candidate], series.outcomes[~series.candidate]
    return Effect(
        metric,
        bound,
        float(ours.mean() - theirs.mean()) if len(ours) and len(theirs) else None,
        lower_bound(terms, spec.share, spec.alpha),
        -lower_bound(-terms, spec.share, spec.alpha),
        len(theirs),
        len(ours),
        *capitals,
    )


def _reason(decision: OnlineDecision, effects: tuple[Effect, ...], lasted_s: float, spec: OnlineSpec) -> str:
    """Return the verdict in one sentence."""
    if decision == "not judged":
        worst = max(effects, key=lambda effect: effect.e_split)
        units = worst.units_candidate + worst.units_champion
        return (f"Not judged, so not promoted: the split of units is not what was asked for ({worst.units_candidate} "
                f"of {units} with {worst.metric} are the candidate's, not {spec.share:.1%}).")  # fmt: skip
    if decision == "roll back":
        worse = [effect for effect in effects if effect.e_worse >= len(effects) / spec.alpha]
        return f"Roll back: {' and '.join(_say(effect, 'worse') for effect in worse)}."
    if decision == "promote":
        return f"Promote: {' and '.join(_say(effect, 'better') for effect in effects)}."
    unshown = [_say(effect, "better") for effect in effects if effect.e_better < 1 / spec.alpha]
    lacking = [f"it is not shown that {' and '.join(unshown)}"] if unshown else []
    units = effects[0].units_champion + effects[0].units_candidate
    if units < spec.min_units:
        lacking.append(f"{units} of at least {spec.min_units} units have settled")
    if lasted_s < spec.min_duration_s or not lacking:
        lacking.append(f"{lasted_s / 3600:.1f} of at least {spec.min_duration_s / 3600:.1f} hours are over")
    over = f" after {lasted_s / DAY_S:.1f} days" if decision == "no winner" else ""
    return f"{decision.capitalize()}{over}: {'; '.join(lacking)}."


def _say(effect: Effect, side: Literal["better", "worse"]) -> str:
    """Return a claim about one metric with its figures, in points."""
    word = "no worse" if side == "better" and effect.bound < 0 else side
    bound = f"; must {'exceed' if side == 'better' else 'stay above'} {100 * effect.bound:+.1f}"
    if effect.estimate is None:
        return f"{effect.metric} is {word} than the champion's (an arm has no settled unit that voted on it)"
    figures = f"{100 * effect.estimate:+.1f} points, {100 * effect.low:+.1f} to {100 * effect.high:+.1f}"
    return f"{effect.metric} is {word} than the champion's ({figures}{bound})"
