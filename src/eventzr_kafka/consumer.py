"""The loop of one consumer group: from a batch of records to outcomes and positions.

The way of a message, all on the event loop::

    transport ─batch─▶ received ─▶ Lanes ─▶ _work: decode ▸ handler ▸ outcome ─▶ Ledger ─positions─▶ transport

1. An epoch is known by its `Epoch` object. When the partition goes, the object leaves the table; whatever still runs
   for it can reach that object alone, and nothing of it is stored any more.
2. Workers are started when something is ready and every other is inside a handler; one ends when nothing is ready.
   Handlers that never suspend need one worker for a whole backlog, and no task of their own.
3. Handlers share a worker one after another, but no context: one that sets a context variable and leaves it is the
   last of its worker.
4. Workers give the event loop a turn every 8 ms, whatever the handlers do.
5. What has no outcome is not committed. An error that nobody decides about stops the group.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import copy_context
from time import monotonic
from typing import Any

from eventzr_kafka.batches import BatchGatherer, BatchItem, EventBatch, Share, failed_of
from eventzr_kafka.binding import BoundRoute, Running, resumed
from eventzr_kafka.epoch import Epoch
from eventzr_kafka.errors import DecodeError, EventStoppedError
from eventzr_kafka.event import CloudEvent
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned, tell
from eventzr_kafka.intake import Origin, Work, admit, lanes_for
from eventzr_kafka.lanes import Lane
from eventzr_kafka.ledger import Ledger
from eventzr_kafka.options import ConsumerOptions
from eventzr_kafka.record import Record, describe_partitions
from eventzr_kafka.routing import MessageContext
from eventzr_kafka.transport import Assignment, Batch, ConsumerTransport

__all__ = ["GroupConsumer"]

log = logging.getLogger("eventzr_kafka.consumer")

_TURN = 0.008  # seconds that workers may keep the event loop
_FEW, _FEW_BYTES = 2000, 4_000_000  # events and bytes in memory, below which more is asked for
_STORE_INTERVAL = 0.5  # seconds between two looks at the ledgers
_DRAIN_INTERVAL = 0.005  # seconds between two looks at running handlers
_CLOSE_TIMEOUT = 10.0  # seconds that the client may take to commit and leave


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
        self._lanes = lanes_for(options)
        self._batches = BatchGatherer(self._after, self._spawn_soon)
        self._epochs: dict[int, Epoch] = {}
        self._ending: set[Epoch] = set()
        self._hand_overs: set[asyncio.Task[None]] = set()
        self._workers_alive: set[asyncio.Task[None]] = set()
        self._workers = 0
        self._busy = 0
        self._paused = False
        self._little = max(64, options.max_concurrency // 2)  # lanes ready to run, below which more is asked for
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
        self._batches.clear()
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
        self._batches.end_full()
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
        origin = Origin(epoch, self._routes[epoch.partition.topic], records)
        admit(self._lanes, self._options.ordering, origin, records)

    def _start_again(self, epoch: Epoch, record: Record) -> None:
        """The log was cut or the topic made anew: what is known of the old offsets does not hold for the new ones."""
        log.warning(
            "%s: offsets went back from %d: the topic was truncated or recreated",
            record.position,
            epoch.ledger.next_offset,
        )
        self._lanes.discard(lambda work: work[1].epoch is epoch)
        epoch.ledger = Ledger()

    def _spawn(self) -> None:
        self._spawn_scheduled = False
        if self._workers > self._busy or self._stopping:
            return
        ready = self._lanes.ready + len(self._batches.due)
        wanted = min(ready, self._options.max_concurrency - self._workers, max(self._busy, 1))
        for _ in range(wanted):  # twice as many as there are, so that a few turns start a thousand
            self._workers += 1
            task = self._loop.create_task(self._work(), context=self._context.copy())
            self._workers_alive.add(task)
            task.add_done_callback(self._workers_alive.discard)

    def _spawn_soon(self) -> None:
        if not self._spawn_scheduled and self._workers < self._options.max_concurrency:
            self._spawn_scheduled = True
            self._loop.call_soon(self._spawn)

    def _after(self, seconds: float, do: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(seconds, do).cancel

    async def _work(self) -> None:
        """Every event's way: take the lane whose turn it is, run its front event, note the outcome."""
        lanes, due, clean = self._lanes, self._batches.due, copy_context()
        try:
            await self._run_batches()
            while copy_context() == clean and (lane := lanes.take()) is not None:
                record, origin, event, _ = lane.items[0]
                if due or origin.in_batches:
                    await self._gather(lane, origin)
                    continue
                try:
                    if event is None:
                        event = origin.decode(record)
                    if origin.context:
                        running = origin.call(event, MessageContext(record, self.group_id))
                    else:
                        running = origin.call(event)
                    try:
                        waits_for = running.send(None)
                    except StopIteration:  # the handler is done without having waited
                        pass
                    else:
                        origin.epoch.running += 1
                        try:
                            await self._wait_for(running, waits_for)
                        finally:
                            origin.epoch.running -= 1
                except BaseException as error:  # noqa: BLE001 -- whatever a handler raises is an outcome
                    self._stop_at(record, origin.route.label, error, event)
                    continue
                origin.ledger.finish(record[2])
                lanes.finish(lane)
                if monotonic() > self._turn_ends:
                    await self._give_turn()
        finally:
            self._workers -= 1
            self._regulate()
            self._spawn()

    async def _gather(self, lane: Lane[Work], origin: Origin) -> None:
        """Batches that are due come first; a lane for one joins those that are being gathered."""
        if origin.in_batches:
            self._batches.gather(lane, origin.route)
        else:
            self._lanes.release(lane)
        await self._run_batches()

    async def _run_batches(self) -> None:
        while self._batches.due:
            await self._run_batch(self._batches.due.popleft())

    async def _run_batch(self, batch: EventBatch) -> None:
        """The same for one call of a batch handler: read what each lane gives, run, note the outcomes."""
        shares = batch.shares()
        epochs = {origin.epoch for share in shares for _, origin, _, _ in share.work}
        for share in shares:
            share.lane.running = len(share.work)
        for epoch in epochs:
            epoch.running += 1
        try:
            items = [item for share in shares for item in await self._read(share)]
            if items:
                await self._call_batch(batch.route, items)
            for share in shares:
                if share.is_done:
                    self._lanes.finish_all(share.lane)
        finally:
            for epoch in epochs:
                epoch.running -= 1
        await self._give_turn()

    async def _read(self, share: Share) -> list[BatchItem]:
        """The events of a lane's share, up to one that cannot be read: that is the lane's first the next time."""
        items: list[BatchItem] = []
        for record, origin, event, _ in share.work:
            if monotonic() > self._turn_ends:
                await self._give_turn()
            try:
                items.append(BatchItem(share, record, origin, event or origin.decode(record)))
            except DecodeError as error:
                share.is_done = bool(items)
                if not items:
                    self._stop_at(record, origin.route.label, error, None)
                break
        share.lane.running = len(items) if share.is_done else 1
        return items

    async def _call_batch(self, route: BoundRoute, items: list[BatchItem]) -> None:
        failed: Collection[BatchItem] = ()
        contexts = ([MessageContext(item.record, self.group_id) for item in items],) if route.context else ()
        try:
            running = route.call([item.event for item in items], *contexts)
            try:
                waits_for = running.send(None)
            except StopIteration:
                pass
            else:
                await self._wait_for(running, waits_for)
        except BaseException as error:  # noqa: BLE001 -- as in _work
            failed = failed_of(items, error)
            first = next(iter(failed))
            self._stop_at(first.record, f"{route.label} (batch of {len(items)})", error, first.event)
        for item in items:
            if item in failed:
                item.share.is_done = False
            else:
                item.origin.ledger.finish(item.record.offset)

    async def _wait_for(self, running: Running, waits_for: Any) -> None:
        """The rest of a handler that waits; meanwhile another worker may begin."""
        self._busy += 1
        self._spawn_soon()
        try:
            if self._handler_timeout is None:
                await resumed(running, waits_for)
            else:
                async with asyncio.timeout(self._handler_timeout):
                    await resumed(running, waits_for)
        finally:
            self._busy -= 1
            if self._paused or (self._owed and self._lanes.ready < self._little):
                self._regulate()

    def _stop_at(self, record: Record, label: str, error: BaseException, event: CloudEvent[Any] | None) -> None:
        """The event has no outcome: its lane stays closed, its offset open, and the group stops."""
        if not _is_outcome(error):
            raise error
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
        if paused:
            self._batches.end_all()
        while self._owed and (self._lanes.ready < self._little or self._holds_little()):
            self._owed -= 1
            self._transport.more()

    def _holds_little(self) -> bool:
        return self._lanes.count < _FEW and self._lanes.bytes < _FEW_BYTES

    # Epochs and positions

    def _end(self, numbers: Sequence[int]) -> list[Epoch]:
        ended = [epoch for number in numbers if (epoch := self._epochs.pop(number, None))]
        log.info("%s: gave up %s", self.group_id, describe_partitions(epoch.partition for epoch in ended))
        gone = set(map(id, ended))
        self._lanes.discard(lambda work: id(work[1].epoch) in gone)
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


def _is_outcome(error: BaseException) -> bool:
    """Whether it is the handler's; a cancellation may also mean the worker itself."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or not task.cancelling()
    return isinstance(error, Exception)
