"""The tables, on SQLite and PostgreSQL alike: events, predictions, feedback, looks and seals, the promotion ledger.

`output` and `target` are text, so nothing here assumes a classifier. Holds no queries; the schema is made by the
migrations, and a test keeps the two equal. The ledger's triggers are in the migrations only.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

VERSION_TABLE = "ratchet_schema"  # not Alembic's own name: MLflow's and Prefect's tables may be in the same database


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes, kept in UTC; SQLite, which has no zones, stores them without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC, in the form that the dialect stores."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected a datetime with a time zone, got {value.isoformat()}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored moment in UTC, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The one metadata of this room."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime(), dict[str, str]: JSON(), float: Float()}  # noqa: RUF012 - SQLAlchemy's own protocol


class Event(Base):
    """One accepted webhook delivery; the primary key is what makes a replay count once."""

    __tablename__ = "event"

    id: Mapped[str] = mapped_column(primary_key=True)  # the webhook-id
    kind: Mapped[str]
    body_sha256: Mapped[str]
    received_at: Mapped[datetime]


class Prediction(Base):
    """One answer that a model gave in production."""

    __tablename__ = "prediction"
    __table_args__ = (
        CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence_range"),
        Index("ix_prediction_occurred_at", "occurred_at"),
        Index("ix_prediction_model_version", "model_version", "occurred_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("event.id"))
    model_version: Mapped[str]
    text: Mapped[str] = mapped_column(Text)
    output: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float]
    unit: Mapped[str | None]
    slices: Mapped[dict[str, str]]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]


class Feedback(Base):
    """One judgement of a prediction, which may arrive before the prediction itself: no foreign key."""

    __tablename__ = "feedback"
    __table_args__ = (
        CheckConstraint("score >= 0 AND score <= 1", name="score_range"),
        CheckConstraint("score IS NOT NULL OR target IS NOT NULL", name="says_something"),
        Index("ix_feedback_prediction_id", "prediction_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)  # event id and place in the event: the same on every machine
    event_id: Mapped[str] = mapped_column(ForeignKey("event.id"))
    prediction_id: Mapped[str]
    score: Mapped[float | None]
    target: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]


class GoldenLook(Base):
    """One look at a golden set, as JSON that its writer understands. Append-only: triggers refuse UPDATE and DELETE."""

    __tablename__ = "golden_look"
    __table_args__ = (UniqueConstraint("model", "key"), Index("ix_golden_look_model", "model"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    model: Mapped[str]
    key: Mapped[str]
    content: Mapped[str] = mapped_column(Text)


class GoldenSeal(Base):
    """One seal of a golden set; `content` is JSON that its writer understands. Append-only, as `GoldenLook` is."""

    __tablename__ = "golden_seal"
    __table_args__ = (UniqueConstraint("model", "sequence"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    model: Mapped[str]
    sequence: Mapped[int]
    digest: Mapped[str]
    parent: Mapped[str]
    how: Mapped[str]
    rows: Mapped[int]
    added: Mapped[int]
    removed: Mapped[int]
    content: Mapped[str] = mapped_column(Text)


class Promotion(Base):
    """One phase of one promotion. Append-only: triggers refuse UPDATE and DELETE."""

    __tablename__ = "promotion"
    __table_args__ = (
        CheckConstraint("phase IN ('intended', 'applied', 'abandoned')", name="phase"),
        CheckConstraint("action IN ('promote', 'rollback', 'baseline')", name="action"),
        UniqueConstraint("attempt_id", "phase"),
        Index(  # an attempt ends once: applied or abandoned
            "uq_promotion_outcome",
            "attempt_id",
            unique=True,
            sqlite_where=text("phase <> 'intended'"),
            postgresql_where=text("phase <> 'intended'"),
        ),
        Index("ix_promotion_model", "model", "alias"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    attempt_id: Mapped[str]
    phase: Mapped[str]
    action: Mapped[str]
    actor: Mapped[str]
    model: Mapped[str]
    alias: Mapped[str]
    from_version: Mapped[str | None]
    to_version: Mapped[str]
    evidence_sha256: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
