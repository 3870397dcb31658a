"""The history of golden sets: each seal that was put on a model's golden rows, one after another. Append-only.

What a seal says of the rows is text that its writer understands; here it is only kept, and in order.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from feedback.models import GoldenSeal
from feedback.store import Store


@dataclass(frozen=True)
class SealEntry:
    """One entry: which set was sealed, how it came about, and what is needed to tell its rows."""

    sequence: int  # from 1, for each model
    digest: str
    parent: str  # the digest before; empty for the first
    how: str
    rows: int
    added: int
    removed: int
    content: str
    at: datetime | None = None  # when it was written


def append(store: Store, model: str, entry: SealEntry, now: datetime | None = None) -> bool:
    """Write the entry and return True; False where the model has one of this sequence already, which stays as it is.

    Raises:
        StoreUnavailable: the database failed; nothing was written.
    """
    try:
        with store.writing() as session:
            session.add(
                GoldenSeal(
                    at=now or datetime.now(UTC), model=model, sequence=entry.sequence, digest=entry.digest,
                    parent=entry.parent, how=entry.how, rows=entry.rows, added=entry.added, removed=entry.removed,
                    content=entry.content,
                )
            )  # fmt: skip
    except IntegrityError:
        return False
    return True


def read(store: Store, model: str) -> list[SealEntry]:
    """Return the model's entries, oldest first."""
    query = select(GoldenSeal).where(GoldenSeal.model == model).order_by(GoldenSeal.sequence)
    with store.reading() as session:
        return [
            SealEntry(
                row.sequence, row.digest, row.parent, row.how, row.rows, row.added, row.removed, row.content, row.at
            )
            for row in session.scalars(query)
        ]
