"""Batches of one route: gathered lane by lane, and run when they are full or have waited long enough.

1. A gathered lane is taken: nothing else of it runs until its batch has ended. Events that arrive meanwhile join the
   batch.
2. A lane gives the events at its front that are for the batch's route, in their order; an event for another route ends
   its share.
3. Every lane gives its first event before any gives its second: a lane with many events leaves room for the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.intake import Work, epoch_of
from eventzr_kafka.engine.lanes import Lane, Lanes
from eventzr_kafka.errors import events_named
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.handlers.binding import BoundRoute

__all__ = ["BatchFailure", "BatchGatherer", "BatchItem", "BatchRun", "EventBatch", "Share"]

CallAfter: TypeAlias = Callable[[float, Callable[[], None]], Callable[[], None]]


@dataclass(slots=True, eq=False)
class Share:
    """The part of a batch that one lane gives.

    Attributes:
        read: The number of its records that were read so far.
        is_cut: True if one of its records could not be read: those from there on do not run.
        is_done: True if all its events that were run have their outcome.
    """

    lane: Lane[Work]
    work: list[Work]
    read: int = 0
    is_cut: bool = False
    is_done: bool = True


@dataclass(slots=True, eq=False)
class BatchItem:
    """One event of a batch."""

    share: Share
    work: Work
    event: CloudEvent[Any]


@dataclass(frozen=True, slots=True)
class BatchFailure:
    """The failure of a batch handler.

    Attributes:
        failed: The events that its error names; all of them if it names none.
        finished: The others.
        dead_letter_each: True if the error is about each failed event: it names them, or the batch has only one.
    """

    failed: list[BatchItem]
    finished: list[BatchItem]
    dead_letter_each: bool


class EventBatch:
    """Lanes that wait for one call of a batch handler."""

    def __init__(self, route: BoundRoute, max_size: int) -> None:
        self.route = route
        self._max_size = max_size
        self._lanes: list[Lane[Work]] = []
        self._count = 0
        self._has_cut_lane = False

    def add(self, lane: Lane[Work]) -> None:
        """Add a lane; none of its events runs yet."""
        self._lanes.append(lane)
        self._count += self._count_events(lane)

    def recount(self) -> None:
        """Count the events again, after some have arrived."""
        self._count = sum(self._count_events(lane) for lane in self._lanes)

    @property
    def is_full(self) -> bool:
        """True if it need not wait: it has its size, or a lane cannot give more before the batch has run."""
        return self._count >= self._max_size or self._has_cut_lane

    def shares(self) -> list[Share]:
        """Return the share of each lane; an empty one if all items of the lane were discarded."""
        room = self._max_size - sum(1 for lane in self._lanes if lane.items)
        shares: list[Share] = []
        for lane in self._lanes:
            length = self._share_length(lane, 1 + room)
            room -= max(length - 1, 0)
            shares.append(Share(lane, list(islice(lane.items, length))))
        return shares

    def _count_events(self, lane: Lane[Work]) -> int:
        length = self._share_length(lane, self._max_size)
        self._has_cut_lane |= length < min(len(lane.items), self._max_size)
        return length

    def _share_length(self, lane: Lane[Work], limit: int) -> int:
        length = 0
        for _, batch, _, _ in islice(lane.items, limit):
            if batch.route is not self.route:
                break
            length += 1
        return length


class BatchRun:
    """One call of a batch handler, from the records of its lanes to the outcomes of their events.

    Attributes:
        items: The events that were read.
    """

    def __init__(self, batch: EventBatch, lanes: Lanes[Work]) -> None:
        """Begin to run the share of each lane."""
        self.route = batch.route
        self.items: list[BatchItem] = []
        self._lanes = lanes
        self._shares = batch.shares()
        for share in self._shares:
            lanes.run_first(share.lane, len(share.work))

    @contextmanager
    def running(self) -> Generator[None]:
        """Let revocations wait during the block."""
        epochs = {epoch_of(work) for share in self._shares for work in share.work}
        for epoch in epochs:
            epoch.begin_running()
        try:
            yield
        finally:
            for epoch in epochs:
                epoch.end_running()

    def unread(self) -> Iterator[tuple[Share, Work]]:
        """Yield each record with its share; none behind one at which its share was cut."""
        for share in self._shares:
            for work in share.work:
                yield share, work
                if share.is_cut:
                    break
                share.read += 1

    def cut(self, share: Share) -> bool:
        """End a share before a record that cannot be read.

        Returns:
            True if it is the first of its lane, so that its failure is decided about now. Any other one is the first
            the next time.
        """
        share.is_cut = True
        share.is_done = share.read > 0
        if share.is_done:
            self._lanes.run_first(share.lane, share.read)
        return not share.is_done

    def drop_revoked(self) -> None:
        """Drop the events whose partition was revoked while the others were read."""
        self.items = [item for item in self.items if not epoch_of(item.work).ended]

    def judge(self, error: BaseException) -> BatchFailure:
        """Separate the events that have failed from those that have not."""
        named = {id(event) for event in events_named(error)}
        failed = [item for item in self.items if id(item.event) in named]
        if not failed:
            return BatchFailure(self.items, [], len(self.items) == 1)
        return BatchFailure(failed, [item for item in self.items if id(item.event) not in named], True)

    def keep_failed(self, items: Sequence[BatchItem]) -> tuple[list[FailedEvent], list[FailedEvent]]:
        """Leave failed events in their lanes, and nothing else that was run.

        Returns:
            The first failed event of each lane, and those behind one, which run again after it.
        """
        by_share: dict[Share, list[BatchItem]] = {}
        for item in items:
            if not epoch_of(item.work).ended:
                by_share.setdefault(item.share, []).append(item)
        firsts: list[FailedEvent] = []
        behind: list[FailedEvent] = []
        for share, kept in by_share.items():
            share.is_done = False
            self._lanes.keep_front(share.lane, [item.work for item in kept])
            first, *rest = [FailedEvent(share.lane, item.work, item.event) for item in kept]
            firsts.append(first)
            behind += rest
        return firsts, behind

    def finish_shares(self) -> None:
        """Let the lanes go on whose events all have their outcome."""
        for share in self._shares:
            if share.is_done:
                self._lanes.finish_all(share.lane)


class BatchGatherer:
    """The batches of one group: one being gathered for each route, and those that are due."""

    def __init__(self, call_after: CallAfter, on_due: Callable[[], None]) -> None:
        """Begin empty.

        Args:
            call_after: Calls a function in so many seconds; returns a function that cancels it.
            on_due: Called when a batch is to be run.
        """
        self.due: deque[EventBatch] = deque()
        self._call_after = call_after
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
            cancel = self._call_after(route.batch.max_wait, lambda: self._hand_over(route.topic))
            self._gathering[route.topic] = EventBatch(route, route.batch.max_size), cancel
        batch, _ = self._gathering[route.topic]
        batch.add(lane)
        if batch.is_full:
            self._hand_over(route.topic)

    def hand_over_full(self) -> None:
        """After an arrival: make the batches due that it has filled."""
        for topic, (batch, _) in list(self._gathering.items()):
            batch.recount()
            if batch.is_full:
                self._hand_over(topic)

    def hand_over_all(self) -> None:
        """Make all batches due: nothing arrives while the intake is paused."""
        for topic in list(self._gathering):
            self._hand_over(topic)

    def clear(self) -> None:
        """Forget every batch that does not run yet."""
        for _, cancel in self._gathering.values():
            cancel()
        self._gathering.clear()
        self.due.clear()

    def _hand_over(self, topic: str) -> None:
        batch, cancel = self._gathering.pop(topic)
        cancel()
        self.due.append(batch)
        self._on_due()
