"""Alembic's door: migrations run on the connection that `migrate` holds the lock with."""

from alembic import context

from controlplane.adapters.sql import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables.LogHead.metadata)
with context.begin_transaction():
    context.run_migrations()
