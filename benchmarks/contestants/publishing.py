"""Ways to await acknowledgements, for contestants that publish on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.contestants.kit import LISTING, TENANTS, Stopwatch, Task, event_numbers
from eventzr_marketplace_events import ListingCreated

__all__ = ["publish_in"]

_AT_ONCE = 500
Send = Callable[[ListingCreated, str], Awaitable[Any]]
SendMany = Callable[[list[str]], Awaitable[Any]]


async def publish_in(work: Task, send: Send, send_many: SendMany | None = None) -> None:
    """Publish one by one (mode ``single``), else 500 at once: in gathers, or by `send_many`. One event warms up."""
    await send(LISTING, TENANTS[0])

    async def gather(tenants: list[str]) -> None:
        await asyncio.gather(*(send(LISTING, tenant) for tenant in tenants))

    watch = Stopwatch()
    watch.stop(await (_one_by_one(work, send) if work.mode == "single" else _at_once(work, send_many or gather)))


async def _one_by_one(work: Task, send: Send) -> int:
    count = 0
    for number in event_numbers(work):
        await send(LISTING, TENANTS[number % len(TENANTS)])
        count += 1
    return count


async def _at_once(work: Task, send_many: SendMany) -> int:
    count = 0
    for first in event_numbers(work, _AT_ONCE):
        await send_many([TENANTS[number % len(TENANTS)] for number in range(first, first + _AT_ONCE)])
        count += _AT_ONCE
    return count
