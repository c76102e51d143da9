"""What Alembic runs: every migration in one transaction, on the sync driver of the same database."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, make_url

from examples.marketplace_service.schema import METADATA
from examples.marketplace_service.settings import Settings

url = make_url(context.config.attributes.get("database_url") or Settings.from_env().database_url)
engine = create_engine(url.set(drivername=url.drivername.removesuffix("+aiosqlite")))
with engine.begin() as connection:
    context.configure(connection=connection, target_metadata=METADATA)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
