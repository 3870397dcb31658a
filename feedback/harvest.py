"""Trusted training rows out of what users said about production's predictions.

Feedback cannot vote itself into the model: each prediction has one vote, each unit (user or session) a quota, units
that disagree about the same text cancel out unless a strict majority agrees, and targets nobody declared are held back.
What is held back is listed with its reason. Scrubs no PII, removes no duplicates and draws no split: `tasks.data` does.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass as plain_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from feedback.records import FeedbackRow, PredictionRow

if TYPE_CHECKING:
    from feedback.store import Store

CONFIRMING_SCORE = 0.5  # from here on a score without a target confirms the model's own output

Reason = Literal["empty text", "empty target", "unknown target", "contradicted", "outvoted", "over quota"]
Judged = tuple[str, FeedbackRow, PredictionRow | None]  # feedback's id, the feedback, what it judges


@dataclass(frozen=True, config={"extra": "forbid"})
class HarvestSpec:
    """What feedback must fulfil before the model may learn from it."""

    trust_confirmations: bool = True  # a thumbs-up makes the model's own output a label
    max_rows_per_unit: Annotated[int, Field(ge=1, le=100_000)] = 20  # rows without a unit count as one unit's


@plain_dataclass(frozen=True)
class HarvestedRow:
    """One row to train on; its id is the prediction's."""

    id: str
    text: str
    target: str
    slices: dict[str, str]
    occurred_at: datetime  # when the prediction was made
    unit: str | None = None  # whose prediction it was
    source: str = "feedback"


@plain_dataclass(frozen=True)
class QuarantinedRow:
    """One row held back, and why."""

    id: str
    reason: Reason


@plain_dataclass(frozen=True)
class HarvestCounts:
    """Where every piece of feedback went: `feedback` is the sum of all the others."""

    feedback: int
    orphans: int  # their prediction never came
    superseded: int  # a later vote on the same prediction counts
    unlabelled: int  # a low score, or one that is not trusted, and no target: nothing to learn
    quarantined: int
    rows: int


@plain_dataclass(frozen=True)
class Harvest:
    """Rows to train on and rows held back, both in order of id."""

    rows: list[HarvestedRow]
    quarantined: list[QuarantinedRow]
    counts: HarvestCounts


@plain_dataclass(frozen=True)
class _Vote:
    """The one vote on a prediction: a label for its text."""

    prediction: PredictionRow
    target: str

    @property
    def newest_first(self) -> tuple[float, str]:
        return (-self.prediction.occurred_at.timestamp(), self.prediction.prediction_id)


def harvest(
    store: "Store",
    rules: HarvestSpec,
    known_targets: AbstractSet[str] | None = None,
    since: datetime | None = None,
    sealed: AbstractSet[str] = frozenset(),
) -> Harvest:
    """Return what the feedback received since then (None: ever) teaches, by the rules.

    `known_targets` are the labels a classifier may learn; None takes any text. Predictions that are `sealed` in a
    golden set keep their place in their unit's quota, so that newer ones do not push them out.

    Raises:
        StoreUnavailable: the database failed.
    """
    return judge(store.judged(since), rules, known_targets, sealed)


def judge(
    judged: Iterable[Judged],
    rules: HarvestSpec,
    known_targets: AbstractSet[str] | None = None,
    sealed: AbstractSet[str] = frozenset(),
) -> Harvest:
    """Return the harvest of feedback and the predictions it judges; the order they come in changes nothing."""
    everything = list(judged)
    last = _last_votes(everything)
    votes = [vote for feedback, prediction in last if (vote := _vote(feedback, prediction, rules)) is not None]
    reasons = _unusable(votes, known_targets)
    for rule in (_disagreeing, lambda kept: _over_quota(kept, rules.max_rows_per_unit, sealed)):
        reasons |= rule([vote for vote in votes if vote.prediction.prediction_id not in reasons])
    rows = [_row(vote) for vote in votes if vote.prediction.prediction_id not in reasons]
    orphans = sum(prediction is None for _, _, prediction in everything)
    counts = HarvestCounts(
        feedback=len(everything),
        orphans=orphans,
        superseded=len(everything) - orphans - len(last),
        unlabelled=len(last) - len(votes),
        quarantined=len(reasons),
        rows=len(rows),
    )
    quarantined = [QuarantinedRow(row_id, reason) for row_id, reason in sorted(reasons.items())]
    return Harvest(sorted(rows, key=lambda row: row.id), quarantined, counts)


def normalised(text: str) -> str:
    """Return the text as it is compared: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _last_votes(judged: Iterable[Judged]) -> list[tuple[FeedbackRow, PredictionRow]]:
    """Return for each prediction its last feedback; of several at one moment, the one with the highest id."""
    last: dict[str, tuple[tuple[datetime, str], FeedbackRow, PredictionRow]] = {}
    for feedback_id, feedback, prediction in judged:
        if prediction is None:
            continue
        moment = (feedback.occurred_at, feedback_id)
        found = last.get(prediction.prediction_id)
        if found is None or found[0] < moment:
            last[prediction.prediction_id] = (moment, feedback, prediction)
    return [(feedback, prediction) for _, feedback, prediction in last.values()]


def _vote(feedback: FeedbackRow, prediction: PredictionRow, rules: HarvestSpec) -> _Vote | None:
    """Return the label that the feedback gives, or None where it gives none."""
    if feedback.target is not None:
        return _Vote(prediction, feedback.target)
    confirmed = feedback.score is not None and feedback.score >= CONFIRMING_SCORE
    return _Vote(prediction, prediction.output) if confirmed and rules.trust_confirmations else None


def _unusable(votes: Iterable[_Vote], known_targets: AbstractSet[str] | None) -> dict[str, Reason]:
    reasons: dict[str, Reason] = {}
    for vote in votes:
        if not vote.prediction.text.strip():
            reasons[vote.prediction.prediction_id] = "empty text"
        elif not vote.target.strip():
            reasons[vote.prediction.prediction_id] = "empty target"
        elif known_targets is not None and vote.target not in known_targets:
            reasons[vote.prediction.prediction_id] = "unknown target"
    return reasons


def _disagreeing(votes: Iterable[_Vote]) -> dict[str, Reason]:
    """Return the votes on texts with several targets, but those for a target that most units agree on."""
    by_text: dict[str, list[_Vote]] = defaultdict(list)
    for vote in votes:
        by_text[_text_key(vote.prediction.text)].append(vote)
    reasons: dict[str, Reason] = {}
    for group in by_text.values():
        if len({vote.target for vote in group}) == 1:
            continue
        winner = _majority(group)
        for vote in group:
            if vote.target != winner:
                reasons[vote.prediction.prediction_id] = "contradicted" if winner is None else "outvoted"
    return reasons


def _text_key(text: str) -> str:
    return hashlib.sha256(normalised(text).encode("utf-8", "replace")).hexdigest()


def _majority(group: Sequence[_Vote]) -> str | None:
    """Return the target that more than half of the units agree on; a unit that contradicts itself agrees on none."""
    targets: dict[str | None, set[str]] = defaultdict(set)
    for vote in group:
        targets[vote.prediction.unit].add(vote.target)
    agreed = Counter(next(iter(said)) for said in targets.values() if len(said) == 1)
    winner, units = agreed.most_common(1)[0] if agreed else (None, 0)
    return winner if 2 * units > len(targets) else None


def _over_quota(votes: Iterable[_Vote], max_rows: int, sealed: AbstractSet[str]) -> dict[str, Reason]:
    """Return the votes beyond each unit's quota, which keeps what is sealed and then its newest."""
    by_unit: dict[str | None, list[_Vote]] = defaultdict(list)
    for vote in votes:
        by_unit[vote.prediction.unit].append(vote)
    reasons: dict[str, Reason] = {}
    for mine in by_unit.values():
        first = sorted(mine, key=lambda vote: (vote.prediction.prediction_id not in sealed, vote.newest_first))
        for vote in first[max_rows:]:
            reasons[vote.prediction.prediction_id] = "over quota"
    return reasons


def _row(vote: _Vote) -> HarvestedRow:
    prediction = vote.prediction
    return HarvestedRow(
        id=prediction.prediction_id,
        text=prediction.text,
        target=vote.target,
        slices=dict(prediction.slices),
        occurred_at=prediction.occurred_at,
        unit=prediction.unit,
    )
