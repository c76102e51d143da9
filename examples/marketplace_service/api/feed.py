"""The feed as server-sent events: ``activity`` for each line, ``counts`` when failures or dead letters have changed.

The feed polls the table, so any replica of the service can serve any page. Numbers are given before they are committed,
so a lower one may appear after a higher one. It is still sent, with the highest number as its id: a browser that
reconnects continues from there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from examples.marketplace_service.activity import Activity, DeadLetter, Failure
from examples.marketplace_service.background import pause
from examples.marketplace_service.database import sessions

__all__ = ["follow"]

_LOOK_EVERY = 0.3  # seconds
_OVERLAP = 100  # a number that appears later may be lower by so much
_AT_ONCE = 500
_ALIVE_AFTER = 50  # polls without a new line


async def follow(tenant_id: str, after: int, closing: asyncio.Event) -> AsyncGenerator[str]:
    """Send all lines after a number, then new ones, until the browser disconnects or the service ends."""
    sent: set[int] = set()
    pulse: Any = None
    quiet = 0
    while not closing.is_set():
        async with sessions() as session:
            lines = await _lines(session, tenant_id, after - _OVERLAP)
            beat = await _pulse(session, tenant_id)
        new = [line for line in lines if line.number > after or (sent and line.number not in sent)]
        sent = {line.number for line in lines}
        for line in new:
            after = max(after, line.number)
            yield _message("activity", _json(line), after)
        if beat != pulse:
            yield _message("counts", "{}")
        quiet = 0 if new or beat != pulse else quiet + 1
        if quiet >= _ALIVE_AFTER:
            yield ": alive\n\n"
            quiet = 0
        pulse = beat
        await pause(closing, _LOOK_EVERY)


async def _lines(session: AsyncSession, tenant_id: str, above: int) -> list[Activity]:
    newer = select(Activity).where(Activity.tenant_id == tenant_id, Activity.number > above)
    return list(await session.scalars(newer.order_by(Activity.number).limit(_AT_ONCE)))


async def _pulse(session: AsyncSession, tenant_id: str) -> tuple[Any, ...]:
    failures = select(func.max(Failure.number)).where(Failure.tenant_id == tenant_id)
    letters = select(func.count(), func.count(DeadLetter.replayed_at)).where(DeadLetter.tenant_id == tenant_id)
    return await session.scalar(failures), *(await session.execute(letters)).one()


def _message(kind: str, data: str, number: int | None = None) -> str:
    name = "" if number is None else f"id: {number}\n"
    return f"{name}event: {kind}\ndata: {data}\n\n"


def _json(line: Activity) -> str:
    shown = {name: getattr(line, name) for name in ("number", "direction", "topic", "subject")}
    return json.dumps({**shown, "eventId": line.event_id, "at": line.at.isoformat()})
