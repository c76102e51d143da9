"""Shutdown that a cancellation does not break off, and clients that an event loop has left behind."""

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
    """Await work to its end, however often this task is cancelled meanwhile; the cancellation is raised afterwards.

    To be used for work that ends by itself within a bounded time.
    """
    task = work if isinstance(work, asyncio.Task) else _started(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not task.cancelled():
            task.exception()  # looked at: the cancellation is what the caller hears of
        raise cancellation
    return task.result()


def _started(work: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
    try:
        return asyncio.create_task(work)
    except RuntimeError:  # no event loop runs any more, as where a task is collected that never ended
        work.close()
        raise


class LoopWatch:
    """Gives a client up when the event loop that it works for was closed without it; to be called in its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: str, give_up: Callable[[], None]) -> None:
        """Take what is to be watched.

        Args:
            owner: Of the client, for people.
            give_up: Closes the client; called once, in a thread of its own.
        """
        self._loop = loop
        self._owner = owner
        self._give_up: Callable[[], None] | None = give_up

    def __call__(self) -> None:
        """Look at the event loop."""
        if self._give_up is not None and self._loop.is_closed():
            give_up, self._give_up = self._give_up, None
            log.warning("%s: its event loop was closed without stop(): the Kafka client is closed", self._owner)
            threading.Thread(target=give_up, name=f"eventzr-kafka {self._owner} given up", daemon=True).start()
