"""`Worker`: the task that runs handlers, one after another."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from eventzr_kafka.events.context import in_hand

__all__ = ["Worker", "current_worker"]


class Worker(asyncio.Task[None]):
    """A task that knows whether a handler has requested its cancellation.

    Attributes:
        by_handler: True if the last request came from a handler, or from a task or a timer that a handler has started:
            there, an event is current.
    """

    by_handler = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Request the cancellation of the running call, or of the worker."""
        self.by_handler = in_hand() is not None
        return super().cancel(msg)

    @property
    def is_running(self) -> bool:
        """True while the event loop runs this task, and no other one."""
        try:
            return asyncio.current_task() is self
        except RuntimeError:  # the event loop has ended
            return False


def current_worker() -> Worker:
    """Return the worker that runs this code."""
    return cast("Worker", asyncio.current_task())
