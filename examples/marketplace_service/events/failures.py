"""What the SDK's hook tells about failures, written down for the page."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from eventzr_kafka.hooks import EventFailed
from examples.marketplace_service.activity import Failure
from examples.marketplace_service.database import now, sessions

__all__ = ["FailureLog"]

log = logging.getLogger(__name__)

_MOST_WAITING = 1_000


class FailureLog:
    """A hook must be quick, so the lines wait in a queue; when it is full, the page misses some."""

    def __init__(self) -> None:
        """Begin with nothing to write."""
        self._waiting: asyncio.Queue[Failure] = asyncio.Queue(_MOST_WAITING)

    def note(self, fact: EventFailed) -> None:
        """Take one failure; what was passed over, or cannot be shown to a tenant, is left to the log."""
        if fact.tenant_id is None or fact.outcome == "skipped" or self._waiting.full():
            return
        self._waiting.put_nowait(
            Failure(
                tenant_id=fact.tenant_id,
                topic=fact.topic,
                position=f"{fact.topic}[{fact.partition}]@{fact.offset}",
                handler=fact.handler,
                error=fact.error,
                attempt=fact.attempt,
                outcome=fact.outcome,
                at=now(),
            )
        )

    async def write(self) -> None:
        """Write the lines, until cancelled."""
        while True:
            failure = await self._waiting.get()
            try:
                async with sessions.begin() as session:
                    session.add(failure)
            except SQLAlchemyError:
                log.warning("a failure could not be written down for the page: %s", failure.position)
