"""What Alembic runs: the migrations, on the connection and in the transaction that `feedback.database` opened.

Reads no ini file, sets up no logging and offers no offline mode.
"""

from alembic import context

from feedback.models import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
