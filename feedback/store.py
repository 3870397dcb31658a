"""The database of production: what apps sent, each event once, and what the monitor, the harvest and `status` read.

Every delivery is one transaction: when a call returns, its rows are on disk; when it raises, none is. Trusts its
callers about fields and ranges (the webhook validates them), and decides nothing about training.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from feedback.database import connect, migrate, unavailable_if_failing
from feedback.errors import EventConflict
from feedback.models import Event, Feedback, Prediction
from feedback.records import Delivery, FeedbackRow, PredictionRow, storable

Outcome = Literal["accepted", "duplicate"]
Scrub = Callable[[str], str]  # the text without personal data; the same text gives the same, and again changes nothing

_LABEL = re.compile(r"[^\s@:/+]*")
ATTEMPTS = 3  # a delivery that meets another one between its look and its write looks again


@dataclass(frozen=True)
class Counts:
    """How much the store holds; `orphans` are feedback whose prediction never came."""

    events: int
    predictions: int
    feedback: int
    orphans: int
    last_received_at: datetime | None


def open_store(url: str, wait_s: float = 5.0) -> "Store":
    """Return the store at a SQLite or PostgreSQL URL, its folder made and its schema up to date.

    `wait_s` bounds how long a call waits for the database (a lock, a connection).

    Raises:
        SettingsInvalid: the URL cannot be used.
        StoreInvalid: a newer version of Ratchet migrated the database.
        StoreUnavailable: the database failed.
    """
    store = Store(url, wait_s)
    try:
        migrate(store.engine)
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """The engine of one database, with what may be done to it; safe to share between threads."""

    def __init__(self, url: str, wait_s: float) -> None:
        self.engine = connect(url, wait_s)
        self._reading = self.engine.execution_options(reading=True)

    def close(self) -> None:
        """Close every idle connection; the store may be used again."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield a session whose transaction commits at the end, or rolls back when anything raises.

        Raises:
            StoreUnavailable: the database failed.
        """
        with unavailable_if_failing(), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that only reads, and never waits for a writer.

        Raises:
            StoreUnavailable: the database failed.
        """
        with unavailable_if_failing(), Session(self._reading) as session:
            yield session

    def add_predictions(
        self, event: Delivery, predictions: Sequence[PredictionRow], scrub: Scrub | None = None
    ) -> Outcome:
        """Store the predictions, all or none; `duplicate` when this very event was stored before.

        A prediction id that is known already is left as it is if model version, text, output, confidence, unit and
        slices are the same (its time may differ: the first one stays); a prediction is never changed. `scrub` goes
        over text and output before anything is stored, but not over labels, and over what was stored without it before
        the two are compared.

        Raises:
            EventConflict: the event id is known with another body, or a prediction id with other content.
            StoreUnavailable: the database failed; nothing was stored.
        """
        rows = [_storable_row(row, scrub) for row in predictions]

        def write(session: Session) -> None:
            new = _not_yet_stored(session, rows, scrub)
            values = [_prediction_values(event, row) for row in new]
            if values:
                session.execute(insert(Prediction), values)

        return self._deliver(event, write)

    def add_feedback(self, event: Delivery, feedback: Sequence[FeedbackRow], scrub: Scrub | None = None) -> Outcome:
        """Store the feedback, targets scrubbed, all or none; `duplicate` when this very event was stored before.

        Raises:
            EventConflict: the event id is known with another body.
            StoreUnavailable: the database failed; nothing was stored.
        """
        values = [_feedback_values(event, place, row, scrub) for place, row in enumerate(feedback)]

        def write(session: Session) -> None:
            if values:
                session.execute(insert(Feedback), values)

        return self._deliver(event, write)

    def _deliver(self, event: Delivery, write: Callable[[Session], None]) -> Outcome:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._deliver_once(event, write)
            except IntegrityError:  # the primary key saw a concurrent delivery that our look could not
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _deliver_once(self, event: Delivery, write: Callable[[Session], None]) -> Outcome:
        with self.writing() as session:
            known = session.get(Event, event.event_id)
            if known is not None:
                if (known.kind, known.body_sha256) != (event.kind, event.body_sha256):
                    raise EventConflict(
                        f"event {event.event_id} was received before with another body: give every event its own id"
                    )
                return "duplicate"
            session.add(
                Event(id=event.event_id, kind=event.kind, body_sha256=event.body_sha256, received_at=event.received_at)
            )
            session.flush()
            write(session)
        return "accepted"

    def window(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        last_n: int | None = None,
        model_version: str | None = None,
    ) -> list[PredictionRow]:
        """Return production's predictions, newest last: of `since <= occurred_at < until`, the last `last_n`."""
        query = select(Prediction).order_by(Prediction.occurred_at.desc(), Prediction.id.desc())
        if since is not None:
            query = query.where(Prediction.occurred_at >= since)
        if until is not None:
            query = query.where(Prediction.occurred_at < until)
        if model_version is not None:
            query = query.where(Prediction.model_version == model_version)
        with self.reading() as session:
            found = session.scalars(query.limit(last_n))
            return [_prediction_row(prediction) for prediction in found][::-1]

    def judged(self, since: datetime | None = None) -> list[tuple[str, FeedbackRow, PredictionRow | None]]:
        """Return each feedback's id, the feedback, and the prediction it judges where that one came, in order of id.

        `since` keeps only what was received then or later, so that feedback which comes late is not missed.
        """
        query = (
            select(Feedback, Prediction)
            .outerjoin(Prediction, Prediction.id == Feedback.prediction_id)
            .order_by(Feedback.id)
        )
        if since is not None:
            query = query.where(Feedback.received_at >= since)
        with self.reading() as session:
            return [
                (feedback.id, _feedback_row(feedback), None if prediction is None else _prediction_row(prediction))
                for feedback, prediction in session.execute(query)
            ]

    def counts(self) -> Counts:
        """Return how much the store holds."""
        orphans = (
            select(func.count())
            .select_from(Feedback)
            .outerjoin(Prediction, Prediction.id == Feedback.prediction_id)
            .where(Prediction.id.is_(None))
        )
        with self.reading() as session:
            return Counts(
                events=session.scalar(select(func.count()).select_from(Event)) or 0,
                predictions=session.scalar(select(func.count()).select_from(Prediction)) or 0,
                feedback=session.scalar(select(func.count()).select_from(Feedback)) or 0,
                orphans=session.scalar(orphans) or 0,
                last_received_at=session.scalar(select(func.max(Event.received_at))),
            )

    def check(self) -> None:
        """Return when the database answers.

        Raises:
            StoreUnavailable: it does not.
        """
        with self.reading() as session:
            session.execute(select(1))


def _storable_row(row: PredictionRow, scrub: Scrub | None) -> PredictionRow:
    slices = {storable(name): storable(value) for name, value in row.slices.items()}
    text = storable(row.text) if scrub is None else scrub(storable(row.text))
    return replace(row, text=text, output=_storable_answer(row.output, scrub), slices=slices)


def _storable_answer(text: str, scrub: Scrub | None) -> str:
    """Return an output or target as it is stored: a label as it is, even one that looks like a phone number."""
    return storable(text) if scrub is None or _LABEL.fullmatch(text) else scrub(storable(text))


def _not_yet_stored(session: Session, rows: Sequence[PredictionRow], scrub: Scrub | None) -> list[PredictionRow]:
    """Return the rows to insert, each id once, in order of id (so that two deliveries never wait for each other)."""
    ids = {row.prediction_id for row in rows}
    stored = session.scalars(select(Prediction).where(Prediction.id.in_(ids)))
    known = {prediction.id: _storable_row(_prediction_row(prediction), scrub) for prediction in stored}
    new: dict[str, PredictionRow] = {}
    for row in rows:
        first = known.setdefault(row.prediction_id, row)
        if first is row:
            new[row.prediction_id] = row
        elif replace(first, occurred_at=row.occurred_at) != row:
            raise EventConflict(
                f"prediction {row.prediction_id} was received before with other content: "
                "give every prediction its own id"
            )
    return [new[prediction_id] for prediction_id in sorted(new)]


def _prediction_values(event: Delivery, row: PredictionRow) -> dict[str, object]:
    return {
        "id": row.prediction_id,
        "event_id": event.event_id,
        "model_version": row.model_version,
        "text": row.text,
        "output": row.output,
        "confidence": row.confidence,
        "unit": row.unit,
        "slices": row.slices,
        "occurred_at": row.occurred_at,
        "received_at": event.received_at,
    }


def _feedback_values(event: Delivery, place: int, row: FeedbackRow, scrub: Scrub | None) -> dict[str, object]:
    return {
        "id": f"{event.event_id}/{place:06d}",
        "event_id": event.event_id,
        "prediction_id": row.prediction_id,
        "score": row.score,
        "target": None if row.target is None else _storable_answer(row.target, scrub),
        "source": row.source,
        "occurred_at": row.occurred_at,
        "received_at": event.received_at,
    }


def _prediction_row(prediction: Prediction) -> PredictionRow:
    return PredictionRow(
        prediction_id=prediction.id,
        model_version=prediction.model_version,
        text=prediction.text,
        output=prediction.output,
        confidence=prediction.confidence,
        occurred_at=prediction.occurred_at,
        unit=prediction.unit,
        slices=dict(prediction.slices),
    )


def _feedback_row(feedback: Feedback) -> FeedbackRow:
    return FeedbackRow(feedback.prediction_id, feedback.source, feedback.occurred_at, feedback.score, feedback.target)
