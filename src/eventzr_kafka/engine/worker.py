"""The task of a worker."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from eventzr_kafka.events.context import in_hand

__all__ = ["Worker", "current_worker"]


class Worker(asyncio.Task[None]):
    """A worker's task, which knows who wants it cancelled.

    Attributes:
        by_handler: Whether the last request came out of a handler, or of a task or a timer that one has begun: an event
            is in hand there.
    """

    by_handler = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Request the end, of the call that runs or of the worker."""
        self.by_handler = in_hand() is not None
        return super().cancel(msg)

    @property
    def is_running(self) -> bool:
        """True while it is this task that the event loop runs at the moment."""
        try:
            return asyncio.current_task() is self
        except RuntimeError:  # the event loop has ended
            return False


def current_worker() -> Worker:
    """Return the worker that runs this code."""
    return cast("Worker", asyncio.current_task())
