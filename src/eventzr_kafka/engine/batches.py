"""Batches of one route: gathered lane by lane, handed over when they are full or have waited long enough.

1. A gathered lane is taken: nothing else of it runs until its batch has ended. What arrives meanwhile joins the batch.
2. A lane gives the events at its front that are for the batch's route, in their order; an event for another route ends
   its share.
3. Every lane gives its first event before any gives its second, so that none is crowded out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from eventzr_kafka.engine.intake import Work
from eventzr_kafka.engine.lanes import Lane
from eventzr_kafka.errors import events_named
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.handlers.binding import BoundRoute

__all__ = ["BatchGatherer", "BatchItem", "EventBatch", "Share", "failed_of"]

After: TypeAlias = Callable[[float, Callable[[], None]], Callable[[], None]]


@dataclass(slots=True, eq=False)
class Share:
    """What one lane gives to a batch.

    Attributes:
        is_done: Whether all that was run of it has its outcome.
    """

    lane: Lane[Work]
    work: list[Work]
    is_done: bool = True


@dataclass(slots=True, eq=False)
class BatchItem:
    """One event of a batch."""

    share: Share
    work: Work
    event: CloudEvent[Any]


def failed_of(items: list[BatchItem], error: BaseException) -> tuple[list[BatchItem], list[BatchItem]] | None:
    """The items that a batch handler's error names, and the rest; None if it names none."""
    named = {id(event) for event in events_named(error)}
    failed = [item for item in items if id(item.event) in named]
    return (failed, [item for item in items if id(item.event) not in named]) if failed else None


class EventBatch:
    """Lanes that wait for one call of a batch handler."""

    def __init__(self, route: BoundRoute, max_size: int) -> None:
        self.route = route
        self._max_size = max_size
        self._lanes: list[Lane[Work]] = []
        self._count = 0
        self._is_cut = False

    def add(self, lane: Lane[Work]) -> None:
        """Take a lane in; none of its events runs yet."""
        self._lanes.append(lane)
        self._count += self._look_at(lane)

    def count_again(self) -> None:
        """Look at what has come into the lanes meanwhile."""
        self._count = sum(self._look_at(lane) for lane in self._lanes)

    @property
    def is_full(self) -> bool:
        """Whether it need not wait any longer: it has its size, or a lane cannot give more before it has run."""
        return self._count >= self._max_size or self._is_cut

    def shares(self) -> list[Share]:
        """What each lane gives; nothing where all it held was discarded."""
        room = self._max_size - sum(1 for lane in self._lanes if lane.items)
        shares: list[Share] = []
        for lane in self._lanes:
            length = self._length(lane, 1 + room)
            room -= max(length - 1, 0)
            shares.append(Share(lane, list(islice(lane.items, length))))
        return shares

    def _look_at(self, lane: Lane[Work]) -> int:
        length = self._length(lane, self._max_size)
        self._is_cut |= length < min(len(lane.items), self._max_size)
        return length

    def _length(self, lane: Lane[Work], limit: int) -> int:
        length, route = 0, self.route
        for work in islice(lane.items, limit):
            if work[1].route is not route:
                break
            length += 1
        return length


class BatchGatherer:
    """The batches of one group: one being gathered for each route, and those that are due."""

    def __init__(self, after: After, on_due: Callable[[], None]) -> None:
        """Begin empty.

        Args:
            after: Calls a function in so many seconds; returns what cancels that.
            on_due: Called when a batch is to be run.
        """
        self.due: deque[EventBatch] = deque()
        self._after = after
        self._on_due = on_due
        self._gathering: dict[str, tuple[EventBatch, Callable[[], None]]] = {}

    def gather(self, lane: Lane[Work], route: BoundRoute, *, alone: bool = False) -> None:
        """Put a taken lane into the batch of its front's route, or its front event into a batch of its own."""
        assert route.batch is not None  # noqa: S101 -- the caller has asked
        if alone:
            batch = EventBatch(route, 1)
            batch.add(lane)
            self.due.append(batch)
            self._on_due()
            return
        if route.topic not in self._gathering:
            cancel = self._after(route.batch.max_wait, lambda: self._end(route.topic))
            self._gathering[route.topic] = EventBatch(route, route.batch.max_size), cancel
        batch, _ = self._gathering[route.topic]
        batch.add(lane)
        if batch.is_full:
            self._end(route.topic)

    def end_full(self) -> None:
        """After an arrival: hand over what it has filled."""
        for topic, (batch, _) in list(self._gathering.items()):
            batch.count_again()
            if batch.is_full:
                self._end(topic)

    def end_all(self) -> None:
        """Hand over what there is: nothing will arrive while the intake stands still."""
        for topic in list(self._gathering):
            self._end(topic)

    def clear(self) -> None:
        """Forget everything that does not run yet."""
        for _, cancel in self._gathering.values():
            cancel()
        self._gathering.clear()
        self.due.clear()

    def _end(self, topic: str) -> None:
        batch, cancel = self._gathering.pop(topic)
        cancel()
        self.due.append(batch)
        self._on_due()
