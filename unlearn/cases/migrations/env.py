"""Alembic's entry: runs the revisions on the connection, and in the transaction, that the store hands over."""

from alembic import context

from unlearn.cases.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
