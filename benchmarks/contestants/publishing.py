"""Two ways to await acknowledgements, for contestants that publish on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.contestants.kit import LISTING, TENANTS, Stopwatch, Task, event_numbers
from eventzr_marketplace_events import ListingCreated

__all__ = ["publish_in"]

_GATHER = 500
Send = Callable[[ListingCreated, str], Awaitable[Any]]


async def publish_in(work: Task, send: Send) -> None:
    """Publish one by one (mode ``single``) or in gathers of 500, after one event to warm up."""
    await send(LISTING, TENANTS[0])
    loop = _one_by_one if work.mode == "single" else _in_gathers
    watch = Stopwatch()
    watch.stop(await loop(work, send))


async def _one_by_one(work: Task, send: Send) -> int:
    count = 0
    for number in event_numbers(work):
        await send(LISTING, TENANTS[number % len(TENANTS)])
        count += 1
    return count


async def _in_gathers(work: Task, send: Send) -> int:
    count = 0
    for first in event_numbers(work, _GATHER):
        keys = (TENANTS[number % len(TENANTS)] for number in range(first, first + _GATHER))
        await asyncio.gather(*(send(LISTING, key) for key in keys))
        count += _GATHER
    return count
