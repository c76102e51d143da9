"""What Alembic runs: every migration in one transaction, on an async engine."""

from __future__ import annotations

import asyncio

from alembic import context
from examples.marketplace_service.database import open_engine
from examples.marketplace_service.schema import METADATA
from examples.marketplace_service.settings import Settings
from sqlalchemy import Connection


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=METADATA)
    with context.begin_transaction():
        context.run_migrations()


async def connect() -> None:
    engine = open_engine(context.config.attributes.get("database_url") or Settings.from_env().database_url)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(connect())
