"""Waiting for a fact that sets no event: it comes about in a thread, in another process, or on a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["eventually", "until", "wait_until"]

_SECONDS = 60.0  # they end what hangs
_PAUSE = 0.005


async def until(holds: Callable[[], object], seconds: float = _SECONDS, *, pause: float = _PAUSE) -> None:
    """Wait until a condition holds that costs no time to evaluate; it may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while not (await answer if isinstance(answer := holds(), Awaitable) else answer):  # noqa: ASYNC110
            await asyncio.sleep(pause)


async def eventually(holds: Callable[[], object], seconds: float = _SECONDS) -> None:
    """Wait until a condition holds that asks a server: it is evaluated in a thread."""
    await until(lambda: asyncio.to_thread(holds), seconds, pause=0.02)


def wait_until(holds: Callable[[], object], seconds: float = _SECONDS, *, hint: Callable[[], object] = str) -> None:
    """Block until a condition holds.

    Args:
        hint: Makes what the failure shows.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, hint()
        time.sleep(_PAUSE)
