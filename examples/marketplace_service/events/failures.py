"""Stores the failures that the SDK's hook reports, for the page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from eventzr_kafka.hooks import EventFailed
from examples.marketplace_service.activity import Failure
from examples.marketplace_service.background import pause
from examples.marketplace_service.database import now, sessions

__all__ = ["FailureLog"]

log = logging.getLogger(__name__)

_MOST_WAITING = 1_000
_EVERY = 0.2  # seconds


class FailureLog:
    """A buffer between the hook, which must be quick, and the database; when it is full, failures are left out."""

    def __init__(self) -> None:
        """Begin with an empty buffer."""
        self._waiting: list[Failure] = []

    def note(self, fact: EventFailed) -> None:
        """Buffer one failure; skipped events and those without a tenant are only in the log."""
        if fact.tenant_id is None or fact.outcome == "skipped" or len(self._waiting) == _MOST_WAITING:
            return
        self._waiting.append(
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

    async def write(self, ending: asyncio.Event) -> None:
        """Write the buffer a few times a second, and once more at the end."""
        while not ending.is_set():
            await pause(ending, _EVERY)
            lines, self._waiting = self._waiting, []
            if lines:
                await _write(lines)


async def _write(lines: Sequence[Failure]) -> None:
    try:
        async with sessions.begin() as session:
            session.add_all(lines)
    except SQLAlchemyError:
        log.warning("%d failures could not be stored for the page", len(lines))
