"""Sleeping until an event is set or a time has passed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["sleep_until_set"]


async def sleep_until_set(event: asyncio.Event, seconds: float) -> None:
    """Sleep for some seconds, or less if the event is set meanwhile."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
