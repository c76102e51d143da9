"""What reads the machine's clock or draws its own numbers does so from the simulation while one runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from itertools import count
from types import SimpleNamespace
from typing import Any

from eventzr_kafka.testing.simulation._loop import SimulatedWorker

__all__ = ["simulated_clocks"]

_EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z, as of the broker in memory
_WITH_TIME = ("producing.producer", "engine.failures", "engine.replay", "outbox.relay", "outbox.turn")


class _NoWatchdog:
    """Nothing blocks a simulated loop for long, and a thread would have its own ideas about time."""

    def __init__(self, _handlers: object) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def simulated_clocks(loop: asyncio.AbstractEventLoop, *, outbox: bool) -> Generator[Callable[[int], None]]:
    """Replace the clocks of the engine and seed the module ``random``; gives what begins a history with a seed."""
    clock = SimpleNamespace(monotonic=loop.time, time=lambda: _EPOCH + loop.time())
    ids = _Ids()
    new: dict[str, dict[str, Any]] = {name: {"time": clock} for name in _WITH_TIME if outbox or "outbox" not in name}
    new["engine.dispatcher"] = {"monotonic": loop.time, "Worker": SimulatedWorker}
    new["engine.runner"] = {"Watchdog": _NoWatchdog}
    new["producing.envelope"] = {"_new_id": ids.next, "_now": lambda: datetime.fromtimestamp(clock.time(), UTC)}
    state = random.getstate()
    old = [_replace(module, name, value) for module, names in new.items() for name, value in names.items()]

    def begin(seed: int) -> None:
        random.seed(seed)
        ids.begin()

    try:
        yield begin
    finally:
        for module, name, value in old:
            setattr(module, name, value)
        random.setstate(state)


def _replace(module_name: str, name: str, value: Any) -> tuple[Any, str, Any]:
    module = import_module(f"eventzr_kafka.{module_name}")
    before = getattr(module, name)
    setattr(module, name, value)
    return module, name, before


class _Ids:
    """Ids of published events: they count."""

    def begin(self) -> None:
        self._numbers = count(1)

    def next(self) -> str:
        return f"published-{next(self._numbers)}"
