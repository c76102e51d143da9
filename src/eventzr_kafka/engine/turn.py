"""`Turn`: the time that workers may keep the event loop before its other callbacks run.

1. A turn begins when the first worker goes on. It ends at a callback that the event loop runs in its next iteration, so
   two turns can fall into one iteration.
2. A worker that sees a turn last longer than 4 ms lets the other callbacks run, and ends if the next turn is used up,
   too, when it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Turn"]

_LENGTH = 0.004  # seconds


class Turn:
    """The current turn of one dispatcher.

    The dispatcher reads the attributes in place, since a method would cost a call for each record.

    Attributes:
        number: Of the current turn, or of the next one.
        is_on: True between its beginning and its end.
        ends_at: Time of the clock at which it is used up.
    """

    __slots__ = ("_loop", "_monotonic", "_on_end", "ends_at", "is_on", "number")

    def __init__(self, monotonic: Callable[[], float], on_end: Callable[[], None]) -> None:
        """Prepare the first turn, on the running event loop.

        Args:
            monotonic: The clock.
            on_end: Called at the end of each turn: a worker that is still inside its handler has suspended.
        """
        self.number = 0
        self.is_on = False
        self.ends_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._monotonic = monotonic
        self._on_end = on_end

    def begin(self) -> None:
        """Begin the turn, unless it is on."""
        if not self.is_on:
            self.is_on = True
            self.ends_at = self._monotonic() + _LENGTH
            self._loop.call_soon(self._end)

    def _end(self) -> None:
        self.is_on = False
        self.number += 1
        self._on_end()

    @property
    def is_used_up(self) -> bool:
        """True if the other callbacks should run now."""
        return self._monotonic() > self.ends_at

    async def yield_loop(self) -> bool:
        """Let the other callbacks run; returns True if the worker may go on in the next turn."""
        self.begin()
        await asyncio.sleep(0)
        return not self.is_on or not self.is_used_up
