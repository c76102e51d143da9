"""A clock that a test moves by hand."""

from __future__ import annotations

from eventzr_kafka.clock import Clock

__all__ = ["ManualTime"]


class ManualTime:
    """The time of a `Clock` whose `block` moves it, too.

    Attributes:
        now: Seconds; a test adds to it.
        clock: The clock that shows it.
    """

    def __init__(self, now: float = 0.0, *, random: float = 0.0) -> None:
        self.now = now
        self.clock = Clock(monotonic=self._read, wall=self._read, block=self._block, random=lambda: random)

    def _read(self) -> float:
        return self.now

    def _block(self, seconds: float) -> None:
        self.now += seconds
