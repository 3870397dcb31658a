"""The seals of golden sets on real databases: each sequence once, in order, and nobody changes one."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from feedback.seals import SealEntry, append, read
from feedback.store import Store

FIRST = SealEntry(1, "d1", "", "created", 400, 400, 0, "first")
SECOND = SealEntry(2, "d2", "d1", "feedback", 412, 12, 0, "second")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

CHANGES = {
    "sqlite": [
        "UPDATE golden_seal SET content = 'none'",
        "DELETE FROM golden_seal",
        "INSERT OR REPLACE INTO golden_seal SELECT id, at, model, sequence, digest, parent, how, rows, added, removed, "
        "'none' FROM golden_seal",
        "INSERT OR REPLACE INTO golden_seal SELECT id + 9, at, model, sequence, digest, parent, how, rows, added, "
        "removed, 'none' FROM golden_seal",
    ],
    "postgresql": ["UPDATE golden_seal SET content = 'none'", "DELETE FROM golden_seal", "TRUNCATE golden_seal"],
}


def test_a_seal_is_on_record_once_and_in_order(store: Store) -> None:
    assert read(store, "intents") == []
    assert append(store, "intents", FIRST, NOW)
    assert append(store, "intents", SECOND, NOW)
    assert append(store, "other", replace(FIRST, content="another model's"), NOW)
    assert not append(store, "intents", replace(SECOND, content="changed"), NOW)
    assert read(store, "intents") == [replace(FIRST, at=NOW), replace(SECOND, at=NOW)]
    assert [entry.content for entry in read(store, "other")] == ["another model's"]


def test_the_database_refuses_to_change_a_seal(store: Store) -> None:
    append(store, "intents", FIRST, NOW)
    for statement in CHANGES[store.engine.name]:
        with pytest.raises(IntegrityError, match="append-only"), store.engine.begin() as connection:
            connection.execute(text(statement))
    assert read(store, "intents") == [replace(FIRST, at=NOW)]


def test_a_large_set_is_kept_whole(store: Store) -> None:
    entry = replace(FIRST, content="x" * 5_000_000)
    append(store, "intents", entry, NOW)
    assert read(store, "intents") == [replace(entry, at=NOW)]
