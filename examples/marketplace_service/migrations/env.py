"""Alembic's environment: runs all migrations in one transaction, on the sync driver of the database.

Pods that start together wait for an advisory lock: the first one migrates, the others find nothing to do.
SQLite has one writer anyway.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, make_url, text

from examples.marketplace_service.schema import METADATA
from examples.marketplace_service.settings import Settings

url = make_url(context.config.attributes.get("database_url") or Settings.from_env().database_url)
engine = create_engine(url.set(drivername=url.drivername.removesuffix("+aiosqlite")))
with engine.begin() as connection:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('marketplace migrations'))"))
    context.configure(connection=connection, target_metadata=METADATA)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
