"""What Alembic runs for a command: the migrations, on the connection that `migrate` gives, in its transaction."""

from __future__ import annotations

from alembic import context

from rag.store.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
