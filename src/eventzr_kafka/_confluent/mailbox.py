"""Requests of the event loop to the thread that owns a consumer's client.

The owner thread reads them in each of its rounds. The methods for the event loop return at once.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from eventzr_kafka.kafka.transport import MAX_OUTSTANDING, Paused, Position

__all__ = ["Mailbox"]


class Mailbox:
    """Holds positions to store, requests for batches, the epochs to pause and the order to leave the group.

    Attributes:
        closing: True once the owner is to leave the group.
        paused: The epochs to pause.
    """

    def __init__(self) -> None:
        """Begin with `MAX_OUTSTANDING` requests, and nothing paused."""
        self.closing = False
        self.paused: Paused = ()
        self._lock = threading.Lock()
        self._positions: dict[int, Position] = {}
        self._fenced: set[int] = set()
        self._stalled: dict[int, int] = {}
        self._requests = threading.Semaphore(MAX_OUTSTANDING)
        self._reading = threading.Event()  # clear while all partitions are to be paused
        self._reading.set()

    # On the event loop

    def store(self, positions: Sequence[Position]) -> None:
        """Add positions to store; of each epoch the last one counts."""
        with self._lock:
            for position in positions:
                if position.epoch not in self._fenced:
                    self._positions[position.epoch] = position

    def fence(self, epochs: Collection[int]) -> None:
        """Store nothing more of these epochs, not even positions that were added before."""
        with self._lock:
            self._fenced.update(epochs)
            for epoch in epochs:
                self._positions.pop(epoch, None)

    def pause(self, epochs: Paused) -> None:
        """Ask the owner to pause these epochs and to read all others."""
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
        """Ask the owner for one more list of messages."""
        self._requests.release()

    def stall(self, epoch: int, offset: int) -> None:
        """Report that the client has stopped reading an epoch at this offset, which does not exist."""
        with self._lock:
            self._stalled[epoch] = offset

    # In the owner thread

    def take_stalled(self) -> dict[int, int]:
        """Return the stalled epochs and their offsets, once."""
        with self._lock:
            stalled, self._stalled = self._stalled, {}
        return stalled

    def take_positions(self) -> list[Position]:
        """Return the positions that were added since the last call."""
        with self._lock:
            positions, self._positions = self._positions, {}
        return list(positions.values())

    def put_back(self, position: Position) -> None:
        """Keep a position that could not be stored for the next try, unless there is a newer one by now."""
        with self._lock:
            if position.epoch not in self._fenced:
                self._positions.setdefault(position.epoch, position)

    @property
    def all_paused(self) -> bool:
        """True while all partitions are to be paused."""
        return not self._reading.is_set()

    def wait_until_reading(self, timeout: float) -> None:
        """Wait until some partition is to be read, `timeout` seconds at most."""
        self._reading.wait(timeout)

    def take_request(self, timeout: float) -> bool:
        """Take one request for a list of messages; False if none came within `timeout` seconds."""
        return self._requests.acquire(timeout=timeout)
