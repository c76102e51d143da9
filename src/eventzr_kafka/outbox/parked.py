"""`requeue`: makes parked rows pending again."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from eventzr_kafka._sql.database import require_async_engine
from eventzr_kafka.outbox.tables import events

__all__ = ["requeue"]


async def requeue(engine: AsyncEngine, ids: Collection[int] | None = None) -> int:
    """Let relays publish parked rows; each is published after the rows that its tenant has published since.

    Args:
        ids: Ids of rows, as `read_status` shows them; None for all.

    Returns:
        The number of rows; ids of rows that are not parked are ignored.
    """
    require_async_engine(engine, "requeue()")
    chosen = [events.c.parked_at.is_not(None)]
    if ids is not None:
        chosen.append(events.c.id.in_(ids))
    async with engine.begin() as connection:
        requeued = await connection.execute(update(events).where(*chosen).values(parked_at=None, failure=None))
    return requeued.rowcount
