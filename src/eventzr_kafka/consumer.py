"""The loop of one consumer group: from a batch of records to outcomes and positions.

The way of a message, all on the event loop::

    transport ─batch─▶ received ─▶ Lanes ─▶ _work: decode ▸ handler ▸ outcome ─▶ Ledger ─positions─▶ transport

1. An epoch is known by its `_Epoch` object. When the partition goes, the object leaves the table; whatever still runs
   for it can reach that object alone, and nothing of it is stored any more.
2. A worker is started when something is ready and every other is inside a handler; it ends when nothing is ready.
   Handlers that never suspend need one worker for a whole backlog, and no task of their own.
3. Workers give the event loop a turn every 8 ms, whatever the handlers do.
4. What has no outcome is not committed. An error that nobody decides about stops the group.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from eventzr_kafka.codec import Decoder, decoder_for
from eventzr_kafka.errors import DecodeError, EventStoppedError
from eventzr_kafka.event import CloudEvent
from eventzr_kafka.lanes import Lane, Lanes
from eventzr_kafka.ledger import Ledger, read_metadata
from eventzr_kafka.options import ConsumerOptions, Ordering
from eventzr_kafka.record import Record
from eventzr_kafka.routing import MessageContext, Route
from eventzr_kafka.transport import Assignment, Batch, ConsumerTransport, Position

__all__ = ["BoundRoute", "GroupConsumer", "bind"]

log = logging.getLogger("eventzr_kafka.consumer")

_TURN = 0.008  # seconds that workers may keep the event loop
_STORE_INTERVAL = 0.5  # seconds between two looks at the ledgers
_DRAIN_INTERVAL = 0.005  # seconds between two looks at running handlers
_CLOSE_TIMEOUT = 10.0  # seconds that the client may take to commit and leave
_RECORD_OVERHEAD = 400  # bytes that a buffered record costs besides its value: key, headers, tuples


@dataclass(frozen=True, slots=True)
class BoundRoute:
    """A route and the object whose method it calls."""

    route: Route
    decode: Decoder
    call: Callable[..., Awaitable[None]]


class _Work(NamedTuple):
    record: Record
    epoch: _Epoch
    event: CloudEvent[Any] | None = None  # decoded already, where its subject chose the lane


class _Epoch:
    """One partition, from its assignment to its revocation."""

    __slots__ = ("_stored", "ledger", "number", "partition", "running")

    def __init__(self, assignment: Assignment) -> None:
        position = assignment.position
        finished = read_metadata(position, assignment.metadata) if position is not None else ()
        self.partition = assignment.partition
        self.number = assignment.epoch
        self.ledger = Ledger(position, finished)
        self.running = 0
        self._stored = (position, assignment.metadata)

    def news(self) -> Position | None:
        """What may be committed, if that is more than the last time."""
        offset, metadata = self.ledger.position(), self.ledger.metadata()
        if offset is None or (offset, metadata) == self._stored:
            return None
        self._stored = (offset, metadata)
        return Position(self.partition, self.number, offset, metadata)


def bind(
    handler: object, routes: Iterable[Route], options: ConsumerOptions, pool: ThreadPoolExecutor
) -> list[BoundRoute]:
    """Join the routes of a class with an object of it; a ``def`` handler will run in the pool."""
    return [
        BoundRoute(
            route=route,
            decode=decoder_for(route.data_type, event_type=route.event_type, limits=options.limits),
            call=getattr(handler, route.method) if route.is_async else _threaded(getattr(handler, route.method), pool),
        )
        for route in routes
    ]


def _threaded(method: Callable[..., None], pool: ThreadPoolExecutor) -> Callable[..., Awaitable[None]]:
    def call(*args: Any) -> Awaitable[None]:
        in_context = partial(contextvars.copy_context().run, method, *args)
        return asyncio.get_running_loop().run_in_executor(pool, in_context)

    return call


class GroupConsumer:
    """Runs the handlers of one group over what one transport brings; a `ConsumerSink`."""

    def __init__(
        self,
        group_id: str,
        routes: Mapping[str, BoundRoute],
        options: ConsumerOptions,
        transport: ConsumerTransport,
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            routes: By topic.
            on_failure: Called once, on the event loop, when the group cannot go on.
        """
        self.group_id = group_id
        self.ready = asyncio.Event()
        self._routes = routes
        self._options = options
        self._transport = transport
        self._on_failure = on_failure
        self._lanes: Lanes[_Work] = Lanes(
            max_items=options.max_buffered_events,
            max_bytes=options.max_buffered_bytes,
            tenant_limit=options.tenant_concurrency,
        )
        self._place = _PLACES.get(options.ordering, self._place_by_subject)
        self._epochs: dict[int, _Epoch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = 0
        self._busy = 0
        self._paused = False
        self._stopping = False
        self._spawn_scheduled = False
        self._turn_scheduled = False
        self._turn_ends = 0.0

    def start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        self._transport.start(list(self._routes), self)
        self._timer = self._loop.call_later(_STORE_INTERVAL, self._store_regularly)

    async def stop(self) -> None:
        """Begin nothing new, let what runs finish within the drain time-out, store, and leave the group."""
        self._stopping = True
        self._timer.cancel()
        self._transport.pause(paused=True)
        self._lanes.discard(lambda _work: True)
        await self._drain(self._epochs.values())
        for task in self._tasks:
            task.cancel()
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
            self._epochs[assignment.epoch] = _Epoch(assignment)
        names = ", ".join(f"{a.partition.topic}[{a.partition.partition}]" for a in assignments)
        log.info("%s: assigned %s", self.group_id, names or "no partitions")
        self.ready.set()

    def received(self, batches: Sequence[Batch]) -> None:
        """Put records into their lanes, but for those of an epoch that has ended: they are another member's."""
        for number, records in batches:
            epoch = self._epochs.get(number)
            if epoch is not None and not self._stopping:
                self._admit(epoch, records)
        self._spawn()
        self._regulate()

    def revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        """Let what runs finish within the drain time-out, store the positions, then hand over."""
        task = self._loop.create_task(self._hand_over(self._end(epochs), done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lost(self, epochs: Sequence[int]) -> None:
        """Forget these epochs: another member owns them already."""
        self._end(epochs)

    def failed(self, error: Exception) -> None:
        """Stop: the client cannot go on."""
        self._on_failure(error)

    # Lanes in, outcomes out

    def _admit(self, epoch: _Epoch, records: Sequence[Record]) -> None:
        if records[0].offset < epoch.ledger.next_offset:
            self._start_again(epoch, records[0])
        known = epoch.ledger.receive([record.offset for record in records])
        place, add = self._place, self._lanes.add
        for record in records:
            if record.offset not in known:
                tenant, lane, work = place(record, epoch)
                add(tenant, lane, work, len(record.value or b"") + _RECORD_OVERHEAD)

    def _place_by_subject(self, record: Record, epoch: _Epoch) -> _Placed:
        try:
            event = self._routes[record.topic].decode(record)
        except DecodeError:
            return record.key, (record.key, None), _Work(record, epoch)
        return record.key, (record.key, event.subject), _Work(record, epoch, event)

    def _start_again(self, epoch: _Epoch, record: Record) -> None:
        """The log was cut or the topic made anew: what is known of the old offsets does not hold for the new ones."""
        log.warning(
            "%s: offsets went back from %d: the topic was truncated or recreated",
            record.position,
            epoch.ledger.next_offset,
        )
        self._lanes.discard(lambda work: work.epoch is epoch)
        epoch.ledger = Ledger()

    def _spawn(self) -> None:
        self._spawn_scheduled = False
        if self._lanes.ready and self._workers == self._busy < self._options.max_concurrency and not self._stopping:
            self._workers += 1
            task = self._loop.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        take, time = self._lanes.take, self._loop.time
        try:
            while (lane := take()) is not None:
                await self._process(lane, lane.front)
                if time() > self._turn_ends:
                    await self._give_turn()
        finally:
            self._workers -= 1

    async def _process(self, lane: Lane[_Work], work: _Work) -> None:
        record, epoch, ledger = work.record, work.epoch, work.epoch.ledger
        bound = self._routes[record.topic]
        event: CloudEvent[Any] | None = None
        self._begin(epoch)
        try:
            event = work.event or bound.decode(record)
            if bound.route.takes_context:
                await bound.call(event, MessageContext(record, self.group_id))
            else:
                await bound.call(event)
        except Exception as error:  # noqa: BLE001 -- whatever a handler raises is an outcome
            self._stop_at(record, bound.route, error, event)
            return
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            self._stop_at(record, bound.route, error, event)
            return
        finally:
            self._busy -= 1
            epoch.running -= 1
        ledger.finish(record.offset)
        self._lanes.finish(lane)
        if self._paused:
            self._regulate()

    def _begin(self, epoch: _Epoch) -> None:
        epoch.running += 1
        self._busy += 1
        if not self._spawn_scheduled and self._workers < self._options.max_concurrency:
            self._spawn_scheduled = True
            self._loop.call_soon(self._spawn)  # runs as soon as the handler suspends

    def _stop_at(self, record: Record, route: Route, error: BaseException, event: CloudEvent[Any] | None) -> None:
        """The event has no outcome: its lane stays closed, its offset open, and the group stops."""
        stopped = EventStoppedError(record, route.label, error, event_id=event.id if event else None)
        stopped.__cause__ = None if isinstance(error, DecodeError) else error
        self._on_failure(stopped)

    async def _give_turn(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._start_turn)
        await asyncio.sleep(0)

    def _start_turn(self) -> None:
        self._turn_scheduled = False
        self._turn_ends = self._loop.time() + _TURN

    def _regulate(self) -> None:
        paused = self._lanes.should_pause(paused=self._paused)
        if paused is not self._paused:
            self._paused = paused
            self._transport.pause(paused=paused)

    # Epochs and positions

    def _end(self, numbers: Sequence[int]) -> list[_Epoch]:
        ended = [epoch for number in numbers if (epoch := self._epochs.pop(number, None))]
        gone = set(map(id, ended))
        self._lanes.discard(lambda work: id(work.epoch) in gone)
        self._regulate()
        return ended

    async def _hand_over(self, epochs: Collection[_Epoch], done: Callable[[], None]) -> None:
        try:
            await self._drain(epochs)
        finally:
            self._store(epochs)
            done()

    async def _drain(self, epochs: Collection[_Epoch]) -> None:
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

    def _store(self, epochs: Iterable[_Epoch]) -> None:
        positions = [position for epoch in epochs if (position := epoch.news())]
        if positions:
            self._transport.store(positions)

    def _store_regularly(self) -> None:
        self._store(self._epochs.values())
        self._timer = self._loop.call_later(_STORE_INTERVAL, self._store_regularly)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


# A placed record: its tenant, its lane, and the work.
_Placed: TypeAlias = tuple[Hashable, Hashable, _Work]


def _place_by_tenant(record: Record, epoch: _Epoch) -> _Placed:
    return record.key, record.key, _Work(record, epoch)


def _place_by_partition(record: Record, epoch: _Epoch) -> _Placed:
    return epoch.partition, epoch.partition, _Work(record, epoch)


def _place_alone(record: Record, epoch: _Epoch) -> _Placed:
    return record.key, (epoch.number, record.offset), _Work(record, epoch)


_PLACES: dict[Ordering, Callable[[Record, _Epoch], _Placed]] = {
    "tenant": _place_by_tenant,
    "partition": _place_by_partition,
    "none": _place_alone,
}
