"""Calls from the thread of a client to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["LoopGate"]

_CHECK_SECONDS = 0.1  # between two checks if waiting is still worthwhile


class LoopGate:
    """Runs functions on an event loop. An error that a function raises goes to a handler, not into the loop's log."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_error: Callable[[Exception], None]) -> None:
        """Connect a thread with a loop.

        Args:
            on_error: Called on the event loop.
        """
        self._loop = loop
        self._on_error = on_error

    @property
    def is_closed(self) -> bool:
        """True once the event loop is closed: nothing can be called on it any more."""
        return self._loop.is_closed()

    def call(self, function: Callable[..., None], *args: Any) -> bool:
        """Have the event loop call a function soon; False if the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._run_on_loop, function, args)
        except RuntimeError:
            return False
        return True

    def call_and_wait(self, function: Callable[..., None], *args: Any, give_up: Callable[[], bool]) -> bool:
        """Have the event loop call a function, and wait until it has returned; False if the loop is closed.

        Args:
            give_up: Asked several times a second; True ends the waiting.
        """
        returned = threading.Event()

        def run() -> None:
            try:
                self._run_on_loop(function, args)
            finally:
                returned.set()

        if not self.call(run):
            return False
        while not returned.wait(_CHECK_SECONDS) and not give_up():
            pass
        return True

    def _run_on_loop(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except Exception as error:  # noqa: BLE001 -- a fault of the SDK: its owner reports it
            self._on_error(error)
