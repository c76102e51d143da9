"""Deletes old rows: lines of the feed, failures, replayed dead letters, kept answers to POST requests.

The consumers delete old marks of the inbox, and the relay deletes published rows of the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute

from examples.marketplace_service.activity import Activity, DeadLetter, Failure
from examples.marketplace_service.api.transactions import Answer
from examples.marketplace_service.background import pause
from examples.marketplace_service.database import Base, now, sessions

__all__ = ["keep_house", "purge"]

log = logging.getLogger(__name__)

_EVERY = 3_600.0  # seconds
_KEPT: tuple[tuple[type[Base], InstrumentedAttribute[Any], timedelta], ...] = (
    (Activity, Activity.at, timedelta(days=30)),
    (Failure, Failure.at, timedelta(days=30)),
    (DeadLetter, DeadLetter.replayed_at, timedelta(days=30)),  # NULL for an open dead letter, which stays
    (Answer, Answer.at, timedelta(days=2)),
)


async def keep_house(ending: asyncio.Event) -> None:
    """Delete at the start and every hour. All replicas may do it at the same time."""
    while not ending.is_set():
        try:
            await purge()
        except SQLAlchemyError as error:
            log.warning("old rows were not deleted: %s", type(error).__name__)
        await pause(ending, _EVERY)


async def purge() -> None:
    """Delete the rows that are older than their table keeps them."""
    for table, at, age in _KEPT:
        async with sessions.begin() as session:
            await session.execute(delete(table).where(at < now() - age))
