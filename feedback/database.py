"""The database behind the store: engines for SQLite and PostgreSQL, durable and with bounded waits, and the migrations.

Knows nothing of what the tables hold.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from feedback.errors import SettingsInvalid, StoreInvalid, StoreUnavailable
from feedback.models import VERSION_TABLE

log = logging.getLogger(__name__)

MIGRATION_LOCK = 7_242_001  # any number, the same in every process that migrates
_OUR_FAULT = (IntegrityError, DataError, ProgrammingError, NotSupportedError)


def connect(url: str, wait_s: float) -> Engine:
    """Return an engine for the URL; whatever waits for the database waits at most about `wait_s` seconds.

    On SQLite a transaction takes the write lock at its start, so that two writers queue up instead of failing half-way;
    connections with the execution option `reading` only read and never wait.

    Raises:
        SettingsInvalid: the URL is not one of a SQLite file or a PostgreSQL database.
        StoreUnavailable: the file's folder cannot be made.
    """
    address = _address(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite(address, wait_s)
    return _postgresql(address, wait_s)


@contextmanager
def unavailable_if_failing() -> Iterator[None]:
    """Turn what the database, not its caller, did wrong (locked, full, down, damaged) into `StoreUnavailable`."""
    try:
        yield
    except _OUR_FAULT:
        raise
    except (DBAPIError, PoolTimeout) as error:
        cause = getattr(error, "orig", None) or error
        message = " ".join(str(cause).split())
        log.error("database failed: %s", message)
        raise StoreUnavailable(f"the database failed, nothing was stored, try again: {message}") from error


def migrate(engine: Engine) -> None:
    """Bring the schema up to this version's, in one transaction and under a lock; does nothing where it is.

    Raises:
        StoreInvalid: the database was migrated by a newer version of Ratchet.
        StoreUnavailable: the database failed.
    """
    config = Config()
    config.set_main_option("script_location", "feedback:migrations")  # resolved from the installed package
    options = {"version_table": VERSION_TABLE}
    script = ScriptDirectory.from_config(config)
    with unavailable_if_failing():
        with engine.execution_options(reading=True).connect() as connection:
            present = set(MigrationContext.configure(connection, opts=options).get_current_heads())
        if present == set(script.get_heads()):
            return
        _refuse_unknown(present, {step.revision for step in script.walk_revisions()})
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    log.info("database migrated from %s to %s", sorted(present) or "nothing", script.get_current_head())


def _refuse_unknown(present: set[str], known: set[str]) -> None:
    unknown = present - known
    if unknown:
        raise StoreInvalid(
            f"the database's schema is at {sorted(unknown)[0]}, which this version of Ratchet does not know "
            f"(it knows up to {max(known)}): install the newer Ratchet that migrated it"
        )


def _address(url: str) -> URL:
    expected = "expected sqlite:///path/to/file.db or postgresql://user:password@host/database"
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise SettingsInvalid(f"database URL: {expected}; this is no URL") from error
    shown = address.render_as_string(hide_password=True)
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise SettingsInvalid(f"database URL: {expected}, got {shown}")
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise SettingsInvalid(f"database URL: {expected}, got {shown}; events must outlive the process, name a file")
    return address.set(drivername="postgresql+psycopg") if address.drivername == "postgresql" else address


def _sqlite(address: URL, wait_s: float) -> Engine:
    folder = Path(str(address.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{folder}: cannot make the database's folder: {error}") from error
    engine = create_engine(address, hide_parameters=True, pool_timeout=wait_s)
    event.listen(engine, "begin", _begin_sqlite)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are ours (`_begin_sqlite`), also around DDL
        for pragma in (
            f"busy_timeout = {int(wait_s * 1000)}",
            "journal_mode = WAL",
            "synchronous = FULL",  # a commit is on disk before it is acknowledged
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _postgresql(address: URL, wait_s: float) -> Engine:
    timeout = {} if "connect_timeout" in address.query else {"connect_timeout": max(2, int(wait_s))}
    engine = create_engine(address, hide_parameters=True, pool_timeout=wait_s, pool_pre_ping=True, connect_args=timeout)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.autocommit = True  # a setting made inside a transaction would go with its rollback
        connection.execute(f"SET lock_timeout = {int(wait_s * 1000)}")
        connection.autocommit = False

    return engine
