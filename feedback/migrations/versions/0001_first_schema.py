"""Events, predictions, feedback, and the promotion ledger with the triggers that keep it append-only.

Written out rather than taken from `feedback.models`: history does not change when the models do.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = "the promotion ledger is append-only"


def upgrade() -> None:
    """Make the tables and the ledger's triggers."""
    _create_event()
    _create_prediction()
    _create_feedback()
    _create_promotion()
    triggers = _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS
    for statement in triggers:
        op.execute(statement)


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )


def _create_prediction() -> None:
    op.create_table(
        "prediction",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("unit", sa.String(), nullable=True),
        sa.Column("slices", sa.JSON(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prediction"),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name="fk_prediction_event_id"),
        sa.CheckConstraint("confidence >= 0 AND confidence <= 1", name=op.f("ck_prediction_confidence_range")),
    )
    op.create_index("ix_prediction_occurred_at", "prediction", ["occurred_at"])
    op.create_index("ix_prediction_model_version", "prediction", ["model_version", "occurred_at"])


def _create_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("prediction_id", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name="fk_feedback_event_id"),
        sa.CheckConstraint("score >= 0 AND score <= 1", name=op.f("ck_feedback_score_range")),
        sa.CheckConstraint("score IS NOT NULL OR target IS NOT NULL", name=op.f("ck_feedback_says_something")),
    )
    op.create_index("ix_feedback_prediction_id", "feedback", ["prediction_id"])


def _create_promotion() -> None:
    op.create_table(
        "promotion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt_id", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("from_version", sa.String(), nullable=True),
        sa.Column("to_version", sa.String(), nullable=False),
        sa.Column("evidence_sha256", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_promotion"),
        sa.UniqueConstraint("attempt_id", "phase", name="uq_promotion_attempt_id"),
        sa.CheckConstraint("phase IN ('intended', 'applied', 'abandoned')", name=op.f("ck_promotion_phase")),
        sa.CheckConstraint("action IN ('promote', 'rollback', 'baseline')", name=op.f("ck_promotion_action")),
    )
    ended = sa.text("phase <> 'intended'")
    op.create_index(
        "uq_promotion_outcome", "promotion", ["attempt_id"], unique=True, sqlite_where=ended, postgresql_where=ended
    )
    op.create_index("ix_promotion_model", "promotion", ["model", "alias"])


# INSERT OR REPLACE deletes without firing delete triggers, so a third one refuses to insert what is there already.
_SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER promotion_refuses_update BEFORE UPDATE ON promotion
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER promotion_refuses_delete BEFORE DELETE ON promotion
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER promotion_refuses_replace BEFORE INSERT ON promotion
        WHEN EXISTS (SELECT 1 FROM promotion WHERE id = NEW.id OR (attempt_id = NEW.attempt_id
            AND (phase = NEW.phase OR (phase <> 'intended' AND NEW.phase <> 'intended'))))
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",  # noqa: S608 - a constant
)

_POSTGRESQL_TRIGGERS = (
    f"""CREATE FUNCTION promotion_refuse_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{APPEND_ONLY}' USING ERRCODE = 'restrict_violation'; END $$""",
    """CREATE TRIGGER promotion_refuses_change BEFORE UPDATE OR DELETE ON promotion
        FOR EACH ROW EXECUTE FUNCTION promotion_refuse_change()""",
    """CREATE TRIGGER promotion_refuses_truncate BEFORE TRUNCATE ON promotion
        FOR EACH STATEMENT EXECUTE FUNCTION promotion_refuse_change()""",
)
