"""What alembic runs: it is handed a connection that is in a transaction."""

from alembic import context

from jobsys.server.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
context.run_migrations()
