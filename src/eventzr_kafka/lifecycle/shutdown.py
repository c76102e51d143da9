"""Shutdowns that a cancellation does not interrupt, and clients whose event loop was closed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["LoopWatch", "complete"]

log = logging.getLogger("eventzr_kafka")

ResultT = TypeVar("ResultT")


async def complete(work: Coroutine[Any, Any, ResultT] | asyncio.Task[ResultT]) -> ResultT:
    """Await work to its end, even if this task is cancelled meanwhile; the cancellation is raised afterwards.

    Use it for work that ends by itself within a bounded time.
    """
    task = work if isinstance(work, asyncio.Task) else _start_task(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it: the caller gets the cancellation
        raise cancellation
    return task.result()


def _start_task(work: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
    try:
        return asyncio.create_task(work)
    except RuntimeError:  # no event loop runs any more: an unfinished task is being collected
        work.close()
        raise


class LoopWatch:
    """Closes a client whose event loop was closed without `stop`; the client's thread calls it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: str, close: Callable[[], None]) -> None:
        """Begin to watch a loop.

        Args:
            owner: Name of the client's owner, for the log line.
            close: Closes the client; called once, in a thread of its own.
        """
        self._loop = loop
        self._owner = owner
        self._close: Callable[[], None] | None = close

    def __call__(self) -> None:
        """Close the client if the event loop is closed."""
        if self._close is not None and self._loop.is_closed():
            close, self._close = self._close, None
            log.warning("%s: its event loop was closed without stop(): the Kafka client is closed", self._owner)
            threading.Thread(target=close, name=f"eventzr-kafka {self._owner} closing", daemon=True).start()
