"""Applies the changes of subscriptions that have become due, in the background."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from examples.marketplace_service.background import pause
from examples.marketplace_service.domain.sellers import apply_due_changes

__all__ = ["apply_when_due"]

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds


async def apply_when_due(ending: asyncio.Event) -> None:
    """Look for due changes every second. All replicas may do it at the same time."""
    while not ending.is_set():
        try:
            await apply_due_changes()
        except SQLAlchemyError as error:
            log.warning("changes of subscriptions are late: %s", type(error).__name__)
        await pause(ending, _EVERY)
