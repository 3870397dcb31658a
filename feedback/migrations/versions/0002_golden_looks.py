"""The looks at golden sets, with the triggers that keep them append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

APPEND_ONLY = "the looks at golden sets are append-only"


def upgrade() -> None:
    """Make the table and its triggers."""
    op.create_table(
        "golden_look",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_golden_look"),
        sa.UniqueConstraint("model", "key", name="uq_golden_look_model"),
    )
    op.create_index("ix_golden_look_model", "golden_look", ["model"])
    for statement in _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS:
        op.execute(statement)


# INSERT OR REPLACE deletes without firing delete triggers, so a third one refuses to insert what is there already.
_SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER golden_look_refuses_update BEFORE UPDATE ON golden_look
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER golden_look_refuses_delete BEFORE DELETE ON golden_look
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER golden_look_refuses_replace BEFORE INSERT ON golden_look
        WHEN EXISTS (SELECT 1 FROM golden_look WHERE id = NEW.id OR (model = NEW.model AND key = NEW.key))
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",  # noqa: S608 - a constant
)

_POSTGRESQL_TRIGGERS = (
    f"""CREATE FUNCTION golden_look_refuse_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{APPEND_ONLY}' USING ERRCODE = 'restrict_violation'; END $$""",
    """CREATE TRIGGER golden_look_refuses_change BEFORE UPDATE OR DELETE ON golden_look
        FOR EACH ROW EXECUTE FUNCTION golden_look_refuse_change()""",
    """CREATE TRIGGER golden_look_refuses_truncate BEFORE TRUNCATE ON golden_look
        FOR EACH STATEMENT EXECUTE FUNCTION golden_look_refuse_change()""",
)
