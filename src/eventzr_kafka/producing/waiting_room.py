"""Events that wait for room in the client's queue, in the order of the calls."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from eventzr_kafka.errors import QueueFullError
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.producing.delivery import Delivery

__all__ = ["WaitingRoom", "no_room", "queue_full"]


class WaitingRoom:
    """Keeps events in order until the client has room for them. Any thread may call its methods.

    Attributes:
        entries: Each event with the time until which it may wait. Read it only; the methods change it.
    """

    def __init__(self) -> None:
        """Begin closed."""
        self.entries: OrderedDict[Delivery, tuple[float, OutgoingRecord]] = OrderedDict()
        self._lock = threading.Lock()
        self._open = False

    def open(self) -> None:
        """Accept events."""
        self._open = True

    def close(self) -> None:
        """Accept no more events; those that wait stay."""
        with self._lock:
            self._open = False

    def add(self, delivery: Delivery, record: OutgoingRecord, until: float) -> bool:
        """Add an event behind the others; False if the room is closed."""
        with self._lock:
            if self._open:
                self.entries[delivery] = (until, record)
            return self._open

    def withdraw(self, delivery: Delivery) -> bool:
        """Remove an event; False if it does not wait here any more."""
        with self._lock:
            return self.entries.pop(delivery, None) is not None

    def hand_over(self, produce: Callable[[OutgoingRecord, Delivery], bool]) -> None:
        """Hand events to the client in order, until it has no more room or the room is closed."""
        with self._lock:
            while self.entries and self._open:
                delivery, (_, record) = next(iter(self.entries.items()))
                if not produce(record, delivery):
                    return
                del self.entries[delivery]

    def pop_expired(self, now: float) -> Iterator[Delivery]:
        """Remove and return the events whose time is over."""
        while (delivery := self._next_expired(now)) is not None:
            yield delivery

    def _next_expired(self, now: float) -> Delivery | None:
        with self._lock:
            first = next(iter(self.entries.items()), None)
            if first is None or first[1][0] >= now:
                return None
            return self.entries.popitem(last=False)[0]


def queue_full(delivery: Delivery, most: int) -> QueueFullError:
    """Make the error of an event for which too many wait."""
    problem = f"the queue is full and {most:,} events wait already"
    hint = "await deliveries as you go, or publish less at once"
    return QueueFullError(delivery.event_id, delivery.topic, problem, hint)


def no_room(delivery: Delivery, seconds: float) -> QueueFullError:
    """Make the error of an event that has waited so long."""
    problem = f"no room in the queue within {seconds:g} s"
    hint = "the broker takes less than you publish, or is gone: publish it again later"
    return QueueFullError(delivery.event_id, delivery.topic, problem, hint)
