"""SIGTERM and SIGINT: the first one stops everything on the event loop in order, the second one ends the process.

1. An event loop has one handler for each signal, and a new handler replaces the old one. So runners, relays and replays
   of one loop share it: the first signal stops all of them.
2. After the first signal the process's default handlers are back. A runner that starts while others are still stopping
   is stopped at once.
3. A relay inside of a service does not catch signals itself; it stops when something else on the loop catches one.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["stopped_by_signals"]

log = logging.getLogger("eventzr_kafka.consumer")


@contextmanager
def stopped_by_signals(stop: Callable[[], None], *, catch: bool = True) -> Generator[None]:
    """Call `stop` for the first SIGTERM or SIGINT; enter it on the event loop.

    Args:
        catch: False does not catch signals, and calls `stop` if something else on this event loop catches one.
    """
    loop = asyncio.get_running_loop()
    if loop not in _stops:
        _stops[loop] = _Stops(loop)
    stops = _stops[loop]
    entry = stops.add(stop, catch)
    try:
        yield
    finally:
        stops.remove(entry)
        if not stops.entries:
            _stops.pop(loop, None)


class _Stops:
    """The functions that the first signal of one event loop calls.

    Attributes:
        entries: The functions, in the order in which they were added.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.entries: dict[object, Callable[[], None]] = {}
        self._catching: set[object] = set()
        self._loop = loop
        self._caught: list[signal.Signals] = []
        self._signalled = False

    def add(self, stop: Callable[[], None], catch: bool) -> object:  # noqa: FBT001
        """Add a function, and call it if a signal has arrived already."""
        entry = object()
        self.entries[entry] = stop
        if catch:
            self._catching.add(entry)
            if not self._caught and not self._signalled:
                self._catch_signals()
        if self._signalled:
            stop()
        return entry

    def remove(self, entry: object) -> None:
        """Remove a function; after the last one that catches signals, the default handlers are back."""
        del self.entries[entry]
        self._catching.discard(entry)
        if not self._catching:
            self._release_signals()

    def _catch_signals(self) -> None:
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._on_signal)
                self._caught.append(number)
        except (NotImplementedError, ValueError, RuntimeError):  # Windows, or not in the main thread
            log.debug("signals cannot be handled here")

    def _release_signals(self) -> None:
        while self._caught:
            self._loop.remove_signal_handler(self._caught.pop())

    def _on_signal(self) -> None:
        self._release_signals()
        self._signalled = True
        for stop in list(self.entries.values()):
            stop()


_stops: dict[asyncio.AbstractEventLoop, _Stops] = {}
