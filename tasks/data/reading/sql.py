"""Reading the rows of a SQL query, batch by batch. The one module of this room that knows SQLAlchemy.

Writes nothing: the transaction that a query ran in is rolled back.
"""

import os
import re
from pathlib import Path
from typing import Any

from tasks.data.reading.batches import BATCH_ROWS, Batches, Columns, Part, batched, first_line, pick_columns
from tasks.errors import DataError


def read_sql(url: str, query: str, split: str, columns: Columns, root: Path) -> Part:
    """Return the rows of a query; a relative SQLite path starts at `root`, `${VARIABLE}` in the URL is filled in.

    Raises:
        DataError: a variable is not set, the database cannot be reached, or the query fails or lacks a column; from
            the batches.
    """
    name = f"query for {split}" if split else "query"
    return Part(name, "sql", "row", _read_batches(name, url, query, columns, root))


def _read_batches(name: str, url: str, query: str, columns: Columns, root: Path) -> Batches:
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = sqlalchemy.create_engine(_resolve_url(url, root), poolclass=sqlalchemy.NullPool)
        with engine.connect().execution_options(yield_per=BATCH_ROWS) as connection:  # the rows stay in the database
            result = connection.execute(sqlalchemy.text(query))
            if not result.returns_rows:
                raise DataError(f"{name}: returns no rows; expected a SELECT")
            keys = list(result.keys())
            yield from batched(enumerate(result, start=1), keys, pick_columns(name, keys, columns))
    except (SQLAlchemyError, ImportError) as error:
        raise DataError(f"{name}: the database refused ({first_line(error)}); check `url` and the query") from error


def _resolve_url(url: str, root: Path) -> Any:
    """Return SQLAlchemy's URL with variables filled in and a SQLite file found."""
    from sqlalchemy.engine import make_url

    def fill(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise DataError(f"data.source.url: the environment variable {match[1]} is not set; set it")
        return os.environ[match[1]]

    parsed = make_url(re.sub(r"\$\{(\w+)\}", fill, url))
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        path = root / parsed.database
        if not path.is_file():
            raise DataError(f"{path}: no such database file; check data.source.url")
        parsed = parsed.set(database=str(path))
    return parsed
