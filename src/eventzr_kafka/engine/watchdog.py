"""`Watchdog`: logs an event loop that is blocked, and the handler that blocks it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
from collections.abc import Iterable, Mapping
from types import CodeType, FrameType
from typing import Any

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock

__all__ = ["Watchdog", "codes_of"]

log = logging.getLogger("eventzr_kafka.consumer")

_BEAT = 0.2  # seconds between two signs of life of the event loop
_CHECK_EVERY = 0.5  # seconds between two checks of them
LIMIT = 1.0  # seconds without a sign of life after which a line is logged


class Watchdog:
    """A daemon thread beside one event loop; logs one line when the loop is blocked, and one when it runs again."""

    def __init__(self, handlers: Mapping[CodeType, str], *, limit: float = LIMIT, clock: Clock = SYSTEM_CLOCK) -> None:
        """Take the handlers, by which a blocking frame is recognised; called on the event loop that is to be watched.

        Args:
            handlers: The code of each handler, with its ``Class.method``.
            limit: Seconds without an iteration of the event loop before a line is logged.
        """
        self._handlers = handlers
        self._limit = limit
        self._monotonic = clock.monotonic
        self._ended = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._last = self._monotonic()
        self._blocked_since: float | None = None

    def start(self) -> None:
        """Begin; called on the event loop."""
        self._repeat_beat()
        threading.Thread(target=self._watch, name="eventzr-kafka watchdog", daemon=True).start()

    def stop(self) -> None:
        """End; called on the event loop."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def beat(self) -> None:
        """Give a sign of life; called on the event loop."""
        self._last = self._monotonic()

    def check(self) -> None:
        """Log a line if the loop has begun to be blocked, or runs again; called in another thread."""
        last = self._last
        if self._blocked_since is not None and last > self._blocked_since:
            log.warning("the event loop runs again after %.1f s", last - self._blocked_since)
            self._blocked_since = None
        if self._blocked_since is None and self._monotonic() - last > self._limit:
            self._blocked_since = last
            self._log_blocked(self._monotonic() - last)

    def _repeat_beat(self) -> None:
        self.beat()
        self._timer = self._loop.call_later(min(_BEAT, self._limit / 4), self._repeat_beat)

    def _watch(self) -> None:
        while not self._ended.wait(min(_CHECK_EVERY, self._limit)) and not self._loop.is_closed():
            self.check()

    def _log_blocked(self, seconds: float) -> None:
        where = self._describe_place(sys._current_frames().get(self._loop_thread))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- documented
        hint = "no event is handled meanwhile: await, or make the handler a def, which runs in a thread"
        log.warning("the event loop has been blocked for %.1f s %s; %s", seconds, where, hint)

    def _describe_place(self, innermost: FrameType | None) -> str:
        """Describe where the loop's thread is: in which handler, and on which line."""
        frame = innermost
        while frame is not None:
            label = self._handlers.get(frame.f_code)
            if label is not None:
                return f"by {label} at {frame.f_code.co_filename}:{frame.f_lineno}"
            frame = frame.f_back
        if innermost is None:
            return "by code that has ended"
        return f"outside of the handlers, at {innermost.f_code.co_filename}:{innermost.f_lineno}"


def codes_of(calls: Iterable[tuple[str, Any]]) -> dict[CodeType, str]:
    """Return the code object of each handler that is written in Python."""
    found: dict[CodeType, str] = {}
    for label, call in calls:
        code = getattr(inspect.unwrap(call), "__code__", None)
        if isinstance(code, CodeType):
            found[code] = label
    return found
