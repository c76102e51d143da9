"""The event loop of a command that runs consumers or a relay: uvloop where it is installed, else asyncio's own."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

from eventzr_kafka.errors import MissingExtraError, SettingsError
from eventzr_kafka.settings import EventLoop

__all__ = ["run_on_loop"]

log = logging.getLogger("eventzr_kafka.cli")
ResultT = TypeVar("ResultT")


def run_on_loop(main: Callable[[], Coroutine[Any, Any, ResultT]], choice: EventLoop) -> ResultT:
    """Do the same as `asyncio.run`, on the event loop that is chosen, and log which one it is.

    Args:
        main: Makes the coroutine; not called if the event loop cannot be had.
        choice: ``auto`` is uvloop if it is installed. ``asyncio`` is asyncio's own, also where the policy is uvloop's.

    Raises:
        MissingExtraError: uvloop is chosen and not installed.
        SettingsError: uvloop is chosen on Windows.
    """
    with asyncio.Runner(loop_factory=_loop_factory(choice)) as runner:
        log.info("event loop: %s", type(runner.get_loop()).__module__.partition(".")[0])
        return runner.run(main())


def _loop_factory(choice: EventLoop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if choice == "asyncio":  # on Windows asyncio has two; the policy chooses
        return None if sys.platform == "win32" else asyncio.SelectorEventLoop
    if choice == "uvloop" and sys.platform == "win32":
        raise SettingsError("KAFKA_EVENT_LOOP", "uvloop does not run on Windows; write auto or asyncio")
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        if choice == "uvloop":
            raise MissingExtraError("uvloop", "KAFKA_EVENT_LOOP=uvloop") from None
        return None
    return factory
