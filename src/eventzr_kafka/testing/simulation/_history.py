"""`History`: the facts of one simulated history in their order, each a tuple of seconds, a kind and details."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from eventzr_kafka.testing.memory_broker import MemoryBroker

__all__ = ["Fact", "History"]

Fact: TypeAlias = tuple[object, ...]


class History:
    """The facts of the broker, and those that the simulation adds between them."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._cluster = broker._cluster  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- one order for all facts
        self._sealed = False
        self.watch({}, _nothing)

    def watch(self, moments: Mapping[str, list[int]], reached: Callable[[str], None]) -> None:
        """Have something called with the process that does something for one of the given times."""
        self._moments = moments
        self._counts: dict[str, int] = dict.fromkeys(moments, 0)
        self._reached = reached

    @property
    def facts(self) -> list[Fact]:
        """All of them, in order."""
        return self._cluster.history

    def note(self, what: str, *fact: object) -> None:
        """Add one."""
        if self._sealed:
            return
        self._cluster.note(what, *fact)
        if what in self._counts:
            self._counts[what] += 1
            if self._counts[what] in self._moments[what]:
                self._reached(str(fact[0]))

    def seal(self) -> None:
        """Take no more: what is put away after the end is not part of it."""
        self._sealed = True


def _nothing(_name: str) -> None:
    """Ignore the fact."""
