"""The looks at golden sets: which comparisons were paid for from a model's promotion budget. Append-only.

What a look costs is not decided here: a look is text that its writer understands, under a key that stands once.
"""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from feedback.models import GoldenLook
from feedback.store import Store


def record(store: Store, model: str, key: str, content: str, now: datetime | None = None) -> bool:
    """Write a look and return True; False where the model has one of this key already, which stays as it is.

    Raises:
        StoreUnavailable: the database failed; nothing was written.
    """
    try:
        with store.writing() as session:
            session.add(GoldenLook(at=now or datetime.now(UTC), model=model, key=key, content=content))
    except IntegrityError:
        return False
    return True


def read(store: Store, model: str) -> list[str]:
    """Return the model's looks, oldest first."""
    query = select(GoldenLook.content).where(GoldenLook.model == model).order_by(GoldenLook.id)
    with store.reading() as session:
        return list(session.scalars(query).all())
