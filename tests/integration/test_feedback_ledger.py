"""The promotion ledger on real databases: what was written stays, and tells what a crash left."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from feedback.errors import LedgerRefused
from feedback.ledger import Action, Move, current_version, history, previous_version, record, unfinished
from feedback.store import Store


def move(to_version: str, from_version: str | None = None, action: Action = "promote", alias: str = "champion") -> Move:
    return Move("intents", action, to_version, from_version, "ada", "e" * 64, "won by 2 points", alias)


def apply(store: Store, moves: Sequence[Move]) -> None:
    for one in moves:
        record(store, one, "intended")
        record(store, one, "applied")


def test_a_move_is_intended_then_applied(store: Store) -> None:
    promotion = move("2", "1")
    intended = record(store, promotion, "intended")
    assert unfinished(store, "intents") == [promotion]
    assert current_version(store, "intents") is None
    applied = record(store, promotion, "applied")
    assert unfinished(store, "intents") == []
    assert current_version(store, "intents") == "2"
    assert history(store, "intents") == [intended, applied]
    assert history(store, "intents", alias="baseline") == history(store, "other") == []


def test_recording_a_phase_again_is_the_same_entry(store: Store) -> None:
    promotion = move("2")
    first = record(store, promotion, "intended")
    assert record(store, promotion, "intended") == first
    last = record(store, promotion, "abandoned")
    assert record(store, promotion, "abandoned") == last
    assert len(history(store, "intents")) == 2
    assert current_version(store, "intents") is None


def test_what_does_not_fit_is_refused(store: Store) -> None:
    promotion = move("2")
    with pytest.raises(LedgerRefused, match="found nothing"):
        record(store, promotion, "applied")
    apply(store, [promotion])
    with pytest.raises(LedgerRefused, match="found applied and intended"):
        record(store, promotion, "abandoned")
    with pytest.raises(LedgerRefused, match="other content"):
        record(store, replace(promotion, to_version="3"), "applied")


def test_two_processes_that_end_one_attempt_agree(store: Store) -> None:
    promotion = move("2")
    record(store, promotion, "intended")
    answers: list[str] = []

    def end(phase: str) -> None:
        try:
            answers.append(record(store, promotion, phase).phase)
        except LedgerRefused:
            answers.append("refused")

    threads = [threading.Thread(target=end, args=(phase,)) for phase in ("applied", "abandoned") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) in (["abandoned"] * 3 + ["refused"] * 3, ["applied"] * 3 + ["refused"] * 3)
    assert len(history(store, "intents")) == 2


CHANGES = {
    "sqlite": [
        "UPDATE promotion SET actor = 'mallory'",
        "DELETE FROM promotion",
        "INSERT OR REPLACE INTO promotion SELECT 1, at, attempt_id, phase, action, 'mallory', model, alias,"
        " from_version, to_version, evidence_sha256, reason FROM promotion WHERE phase = 'applied'",
    ],
    "postgresql": [
        "UPDATE promotion SET actor = 'mallory'",
        "DELETE FROM promotion",
        "TRUNCATE promotion",
    ],
}


def test_the_database_refuses_to_change_an_entry(store: Store) -> None:
    apply(store, [move("2")])
    before = history(store, "intents")
    for statement in CHANGES[store.engine.name]:
        with pytest.raises(IntegrityError, match="append-only"), store.engine.begin() as connection:
            connection.execute(text(statement))
    assert history(store, "intents") == before


def test_an_attempt_that_ended_cannot_end_again_in_the_database(store: Store) -> None:
    apply(store, [move("2")])
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO promotion (at, attempt_id, phase, action, actor, model, alias, to_version,"
                " evidence_sha256, reason) SELECT at, attempt_id, 'abandoned', action, actor, model, alias, to_version,"
                " evidence_sha256, reason FROM promotion WHERE phase = 'applied'"
            )
        )


ROLLBACKS: list[tuple[list[Move], str | None, str | None]] = [  # the moves, the current version, the previous one
    ([], None, None),
    ([move("1", action="baseline")], "1", None),
    ([move("1", action="baseline"), move("2", "1")], "2", "1"),
    ([move("1"), move("2", "1"), move("3", "2"), move("2", "3", "rollback")], "2", "1"),
    ([move("1"), move("2", "1"), move("1", "2", "rollback")], "1", None),
    ([move("1"), move("2", "1"), move("1", "2", "rollback"), move("3", "1")], "3", "1"),
    ([move("1"), move("2", "1"), move("1", "2")], "1", "2"),
    ([move("1"), move("1", "1")], "1", None),
    ([move("1"), move("9", "1", "rollback")], "9", "1"),
    ([move("1"), move("7", None, "baseline", alias="baseline")], "1", None),
]


def test_a_rollback_goes_to_what_stood_before(store: Store) -> None:
    for number, (moves, current, previous) in enumerate(ROLLBACKS):
        model = f"model-{number}"
        apply(store, [replace(one, model=model) for one in moves])
        assert (current_version(store, model), previous_version(store, model)) == (current, previous), moves
