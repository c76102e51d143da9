"""PostgreSQL's NOTIFY, received on a connection of its own: it saves a wait, and no promise depends on it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from eventzr_kafka._sql.database import DATABASE_ERRORS
from eventzr_kafka.clock import Clock
from eventzr_kafka.outbox.writer import CHANNEL

__all__ = ["Wakeup"]

_AGAIN = 1.0  # seconds after a lost connection


class Wakeup:
    """Sets an event whenever rows were committed; with psycopg only, elsewhere it does nothing."""

    def __init__(self, engine: AsyncEngine, event: asyncio.Event, clock: Clock) -> None:
        self._engine = engine
        self._event = event
        self._sleep = clock.sleep
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._engine.dialect.driver == "psycopg":
            self._task = asyncio.create_task(self._run(), name="eventzr-kafka outbox listen")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        driver = self._engine.dialect.loaded_dbapi.Error  # SQLAlchemy does not wrap errors while listening
        while True:
            with suppress(driver, *DATABASE_ERRORS):
                await self._listen()
            await self._sleep(_AGAIN)

    async def _listen(self) -> None:
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                await connection.execute(text(f"LISTEN {CHANNEL}"))
                await self._receive((await connection.get_raw_connection()).driver_connection)
            finally:
                await connection.invalidate()  # it listens, so the pool must not hand it out again

    async def _receive(self, psycopg_connection: Any) -> None:
        self._event.set()
        async for _ in psycopg_connection.notifies():
            self._event.set()
