"""Requests of the event loop to the thread that owns a consumer's client.

The owner thread looks into it at each turn. What the event loop calls returns at once.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from eventzr_kafka.kafka.transport import MAX_OUTSTANDING, Paused, Position

__all__ = ["Mailbox"]


class Mailbox:
    """Positions to store, requests for more records, the partitions that stand still, and the end.

    Attributes:
        closing: True once the owner is to leave the group.
        paused: The epochs that are to stand still.
    """

    def __init__(self) -> None:
        """Begin with all the credits that a transport has, and nothing paused."""
        self.closing = False
        self.paused: Paused = ()
        self._lock = threading.Lock()
        self._positions: dict[int, Position] = {}
        self._fenced: set[int] = set()
        self._stalled: dict[int, int] = {}
        self._credits = threading.Semaphore(MAX_OUTSTANDING)
        self._reading = threading.Event()  # clear while all partitions are to stand still
        self._reading.set()

    # On the event loop

    def store(self, positions: Sequence[Position]) -> None:
        """Leave positions; of each epoch the last one counts."""
        with self._lock:
            for position in positions:
                if position.epoch not in self._fenced:
                    self._positions[position.epoch] = position

    def fence(self, epochs: Collection[int]) -> None:
        """Store nothing more of these epochs, not even what was left already."""
        with self._lock:
            self._fenced.update(epochs)
            for epoch in epochs:
                self._positions.pop(epoch, None)

    def pause(self, epochs: Paused) -> None:
        """Ask for these to stand still, and for the others to be read."""
        self.paused = epochs
        if epochs == "all":
            self._reading.clear()
        else:
            self._reading.set()

    def close(self) -> None:
        """Ask the owner to leave the group."""
        self.closing = True

    # On either side

    def request_batch(self) -> None:
        """Add a credit: the owner may bring one more list of messages."""
        self._credits.release()

    def stall(self, epoch: int, offset: int) -> None:
        """Report that the client has stopped reading an epoch at this offset, which is not there."""
        with self._lock:
            self._stalled[epoch] = offset

    # In the owner thread

    def take_stalled(self) -> dict[int, int]:
        """Return the epochs that stand still, and at which offsets."""
        with self._lock:
            stalled, self._stalled = self._stalled, {}
        return stalled

    def take_positions(self) -> list[Position]:
        """Return the positions that were left since the last time."""
        with self._lock:
            positions, self._positions = self._positions, {}
        return list(positions.values())

    def keep(self, position: Position) -> None:
        """Take back a position that could not be stored, unless there is a newer one by now."""
        with self._lock:
            if position.epoch not in self._fenced:
                self._positions.setdefault(position.epoch, position)

    @property
    def stands_still(self) -> bool:
        """True while all partitions are to stand still."""
        return not self._reading.is_set()

    def wait_until_reading(self, timeout: float) -> None:
        """Wait until not all are to stand still, `timeout` seconds at most."""
        self._reading.wait(timeout)

    def wait_for_credit(self, timeout: float) -> bool:
        """Use up one credit; False if none came within `timeout` seconds."""
        return self._credits.acquire(timeout=timeout)
