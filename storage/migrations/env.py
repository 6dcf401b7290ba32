"""What Alembic runs for a command: the migrations, on the connection that `migrate` gives, in its transaction."""

from __future__ import annotations

from alembic import context

from storage.migrations import VERSION_TABLE
from storage.tables import TABLES

# Of the metadata only the names that it gives to constraints are used.
context.configure(
    connection=context.config.attributes["connection"], version_table=VERSION_TABLE, target_metadata=TABLES
)
context.run_migrations()
