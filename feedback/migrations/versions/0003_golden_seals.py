"""The seals of golden sets, with the triggers that keep them append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

APPEND_ONLY = "the seals of golden sets are append-only"


def upgrade() -> None:
    """Make the table and its triggers."""
    op.create_table(
        "golden_seal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("how", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_golden_seal"),
        sa.UniqueConstraint("model", "sequence", name="uq_golden_seal_model"),
    )
    for statement in _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS:
        op.execute(statement)


# INSERT OR REPLACE deletes without firing delete triggers, so a third one refuses to insert what is there already.
_SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER golden_seal_refuses_update BEFORE UPDATE ON golden_seal
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER golden_seal_refuses_delete BEFORE DELETE ON golden_seal
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    f"""CREATE TRIGGER golden_seal_refuses_replace BEFORE INSERT ON golden_seal
        WHEN EXISTS (SELECT 1 FROM golden_seal WHERE id = NEW.id OR (model = NEW.model AND sequence = NEW.sequence))
        BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",  # noqa: S608 - a constant
)

_POSTGRESQL_TRIGGERS = (
    f"""CREATE FUNCTION golden_seal_refuse_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{APPEND_ONLY}' USING ERRCODE = 'restrict_violation'; END $$""",
    """CREATE TRIGGER golden_seal_refuses_change BEFORE UPDATE OR DELETE ON golden_seal
        FOR EACH ROW EXECUTE FUNCTION golden_seal_refuse_change()""",
    """CREATE TRIGGER golden_seal_refuses_truncate BEFORE TRUNCATE ON golden_seal
        FOR EACH STATEMENT EXECUTE FUNCTION golden_seal_refuse_change()""",
)
