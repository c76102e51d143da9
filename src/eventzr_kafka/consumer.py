"""The loop of one consumer group: from a batch of records to outcomes and positions.

The way of a message, all on the event loop::

    transport ─batch─▶ received ─▶ Lanes ─▶ _work: decode ▸ handler ▸ outcome ─▶ Ledger ─positions─▶ transport

1. An epoch is known by its `Epoch` object. When the partition goes, the object leaves the table; whatever still runs
   for it can reach that object alone, and nothing of it is stored any more.
2. A worker is started when something is ready and every other is inside a handler; it ends when nothing is ready.
   Handlers that never suspend need one worker for a whole backlog, and no task of their own.
3. Handlers share a worker one after another, but no context: one that sets a context variable and leaves it is the
   last of its worker.
4. Workers give the event loop a turn every 8 ms, whatever the handlers do.
5. What has no outcome is not committed. An error that nobody decides about stops the group.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import Any, TypeAlias

from eventzr_kafka.binding import BoundRoute, Running, resumed
from eventzr_kafka.epoch import Epoch
from eventzr_kafka.errors import DecodeError, EventStoppedError
from eventzr_kafka.event import CloudEvent
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned, tell
from eventzr_kafka.lanes import Lanes, TenantLanes
from eventzr_kafka.ledger import Ledger
from eventzr_kafka.options import ConsumerOptions, Ordering
from eventzr_kafka.record import Record, describe_partitions
from eventzr_kafka.routing import MessageContext
from eventzr_kafka.transport import Assignment, Batch, ConsumerTransport

__all__ = ["GroupConsumer"]

log = logging.getLogger("eventzr_kafka.consumer")

_TURN = 0.008  # seconds that workers may keep the event loop
_LITTLE = 1000  # lanes that are ready to run, below which more is asked for
_STORE_INTERVAL = 0.5  # seconds between two looks at the ledgers
_DRAIN_INTERVAL = 0.005  # seconds between two looks at running handlers
_CLOSE_TIMEOUT = 10.0  # seconds that the client may take to commit and leave
_RECORD_OVERHEAD = 400  # bytes that a buffered record costs besides its value: key, headers, tuples


# What stands in a lane: a record, the epoch it was read in, the event where its subject chose the lane, and the bytes.
_Work: TypeAlias = tuple[Record, Epoch, CloudEvent[Any] | None, int]


class GroupConsumer:
    """Runs the handlers of one group over what one transport brings; a `ConsumerSink`."""

    def __init__(
        self,
        group_id: str,
        routes: Mapping[str, BoundRoute],
        options: ConsumerOptions,
        transport: ConsumerTransport,
        on_failure: Callable[[Exception], None],
        hooks: ConsumerHooks,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            routes: By topic.
            on_failure: Called, on the event loop, when the group cannot go on.
        """
        self._hooks = hooks
        self.group_id = group_id
        self.ready = asyncio.Event()
        self._routes = routes
        self._options = options
        self._handler_timeout = options.handler_timeout
        self._transport = transport
        self._on_failure = on_failure
        self._lanes = _lanes(options)
        self._sort = _SORTS[options.ordering]
        self._epochs: dict[int, Epoch] = {}
        self._ending: set[Epoch] = set()
        self._hand_overs: set[asyncio.Task[None]] = set()
        self._workers_alive: set[asyncio.Task[None]] = set()
        self._workers = 0
        self._busy = 0
        self._paused = False
        self._owed = 0
        self._stopping = False
        self._spawn_scheduled = False
        self._turn_scheduled = False
        self._turn_ends = 0.0

    def start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._transport.start(list(self._routes), self)
        self._timer = self._loop.call_later(_STORE_INTERVAL, self._store_regularly)

    async def stop(self) -> None:
        """Begin nothing new, let what runs finish within the drain time-out, store, and leave the group."""
        self._stopping = True
        self._timer.cancel()
        self._transport.pause(paused=True)
        self._lanes.discard(lambda _work: True)
        await self._drain([*self._epochs.values(), *self._ending])
        for worker in self._workers_alive:
            worker.cancel()
        await asyncio.gather(*self._hand_overs)
        self._store(self._epochs.values())
        if not await self._transport.close(_CLOSE_TIMEOUT):
            log.warning(
                "%s: the client did not close within %g s; the broker will notice",
                self.group_id,
                _CLOSE_TIMEOUT,
            )

    # What the transport tells

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """Open a ledger for each partition."""
        for assignment in assignments:
            self._epochs[assignment.epoch] = Epoch(assignment)
        log.info("%s: assigned %s", self.group_id, describe_partitions(a.partition for a in assignments))
        self.ready.set()
        tell(self._hooks.assigned, PartitionsAssigned(self.group_id, tuple(a.partition for a in assignments)))

    def received(self, batches: Sequence[Batch]) -> None:
        """Put records into their lanes, but for those of an epoch that has ended: they are another member's."""
        self._owed += 1
        for number, records in batches:
            epoch = self._epochs.get(number)
            if epoch is not None and not self._stopping:
                self._admit(epoch, records)
        self._spawn()
        self._regulate()

    def revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        """Let what runs finish within the drain time-out, store the positions, then hand over."""
        task = self._loop.create_task(self._hand_over(self._end(epochs), done))
        self._hand_overs.add(task)
        task.add_done_callback(self._hand_overs.discard)

    def lost(self, epochs: Sequence[int]) -> None:
        """Forget these epochs: another member owns them already."""
        self._end(epochs)

    def failed(self, error: Exception) -> None:
        """Stop: the client cannot go on."""
        self._on_failure(error)

    # Lanes in, outcomes out

    def _admit(self, epoch: Epoch, records: Sequence[Record]) -> None:
        if records[0].offset < epoch.ledger.next_offset:
            self._start_again(epoch, records[0])
        known = epoch.ledger.receive([record.offset for record in records])
        if known:
            records = [record for record in records if record.offset not in known]
        self._lanes.add(self._sort(epoch, records, self._routes))

    def _start_again(self, epoch: Epoch, record: Record) -> None:
        """The log was cut or the topic made anew: what is known of the old offsets does not hold for the new ones."""
        log.warning(
            "%s: offsets went back from %d: the topic was truncated or recreated",
            record.position,
            epoch.ledger.next_offset,
        )
        self._lanes.discard(lambda work: work[1] is epoch)
        epoch.ledger = Ledger()

    def _spawn(self) -> None:
        self._spawn_scheduled = False
        if self._lanes.ready and self._workers == self._busy < self._options.max_concurrency and not self._stopping:
            self._workers += 1
            task = self._loop.create_task(self._work(), context=self._context.copy())
            self._workers_alive.add(task)
            task.add_done_callback(self._workers_alive.discard)

    async def _work(self) -> None:
        """Every event's way: take the lane whose turn it is, run its front event, note the outcome."""
        lanes, routes, clean = self._lanes, self._routes, copy_context()
        try:
            while copy_context() == clean and (lane := lanes.take()) is not None:
                record, epoch, event, _ = lane.front
                ledger, bound = epoch.ledger, routes[record.topic]
                try:
                    event = event or bound.decode(record)
                    running = (
                        bound.call(event, MessageContext(record, self.group_id)) if bound.context else bound.call(event)
                    )
                    try:
                        waits_for = running.send(None)
                    except StopIteration:  # the handler is done without having waited
                        pass
                    else:
                        await self._wait_for(running, waits_for, epoch)
                except Exception as error:  # noqa: BLE001 -- whatever a handler raises is an outcome
                    self._stop_at(record, bound.label, error, event)
                    continue
                except asyncio.CancelledError as error:
                    if _is_cancelled():
                        raise
                    self._stop_at(record, bound.label, error, event)
                    continue
                ledger.finish(record.offset)
                lanes.finish(lane)
                if monotonic() > self._turn_ends:
                    await self._give_turn()
        finally:
            self._workers -= 1
            self._regulate()
            self._spawn()

    async def _wait_for(self, running: Running, waits_for: Any, epoch: Epoch) -> None:
        """The rest of a handler that waits; meanwhile another worker may begin."""
        epoch.running += 1
        self._busy += 1
        if not self._spawn_scheduled and self._workers < self._options.max_concurrency:
            self._spawn_scheduled = True
            self._loop.call_soon(self._spawn)
        try:
            if self._handler_timeout is None:
                await resumed(running, waits_for)
            else:
                async with asyncio.timeout(self._handler_timeout):
                    await resumed(running, waits_for)
        finally:
            self._busy -= 1
            epoch.running -= 1
            if self._paused or self._owed:
                self._regulate()

    def _stop_at(self, record: Record, label: str, error: BaseException, event: CloudEvent[Any] | None) -> None:
        """The event has no outcome: its lane stays closed, its offset open, and the group stops."""
        stopped = EventStoppedError(record, label, error, event_id=event.id if event else None)
        stopped.__cause__ = None if isinstance(error, DecodeError) else error
        self._on_failure(stopped)

    async def _give_turn(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._start_turn)
        await asyncio.sleep(0)

    def _start_turn(self) -> None:
        self._turn_scheduled = False
        self._turn_ends = monotonic() + _TURN
        self._regulate()

    def _regulate(self) -> None:
        """Ask for more when little is ready to run; stop the intake when too much is in memory."""
        paused = self._lanes.should_pause(paused=self._paused)
        if paused is not self._paused:
            self._paused = paused
            self._transport.pause(paused=paused)
        while self._owed and self._lanes.ready < _LITTLE:
            self._owed -= 1
            self._transport.more()

    # Epochs and positions

    def _end(self, numbers: Sequence[int]) -> list[Epoch]:
        ended = [epoch for number in numbers if (epoch := self._epochs.pop(number, None))]
        log.info("%s: gave up %s", self.group_id, describe_partitions(epoch.partition for epoch in ended))
        gone = set(map(id, ended))
        self._lanes.discard(lambda work: id(work[1]) in gone)
        self._regulate()
        return ended

    async def _hand_over(self, epochs: Collection[Epoch], done: Callable[[], None]) -> None:
        self._ending.update(epochs)
        try:
            await self._drain(epochs)
        finally:
            self._ending.difference_update(epochs)
            self._store(epochs)
            done()

    async def _drain(self, epochs: Collection[Epoch]) -> None:
        deadline = self._loop.time() + self._options.drain_timeout
        while any(epoch.running for epoch in epochs):
            if self._loop.time() >= deadline:
                left = sum(epoch.running for epoch in epochs)
                log.warning(
                    "%s: %d handlers still run after %g s; their events will come again",
                    self.group_id,
                    left,
                    self._options.drain_timeout,
                )
                return
            await asyncio.sleep(_DRAIN_INTERVAL)

    def _store(self, epochs: Iterable[Epoch]) -> None:
        positions = [position for epoch in epochs if (position := epoch.news())]
        if positions:
            self._transport.store(positions)

    def _store_regularly(self) -> None:
        self._store(self._epochs.values())
        self._timer = self._loop.call_later(_STORE_INTERVAL, self._store_regularly)


def _lanes(options: ConsumerOptions) -> Lanes[_Work]:
    max_items, max_bytes = options.max_buffered_events, options.max_buffered_bytes
    if options.ordering in ("tenant", "partition"):
        return Lanes(max_items=max_items, max_bytes=max_bytes)
    return TenantLanes(max_items=max_items, max_bytes=max_bytes, tenant_limit=options.tenant_concurrency)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


# What goes to the lanes: the tenant, the lane, and the work.
_Entry: TypeAlias = tuple[Hashable, Hashable, _Work]
_Routes: TypeAlias = Mapping[str, BoundRoute]


def _size(record: Record) -> int:
    return len(record.value or b"") + _RECORD_OVERHEAD


def _by_tenant(epoch: Epoch, records: Sequence[Record], _routes: _Routes) -> list[_Entry]:
    return [(record.key, record.key, (record, epoch, None, _size(record))) for record in records]


def _by_partition(epoch: Epoch, records: Sequence[Record], _routes: _Routes) -> list[_Entry]:
    return [(epoch.partition, epoch.partition, (record, epoch, None, _size(record))) for record in records]


def _by_record(epoch: Epoch, records: Sequence[Record], _routes: _Routes) -> list[_Entry]:
    return [(record.key, (epoch.number, record.offset), (record, epoch, None, _size(record))) for record in records]


def _by_subject(epoch: Epoch, records: Sequence[Record], routes: _Routes) -> list[_Entry]:
    entries: list[_Entry] = []
    for record in records:
        event = subject = None
        with suppress(DecodeError):  # decoded again, and refused, in its turn
            event = routes[record.topic].decode(record)
            subject = event.subject
        entries.append((record.key, (record.key, subject), (record, epoch, event, _size(record))))
    return entries


_SORTS: dict[Ordering, Callable[[Epoch, Sequence[Record], _Routes], list[_Entry]]] = {
    "tenant": _by_tenant,
    "subject": _by_subject,
    "partition": _by_partition,
    "none": _by_record,
}
