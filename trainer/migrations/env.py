"""What alembic runs: the steps that are missing, over the connection that the service has open."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
