"""The looks at golden sets on real databases: each key once, in order, and nobody changes one."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from feedback.looks import read, record
from feedback.store import Store

CHANGES = {
    "sqlite": [
        "UPDATE golden_look SET content = 'none'",
        "DELETE FROM golden_look",
        "INSERT OR REPLACE INTO golden_look SELECT id, at, model, key, 'none' FROM golden_look",
    ],
    "postgresql": ["UPDATE golden_look SET content = 'none'", "DELETE FROM golden_look", "TRUNCATE golden_look"],
}


def test_a_look_is_on_record_once_and_in_order(store: Store) -> None:
    assert read(store, "intents") == []
    assert record(store, "intents", "k1", "first")
    assert record(store, "intents", "k2", "second")
    assert record(store, "other", "k1", "another model's")
    assert not record(store, "intents", "k1", "changed")
    assert read(store, "intents") == ["first", "second"]
    assert read(store, "other") == ["another model's"]


def test_the_database_refuses_to_change_a_look(store: Store) -> None:
    record(store, "intents", "k1", "first")
    for statement in CHANGES[store.engine.name]:
        with pytest.raises(IntegrityError, match="append-only"), store.engine.begin() as connection:
            connection.execute(text(statement))
    assert read(store, "intents") == ["first"]
