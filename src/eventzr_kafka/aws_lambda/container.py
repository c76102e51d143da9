"""What a Lambda container lends to an invocation: one event loop, kept from call to call, and a remaining time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

__all__ = ["Deadline", "event_loop"]

ResultT = TypeVar("ResultT")
_NO_LIMIT = 86_400.0  # seconds


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """The container's event loop; it stands still between invocations, and what handlers have opened stays usable."""
    return asyncio.new_event_loop()


class Deadline:
    """How long an invocation may still take.

    The clock is the context's own, asked each time: a container may have stood still meanwhile.
    """

    def __init__(self, context: Any, margin: float) -> None:
        """Take the context of the invocation.

        Args:
            context: Anything without ``get_remaining_time_in_millis`` has a day, such as None in a test.
            margin: Seconds before the end at which work stops; half the time at most.
        """
        self._milliseconds = getattr(context, "get_remaining_time_in_millis", None)
        self.margin = min(margin, self._remaining() / 2)

    def left(self, reserve: float = 1.0) -> float:
        """Seconds until the margin begins, 0 or more.

        Args:
            reserve: The part of the margin that is to be kept, 0 to 1.
        """
        return max(self._remaining() - reserve * self.margin, 0.0)

    def _remaining(self) -> float:
        return _NO_LIMIT if self._milliseconds is None else self._milliseconds() / 1000

    async def limit(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Await something, until the margin begins.

        Raises:
            TimeoutError: It took longer, and was cancelled.
        """
        async with asyncio.timeout(self.left()):
            return await work
