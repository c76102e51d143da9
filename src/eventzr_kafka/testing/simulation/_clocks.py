"""The clock and the runtime of a simulation: the time of its event loop, chance from a seed, and ids that count."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from itertools import count
from types import CodeType

from eventzr_kafka.clock import Clock
from eventzr_kafka.engine.runtime import Runtime
from eventzr_kafka.testing.simulation._loop import SimulatedWorker

__all__ = ["SimulatedTime"]

_EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z, as of the broker in memory


class _NoWatchdog:
    """Does nothing: no step blocks a simulated loop for long, and a thread would follow the machine's clock."""

    def __init__(self, _handlers: Mapping[CodeType, str]) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class SimulatedTime:
    """The clock that all processes of a history share.

    Attributes:
        runtime: For the runners and replays of the history.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._chance = random.Random()  # noqa: S311 -- to be repeated
        self._numbers = count(1)
        self.clock = Clock(
            monotonic=loop.time,
            wall=lambda: _EPOCH + loop.time(),
            random=self._chance.random,
            new_id=lambda: f"published-{next(self._numbers)}",
        )
        self.runtime = Runtime(self.clock, SimulatedWorker, _NoWatchdog)

    def begin(self, seed: int) -> None:
        """Begin a history: chance, the module ``random`` too, is the seed's, and ids count from 1 again."""
        self._chance.seed(seed)
        random.seed(seed)  # handlers may draw from it
        self._numbers = count(1)
