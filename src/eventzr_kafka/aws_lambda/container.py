"""The parts of a Lambda container that an invocation uses: one event loop, kept between invocations, and a deadline."""

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
    """The container's event loop. It stands still between invocations; connections opened on it stay usable."""
    return asyncio.new_event_loop()


class Deadline:
    """The time that is left to an invocation.

    It is read from the Lambda context each time, because a container may have been frozen meanwhile.

    Attributes:
        margin: Seconds before the function's time-out at which work stops.
    """

    def __init__(self, context: Any, margin: float) -> None:
        """Read the context of the invocation.

        Args:
            context: The Lambda context. An object without ``get_remaining_time_in_millis``, such as None in a test,
                has a day.
            margin: Seconds before the time-out at which work stops; half of the remaining time at most.
        """
        self._milliseconds = getattr(context, "get_remaining_time_in_millis", None)
        self.margin = min(margin, self._remaining() / 2)

    def left(self, reserve: float = 1.0) -> float:
        """Seconds until the margin begins, 0 or more.

        Args:
            reserve: The part of the margin to keep, 0 to 1.
        """
        return max(self._remaining() - reserve * self.margin, 0.0)

    def _remaining(self) -> float:
        return _NO_LIMIT if self._milliseconds is None else self._milliseconds() / 1000

    async def limit(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Await a coroutine until the margin begins.

        Raises:
            TimeoutError: It took longer, and was cancelled.
        """
        async with asyncio.timeout(self.left()):
            return await work
