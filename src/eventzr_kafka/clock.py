"""`Clock`: the time, waiting, chance and ids, as one value that a component is given.

A component takes its clock in its constructor and asks nothing else for the time. A simulation gives one that follows
its event loop and its seed, and a test one that it moves by hand::

    EventProducer(source="orders-svc", clock=Clock(monotonic=lambda: now))
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

__all__ = ["SYSTEM_CLOCK", "Clock", "renew_ids", "uuid7"]

_random = Random()  # noqa: S311 -- ids must differ, not be secret; a system call for each would cost more than the rest
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def renew_ids() -> None:
    """Draw ids and chances anew, in a process restored from a snapshot that other processes are restored from too."""
    _random.seed()


def uuid7(unix_ms: int, noise: int) -> str:
    """Make a UUIDv7 (RFC 9562), so that the ids of one producer sort by time.

    Args:
        unix_ms: Milliseconds since the Unix epoch.
        noise: 74 random bits.
    """
    high, low = unix_ms << 16 | 7 << 12 | noise >> 62, 2 << 62 | noise & (1 << 62) - 1
    text = (high << 64 | low).to_bytes(16, "big").hex()  # half the cost of a format
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _new_uuid7() -> str:
    return uuid7(time.time_ns() // 1_000_000, _random.getrandbits(74))


@dataclass(frozen=True, slots=True)
class Clock:
    """The functions of a clock; those left out are the system's.

    Attributes:
        monotonic: Seconds since some fixed moment; they never go back.
        wall: Seconds since the Unix epoch.
        sleep: Waits so many seconds, on the running event loop.
        block: Waits so many seconds in a thread of its own, which it blocks.
        random: Draws a number from 0 up to, but not including, 1.
        new_id: Makes the id of an event, different from every other.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep
    block: Callable[[float], None] = time.sleep
    random: Callable[[], float] = _random.random
    new_id: Callable[[], str] = _new_uuid7


SYSTEM_CLOCK = Clock()
