"""The harvest's rules, each alone, and the properties that hold for any feedback whatever."""

import itertools
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from feedback.harvest import Harvest, HarvestSpec, Judged, judge, normalised
from feedback.records import FeedbackRow, PredictionRow

START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = HarvestSpec()
_ids = itertools.count()


def prediction(
    prediction_id: str, text: str | None = None, output: str = "refund", unit: str | None = "u1", minute: int = 0
) -> PredictionRow:
    text = f"text of {prediction_id}" if text is None else text
    return PredictionRow(
        prediction_id, "7", text, output, 0.9, START + timedelta(minutes=minute), unit, {"channel": "chat"}
    )


def vote(
    judged: PredictionRow | None, score: float | None = None, target: str | None = None, minute: int = 0, key: str = ""
) -> Judged:
    prediction_id = "gone" if judged is None else judged.prediction_id
    feedback = FeedbackRow(prediction_id, "user", START + timedelta(minutes=minute), score, target)
    return (key or f"{next(_ids):09d}", feedback, judged)


def labels(harvest: Harvest) -> dict[str, str]:
    return {row.id: row.target for row in harvest.rows}


def reasons(harvest: Harvest) -> dict[str, str]:
    return {row.id: row.reason for row in harvest.quarantined}


def test_a_corrected_target_is_the_label() -> None:
    harvest = judge([vote(prediction("p1", text="Where is it?"), target="tracking")], RULES)
    (row,) = harvest.rows
    assert (row.id, row.text, row.target, row.source) == ("p1", "Where is it?", "tracking", "feedback")
    assert row.slices == {"channel": "chat"}
    assert (row.occurred_at, row.unit) == (START, "u1")


def test_a_target_wins_over_any_score() -> None:
    assert labels(judge([vote(prediction("p1"), score=1.0, target="tracking")], RULES)) == {"p1": "tracking"}


@pytest.mark.parametrize(("score", "expected"), [(1.0, {"p1": "refund"}), (0.5, {"p1": "refund"}), (0.49, {})])
def test_a_high_score_confirms_the_output(score: float, expected: dict[str, str]) -> None:
    harvest = judge([vote(prediction("p1"), score=score)], RULES)
    assert labels(harvest) == expected
    assert harvest.counts.unlabelled == 1 - len(expected)


def test_confirmations_can_be_distrusted() -> None:
    harvest = judge([vote(prediction("p1"), score=1.0)], HarvestSpec(trust_confirmations=False))
    assert (harvest.rows, harvest.quarantined, harvest.counts.unlabelled) == ([], [], 1)


def test_the_last_vote_on_a_prediction_counts() -> None:
    judged = prediction("p1")
    votes = [vote(judged, target="late", minute=9), vote(judged, target="early", minute=1), vote(judged, score=0.0)]
    harvest = judge(votes, RULES)
    assert labels(harvest) == {"p1": "late"}
    assert harvest.counts.superseded == 2


def test_feedback_without_its_prediction_is_an_orphan() -> None:
    harvest = judge([vote(None, target="refund")], RULES)
    assert (harvest.rows, harvest.quarantined, harvest.counts.orphans) == ([], [], 1)


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [(" \n", "refund", "empty text"), ("hello", "  ", "empty target"), ("hello", "hacked", "unknown target")],
)
def test_what_cannot_be_learnt_is_quarantined(text: str, target: str, reason: str) -> None:
    harvest = judge([vote(prediction("p1", text=text), target=target)], RULES, known_targets={"refund"})
    assert (labels(harvest), reasons(harvest)) == ({}, {"p1": reason})


def test_units_that_disagree_cancel_out() -> None:
    votes = [
        vote(prediction("p1", text="Where is my money?", unit="u1"), target="refund"),
        vote(prediction("p2", text=" where is  MY money? ", unit="u2"), target="tracking"),
    ]
    assert reasons(judge(votes, RULES)) == {"p1": "contradicted", "p2": "contradicted"}


def test_a_strict_majority_of_units_outvotes_the_rest() -> None:
    votes = [vote(prediction(f"p{n}", text="same", unit=f"u{n}"), target="refund") for n in range(2)]
    votes.append(vote(prediction("p2", text="same", unit="u2"), target="tracking"))
    harvest = judge(votes, RULES)
    assert labels(harvest) == {"p0": "refund", "p1": "refund"}
    assert reasons(harvest) == {"p2": "outvoted"}


def test_one_unit_is_one_vote_however_often_it_repeats_itself() -> None:
    votes = [vote(prediction(f"p{n}", text="same", unit="loud"), target="spam") for n in range(9)]
    votes.append(vote(prediction("q", text="same", unit="calm"), target="refund"))
    assert set(reasons(judge(votes, RULES)).values()) == {"contradicted"}


def test_a_unit_that_contradicts_itself_agrees_on_nothing() -> None:
    votes = [
        vote(prediction("p1", text="same", unit="u1"), target="refund"),
        vote(prediction("p2", text="same", unit="u1"), target="tracking"),
        vote(prediction("p3", text="same", unit="u2"), target="refund"),
    ]
    assert set(reasons(judge(votes, RULES))) == {"p1", "p2", "p3"}


def test_rows_without_a_unit_count_as_one_unit() -> None:
    votes = [vote(prediction(f"p{n}", unit=None), target="refund") for n in range(5)]
    assert judge(votes, HarvestSpec(max_rows_per_unit=2)).counts.rows == 2


def test_a_quota_keeps_the_newest() -> None:
    votes = [vote(prediction(f"p{n}", minute=n), target="refund") for n in range(25)]
    harvest = judge(votes, RULES)
    assert labels(harvest).keys() == {f"p{n}" for n in range(5, 25)}
    assert reasons(harvest) == {f"p{n}": "over quota" for n in range(5)}


def test_the_spec_refuses_what_it_does_not_know() -> None:
    spec = TypeAdapter(HarvestSpec)
    assert spec.validate_python({"max_rows_per_unit": 3}).max_rows_per_unit == 3
    for wrong in ({"max_rows_per_unit": 0}, {"max_row_per_unit": 3}):
        with pytest.raises(ValidationError):
            spec.validate_python(wrong)


@st.composite
def feedback_lists(draw: st.DrawFn) -> list[Judged]:
    predictions: list[PredictionRow | None] = [
        prediction(
            f"p{n}",
            text=draw(st.sampled_from(["", "a", "A ", "b"])),
            output=draw(st.sampled_from(["x", "y"])),
            unit=draw(st.sampled_from([None, "u1", "u2", "u3"])),
            minute=draw(st.integers(0, 2)),
        )
        for n in range(draw(st.integers(1, 12)))
    ]
    count = draw(st.integers(0, 25))
    return [
        vote(
            draw(st.sampled_from([*predictions, None])),
            score=draw(st.sampled_from([0.0, 0.5, 1.0])),
            target=draw(st.sampled_from([None, "x", "y", "z", ""])),
            minute=draw(st.integers(0, 3)),
            key=f"f{n}",
        )
        for n in range(count)
    ]


@given(feedback_lists(), st.integers(1, 3), st.integers())
def test_the_order_of_arrival_changes_nothing(judged: list[Judged], quota: int, seed: int) -> None:
    rules = HarvestSpec(max_rows_per_unit=quota)
    shuffled = random.Random(seed).sample(judged, len(judged))
    assert judge(shuffled, rules, {"x", "y"}) == judge(judged, rules, {"x", "y"})


@given(feedback_lists(), st.integers(1, 3))
def test_nothing_is_lost_doubled_or_let_past_a_rule(judged: list[Judged], quota: int) -> None:
    harvest = judge(judged, HarvestSpec(max_rows_per_unit=quota), {"x", "y"})
    counts = harvest.counts
    assert counts.feedback == len(judged)
    assert counts.feedback == (
        counts.orphans + counts.superseded + counts.unlabelled + counts.quarantined + counts.rows
    )
    ids = [row.id for row in harvest.rows]
    assert ids == sorted(set(ids))
    assert not set(ids) & {row.id for row in harvest.quarantined}
    units = {found.prediction_id: found.unit for _, _, found in judged if found is not None}
    assert all(rows <= quota for rows in Counter(units[row_id] for row_id in ids).values())
    targets: dict[str, str] = {}
    for row in harvest.rows:
        assert row.target in {"x", "y"}
        assert targets.setdefault(normalised(row.text), row.target) == row.target


def test_what_is_sealed_keeps_its_place_in_the_quota() -> None:
    judged = [vote(prediction(f"p{n}", minute=n), target="refund") for n in range(6)]
    rules = HarvestSpec(max_rows_per_unit=3)
    assert set(labels(judge(judged, rules))) == {"p3", "p4", "p5"}
    assert set(labels(judge(judged, rules, sealed={"p0", "gone"}))) == {"p0", "p4", "p5"}
    assert {row.unit for row in judge(judged, rules).rows} == {"u1"}
