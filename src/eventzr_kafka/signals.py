"""SIGTERM and SIGINT: the first stops in an orderly way, the second does what it does by default."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["stopped_by_signals"]

log = logging.getLogger("eventzr_kafka.consumer")


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Generator[None]:
    """SIGTERM and SIGINT call `stop`; a second one finds the handlers gone and does what it does by default."""
    loop = asyncio.get_running_loop()
    caught: list[signal.Signals] = []

    def release() -> None:
        while caught:
            loop.remove_signal_handler(caught.pop())

    def once() -> None:
        release()
        stop()

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, once)
            caught.append(number)
    except (NotImplementedError, ValueError, RuntimeError):  # Windows, or not in the main thread
        log.debug("signals cannot be handled here")
    try:
        yield
    finally:
        release()
