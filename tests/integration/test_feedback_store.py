"""The store on real databases: each event once, all or nothing, on disk, and read back as it was."""

import hashlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from feedback.database import migrate
from feedback.errors import EventConflict, SettingsInvalid, StoreInvalid, StoreUnavailable
from feedback.harvest import HarvestSpec, harvest
from feedback.models import VERSION_TABLE, Base
from feedback.records import Delivery, EventKind, FeedbackRow, PredictionRow, delivery
from feedback.store import Store, open_store

START = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


def prediction(prediction_id: str, minute: int = 0, **fields: object) -> PredictionRow:
    row = PredictionRow(prediction_id, "7", "Where is it?", "tracking", 0.1 + 0.2, START + timedelta(minutes=minute))
    return replace(row, **fields)


def event(event_id: str, kind: EventKind = "predictions", body: bytes = b"{}") -> Delivery:
    return delivery(event_id, kind, body)


def in_threads(work: Callable[[int], str], count: int) -> Counter[str]:
    """Return how often each answer came when `count` threads start the work at once."""
    barrier, answers = threading.Barrier(count), []

    def run(number: int) -> None:
        barrier.wait()
        try:
            answers.append(work(number))
        except Exception as error:
            answers.append(type(error).__name__)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(answers)


def test_the_migrated_schema_is_the_models(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []


def test_opening_again_changes_nothing(store: Store, database_url: str) -> None:
    store.add_predictions(event("e1"), [prediction("p1")])
    again = open_store(database_url)
    assert again.counts().predictions == 1
    again.close()


def test_many_processes_may_open_a_new_database_at_once(database_url: str) -> None:
    def work(_: int) -> str:
        store = open_store(database_url)
        store.close()
        return "open"

    assert in_threads(work, 6) == {"open": 6}


def test_a_database_from_a_newer_version_is_refused(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreInvalid, match="9999"):
        migrate(store.engine)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:hidden@h/d", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="expected sqlite:///path") as refusal:
        open_store(url)
    assert "hidden" not in str(refusal.value)


def test_a_file_that_is_no_database_is_refused_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes " * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        open_store(f"sqlite:///{path}")
    assert path.read_text() == "notes " * 1000


def test_plain_postgresql_addresses_get_the_installed_driver(postgres_url: str) -> None:
    store = open_store(postgres_url.replace("postgresql+psycopg://", "postgresql://"))
    assert store.engine.driver == "psycopg"
    store.close()


def test_sqlite_is_set_up_to_be_durable(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with store.engine.connect() as connection:
        answers = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert answers == ["wal", 2, 1, 5000]
    store.close()


def test_rows_come_back_as_they_were(store: Store) -> None:
    row = prediction("p1", text="Où est-il ? 🎈", unit="user-7", slices={"channel": "chat", "b": "2"})
    assert store.add_predictions(event("e1"), [row, row]) == "accepted"
    assert store.window() == [row]
    counts = store.counts()
    assert (counts.events, counts.predictions, counts.feedback, counts.orphans) == (1, 1, 0, 0)
    assert counts.last_received_at is not None
    assert counts.last_received_at.tzinfo is not None


def test_a_replay_counts_once(store: Store) -> None:
    rows = [FeedbackRow("p1", "user", START, score=1.0)]
    assert store.add_feedback(event("e1", "feedback"), rows) == "accepted"
    assert store.add_feedback(event("e1", "feedback"), rows) == "duplicate"
    assert store.counts().feedback == 1


def test_an_event_id_with_another_body_is_a_conflict(store: Store) -> None:
    store.add_predictions(event("e1"), [prediction("p1")])
    with pytest.raises(EventConflict, match="e1"):
        store.add_predictions(event("e1", body=b"other"), [prediction("p2")])
    with pytest.raises(EventConflict, match="e1"):
        store.add_feedback(event("e1", "feedback"), [])
    assert [row.prediction_id for row in store.window()] == ["p1"]


def test_a_known_prediction_is_kept_if_identical_and_else_a_conflict(store: Store) -> None:
    store.add_predictions(event("e1"), [prediction("p1")])
    later = prediction("p1", minute=3)
    assert store.add_predictions(event("e2"), [later, prediction("p2")]) == "accepted"
    with pytest.raises(EventConflict, match="p1"):
        store.add_predictions(event("e3"), [prediction("p3"), prediction("p1", output="refund")])
    assert [row.prediction_id for row in store.window()] == ["p1", "p2"]
    assert store.window()[0].occurred_at == START
    assert store.counts().events == 2


def test_concurrent_deliveries_of_one_event_count_once(store: Store) -> None:
    rows = [FeedbackRow(f"p{n}", "user", START, score=1.0) for n in range(20)]
    answers = in_threads(lambda _: store.add_feedback(event("e1", "feedback"), rows), 8)
    assert answers == {"accepted": 1, "duplicate": 7}
    assert store.counts().feedback == 20


def test_concurrent_events_with_the_same_predictions_store_each_once(store: Store) -> None:
    rows = [prediction(f"p{n}") for n in range(20)]

    def work(number: int) -> str:
        return store.add_predictions(event(f"e{number}"), rows if number % 2 else rows[::-1])

    answers = in_threads(work, 3)
    assert answers == {"accepted": 3}
    assert (store.counts().events, store.counts().predictions) == (3, 20)


def test_text_that_no_database_stores_is_stored_readably(store: Store) -> None:
    row = prediction("p1", text="a\x00b\ud800c", output="\udfff", slices={"k": "\x00"})
    store.add_predictions(event("e1"), [row])
    store.add_feedback(event("e2", "feedback"), [FeedbackRow("p1", "user", START, target="x\x00")])
    (found,) = store.window()
    assert (found.text, found.output, found.slices) == ("a\ufffdb\ufffdc", "\ufffd", {"k": "\ufffd"})
    assert store.add_predictions(event("e3"), [row]) == "accepted"  # still the same prediction


def test_the_window_is_half_open_and_newest_last(store: Store) -> None:
    rows = [prediction(f"p{minute}", minute, model_version=str(minute % 2)) for minute in (3, 1, 4, 0, 2)]
    store.add_predictions(event("e1"), rows)

    def ids(**limits: object) -> list[str]:
        return [row.prediction_id for row in store.window(**limits)]

    assert ids() == ["p0", "p1", "p2", "p3", "p4"]
    assert ids(since=START + timedelta(minutes=1), until=START + timedelta(minutes=3)) == ["p1", "p2"]
    assert ids(last_n=2) == ["p3", "p4"]
    assert ids(last_n=2, model_version="1") == ["p1", "p3"]


def test_feedback_may_come_before_its_prediction(store: Store) -> None:
    store.add_feedback(event("e1", "feedback"), [FeedbackRow("p1", "user", START, target="refund")])
    assert store.counts().orphans == 1
    assert harvest(store, HarvestSpec()).counts.orphans == 1
    store.add_predictions(event("e2"), [prediction("p1")])
    found = harvest(store, HarvestSpec(), known_targets={"refund"})
    assert [(row.id, row.text, row.target) for row in found.rows] == [("p1", "Where is it?", "refund")]
    assert harvest(store, HarvestSpec(), since=datetime.now(UTC)).counts.feedback == 0


def test_what_breaks_a_rule_of_the_schema_is_stored_by_no_half(store: Store) -> None:
    with pytest.raises(IntegrityError):
        store.add_predictions(event("e1"), [prediction("p1"), prediction("p2", confidence=1.5)])
    assert (store.counts().events, store.counts().predictions) == (0, 0)


def test_a_locked_database_is_unavailable_and_readers_do_not_wait(sqlite_url: str) -> None:
    store = open_store(sqlite_url, wait_s=0.1)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.add_predictions(event("e1"), [prediction("p1")])
    assert store.counts().events == 0
    other.execute("ROLLBACK")
    other.close()
    assert store.add_predictions(event("e1"), [prediction("p1")]) == "accepted"
    store.close()


def test_a_table_locked_in_postgresql_is_unavailable(postgres_url: str) -> None:
    store = open_store(postgres_url, wait_s=0.2)
    other = create_engine(postgres_url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            store.add_predictions(event("e1"), [prediction("p1")])
    other.dispose()
    assert store.add_predictions(event("e1"), [prediction("p1")]) == "accepted"
    store.close()


def test_a_digest_is_of_the_bytes() -> None:
    assert event("e1", body=b"abc").body_sha256 == hashlib.sha256(b"abc").hexdigest()
