"""Background tasks that stop between two steps: a database driver may break when it is cancelled in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

__all__ = ["pause", "run_beside"]

_LAST_STEP = 5.0  # seconds


@asynccontextmanager
async def run_beside(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Run a task inside the block; the event that it gets is set when it should stop."""
    ending = asyncio.Event()
    task = asyncio.create_task(work(ending))
    try:
        yield
    finally:
        ending.set()
        _, late = await asyncio.wait([task], timeout=_LAST_STEP)
        for each in late:
            each.cancel()


async def pause(ending: asyncio.Event, seconds: float) -> None:
    """Sleep, or return early when the task should stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), seconds)
