"""`Runtime`: what the engine uses of the process that it runs in. A simulation gives its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Protocol, TypeAlias

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.engine.watchdog import Watchdog
from eventzr_kafka.engine.worker import Worker

__all__ = ["SYSTEM_RUNTIME", "LoopMonitor", "Runtime"]


class LoopMonitor(Protocol):
    """Watches the event loop between `start` and `stop`, see `Watchdog`."""

    def start(self) -> None:
        """Begin; called on the event loop that is to be watched."""
        ...

    def stop(self) -> None:
        """End; called on the event loop."""
        ...


MakeWatchdog: TypeAlias = Callable[[Mapping[CodeType, str]], LoopMonitor]


@dataclass(frozen=True, slots=True)
class Runtime:
    """The clock, the class of the workers' tasks, and the watchdog of the event loop.

    Attributes:
        make_watchdog: Makes a watchdog from the code of the handlers, with their ``Class.method``.
    """

    clock: Clock = SYSTEM_CLOCK
    worker: type[Worker] = Worker
    make_watchdog: MakeWatchdog = Watchdog


SYSTEM_RUNTIME = Runtime()
