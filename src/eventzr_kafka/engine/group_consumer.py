"""`GroupConsumer`: one consumer group, with its epochs, its intake and its committable offsets.

A message's way, all on the event loop::

    transport ─batch─▶ received ─▶ Lanes ─▶ Dispatcher: decode ▸ handler ▸ outcome ─▶ Ledger ─offsets─▶ transport

1. An epoch is known by its `Epoch` object. When the partition is revoked, the object leaves the table. Handlers that
   still run for it can reach that object alone, and nothing of it is stored any more.
2. An offset without an outcome is not committed. An epoch ends at once if some of its records could not be added.
3. The group requests a batch when little is ready to run. It pauses some partitions, or all, when much is in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.dead_letters.parked_keys import ParkedKeys
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.backpressure import Backpressure
from eventzr_kafka.engine.dispatcher import Dispatcher
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failure_host import FailureHost
from eventzr_kafka.engine.failures import FailureHandler
from eventzr_kafka.engine.intake import PartitionBatch, add_to_lanes, epoch_of, lanes_for
from eventzr_kafka.engine.ledger import Ledger
from eventzr_kafka.engine.runtime import SYSTEM_RUNTIME, Runtime
from eventzr_kafka.errors import ConsumerError, OffsetsLostError
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.hooks import ConsumerHooks, OffsetsSkipped, PartitionsAssigned, notify
from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import Record, TopicPartition, describe_partitions
from eventzr_kafka.kafka.transport import Assignment, Batch, ConsumerTransport, LogReader
from eventzr_kafka.safe_text import error_location

__all__ = ["GroupClients", "GroupConsumer"]

log = logging.getLogger("eventzr_kafka.consumer")

_FEW_EVENTS, _FEW_BYTES = 2000, 4_000_000  # in memory; with fewer of both, a batch is requested
_LOADING = 5.0  # seconds that reading the dead letters may take before it is reported as a problem
_STORE_INTERVAL = 0.5  # seconds between two looks at the ledgers
_DRAIN_INTERVAL = 0.005  # seconds between two looks at running handlers
_CLOSE_TIMEOUT = 10.0  # seconds that the client may take to commit and leave


@dataclass(frozen=True, slots=True)
class GroupClients:
    """The Kafka clients of a group.

    Attributes:
        dead_letters: Shared by the groups of a runner.
        make_reader: Makes the reader of the dead-letter topic; called if a dead letter parks its ordering key.
    """

    transport: ConsumerTransport
    dead_letters: DeadLetterWriter
    make_reader: Callable[[], LogReader]


class GroupConsumer:
    """Runs the handlers of one group over the records of one transport; a `ConsumerSink`."""

    def __init__(
        self,
        group_id: str,
        routes: Mapping[str, BoundRoute],
        options: ConsumerOptions,
        clients: GroupClients,
        on_failure: Callable[[Exception], None],
        hooks: ConsumerHooks,
        *,
        runtime: Runtime = SYSTEM_RUNTIME,
    ) -> None:
        """Prepare, on the running event loop; nothing runs before `start`.

        Args:
            routes: By topic.
            on_failure: Called, on the event loop, when the group cannot go on.
        """
        self.group_id = group_id
        self.ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._hooks = hooks
        self._routes = routes
        self._options = options
        self._transport = clients.transport
        self._on_failure = on_failure
        self._lanes = lanes_for(options)
        parks = options.after_dead_letter == "park_key"
        self._parking = ParkedKeys(group_id, options.ordering, clients.make_reader) if parks else None
        self._clock = runtime.clock
        host = FailureHost(
            group_id=group_id,
            on_ready=self._continue,
            on_stop=on_failure,
            writer=clients.dead_letters,
            hooks=hooks,
            parked_keys=self._parking,
            clock=runtime.clock,
        )
        self._failures = FailureHandler(host, options, self._lanes)
        self._dispatcher = Dispatcher(
            group_id, options, self._lanes, self._failures, self._regulate_intake, runtime=runtime
        )
        self._epochs: dict[int, Epoch] = {}
        self._ending: set[Epoch] = set()
        self._hand_overs: set[asyncio.Task[None]] = set()
        self._low_watermark = max(64, options.max_concurrency // 2)  # of ready lanes; below it, a batch is requested
        self._deferred: list[Batch] = []  # until it is known which ordering keys are parked
        self._loading: asyncio.Task[None] | None = None
        self._loading_since = 0.0
        self._backpressure = Backpressure()
        self._unrequested = 0  # batches that the transport has brought and was not asked to replace
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    @property
    def problems(self) -> list[str]:
        """Reasons why the group cannot go on now, or refuses events of a source; empty if all is well."""
        loading: str | None = None
        if self._deferred and self._loop.time() > self._loading_since + _LOADING:
            topic = dead_letter_topic(self.group_id)
            loading = f"{self.group_id}: {topic} is still being read for parked ordering keys"
        found = [loading, self._failures.problem, self._transport.problem]
        refused = self._failures.refused_sources.problems(self._loop.time())
        return [problem for problem in found if problem is not None] + refused

    @property
    def skipped(self) -> Mapping[str, int]:
        """The number of events that each handler's `when` did not want, by ``Class.method``."""
        return self._failures.skipped

    def start(self) -> None:
        """Join the group."""
        self._transport.start(list(self._routes), self)
        self._timer = self._loop.call_later(_STORE_INTERVAL, self._store_regularly)

    async def stop(self) -> None:
        """Start no handler, let those that run finish within the drain time-out, store, and leave the group.

        The group is left whatever fails before: a member that stayed would hold its partitions and handle nothing.
        """
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        self._transport.pause("all")
        self._dispatcher.stop()
        self._failures.stop_deciding()
        self._lanes.discard(lambda _work: True)
        try:
            await self._finish_running()
        finally:
            await self._leave()

    async def _finish_running(self) -> None:
        await self._drain([*self._epochs.values(), *self._ending])
        await self._dispatcher.end()
        await self._failures.stop()
        if self._loading is not None and self._parking is not None:
            await self._loading
            await self._parking.close()
        await asyncio.gather(*self._hand_overs)

    async def _leave(self) -> None:
        self._store(self._epochs.values(), last=True)
        if not await self._transport.close(_CLOSE_TIMEOUT):
            log.warning(
                "%s: the client did not close within %g s; the broker will notice",
                self.group_id,
                _CLOSE_TIMEOUT,
            )

    def store(self) -> None:
        """Give the transport the committable offsets now, not within half a second."""
        self._store(self._epochs.values())

    # Calls of the transport

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        """Open a ledger for each partition."""
        for assignment in assignments:
            if assignment.loss is None or self._accept_loss(assignment.partition, assignment.loss):
                self._epochs[assignment.epoch] = Epoch(assignment)
        log.info("%s: assigned %s", self.group_id, describe_partitions(a.partition for a in assignments))
        if assignments and self._parking is not None and not self._stopping:
            self._loading_since = self._loop.time()
            self._parking.reload()
            self._loading = self._loop.create_task(self._load_parked_keys(self._parking, self._loading))
        self.ready.set()
        notify(
            self._hooks.on_partitions_assigned,
            PartitionsAssigned(self.group_id, tuple(a.partition for a in assignments)),
        )

    def on_received(self, batches: Sequence[Batch]) -> None:
        """Put records into their lanes; those of an epoch that has ended are another member's, and are dropped."""
        self._unrequested += 1
        if self._parking is not None and self._parking.loading:
            self._deferred += batches
            return
        for number, records in batches:
            epoch = self._epochs.get(number)
            if epoch is not None and not self._stopping:
                self._add_or_fence(epoch, records)
        self._dispatcher.batches.hand_over_full()
        self._dispatcher.spawn()
        self._regulate_intake()

    def on_progress(self, offsets: Mapping[int, int]) -> None:
        """Let ledgers pass offsets without a record, except while records are dropped or deferred."""
        if self._stopping or (self._parking is not None and self._parking.loading):
            return
        for number, offset in offsets.items():
            epoch = self._epochs.get(number)
            if epoch is not None:
                epoch.ledger.pass_to(offset)

    def on_offsets_lost(self, epoch: int, loss: Loss) -> None:
        """Go on behind the lost records, or stop before them."""
        found = self._epochs.get(epoch)
        if found is not None and self._accept_loss(found.partition, loss) and loss.after is not None:
            self.on_progress({epoch: loss.after})

    def _accept_loss(self, partition: TopicPartition, loss: Loss) -> bool:
        topic, number = partition
        fact = OffsetsSkipped(
            group_id=self.group_id,
            topic=topic,
            partition=number,
            first=loss.first,
            after=loss.after,
            reason=loss.reason,
        )
        notify(self._hooks.on_offsets_skipped, fact)
        if self._options.on_offset_lost == "stop":
            self._on_failure(OffsetsLostError(self.group_id, partition, loss))
            return False
        log.warning("%s: %s[%d]: %s; going on", self.group_id, topic, number, loss)
        return True

    def on_revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        """Let running handlers finish within the drain time-out, store the committable offsets, then call `done`."""
        ended = self._end_epochs(epochs)
        self._ending.update(ended)
        task = self._loop.create_task(self._hand_over(ended, done))
        self._hand_overs.add(task)
        task.add_done_callback(self._hand_overs.discard)

    def on_lost(self, epochs: Sequence[int]) -> None:
        """Forget these epochs: another member owns them already."""
        self._end_epochs(epochs)

    def on_client_error(self, error: Exception) -> None:
        """Stop: the client cannot go on."""
        self._on_failure(error)

    # Intake

    def _add_or_fence(self, epoch: Epoch, records: Sequence[Record]) -> None:
        """Add records to their lanes; if some cannot be added, end the epoch, so that no commit passes them."""
        try:
            self._add_records(epoch, records)
        except BaseException as error:  # also a KeyboardInterrupt: offsets are still stored while the loop ends
            text = (
                f"{self.group_id}: {records[0].position} and the {len(records) - 1} after it were not taken in: "
                f"{error_location(error)}; nothing of the partition is handled or committed from here on; "
                "report this, and start again"
            )
            failure = ConsumerError(text)
            failure.__cause__ = error
            try:
                self._end_epochs([epoch.number])
            finally:
                self.on_client_error(failure)
            if not isinstance(error, Exception):
                raise

    def _add_records(self, epoch: Epoch, records: Sequence[Record]) -> None:
        if records[0].offset < epoch.ledger.next_offset:
            self._reset_offsets(epoch, records[0])
        known = epoch.ledger.receive([record.offset for record in records])
        if known:
            records = [record for record in records if record.offset not in known]
        batch = PartitionBatch(epoch, self._routes[epoch.partition.topic], parks=self._parking is not None)
        before = self._lanes.bytes
        add_to_lanes(self._lanes, self._options.ordering, batch, records)
        epoch.note_buffered(len(records), self._lanes.bytes - before)

    async def _load_parked_keys(self, parking: ParkedKeys, before: asyncio.Task[None] | None) -> None:
        """Load after the previous loading has ended: at the same time, each would close the other's reader."""
        try:
            if before is not None:
                await before
            await parking.load(self._receive_deferred, self._on_failure)
        except Exception as error:  # noqa: BLE001 -- such as a client that cannot be made
            self._on_failure(error)

    def _receive_deferred(self) -> None:
        batches, self._deferred = self._deferred, []
        self._unrequested -= 1  # it was counted when they were deferred
        self.on_received(batches)

    def _reset_offsets(self, epoch: Epoch, record: Record) -> None:
        """Forget the old offsets: the log was truncated, or the topic was deleted and created again."""
        log.warning(
            "%s: offsets went back from %d: the topic was truncated or recreated",
            record.position,
            epoch.ledger.next_offset,
        )
        self._lanes.discard(lambda work: epoch_of(work) is epoch)
        self._failures.forget([epoch])
        epoch.ledger = Ledger()

    def _continue(self) -> None:
        """After a failure: run the lanes that are ready again, and use the room that a dead letter has freed."""
        self._dispatcher.spawn()
        self._regulate_intake()

    def _regulate_intake(self) -> None:
        """Pause partitions when too much is in memory; request batches while little is ready to run."""
        if self._stopping:
            return
        if self._backpressure.update(self._lanes.fullness, self._buffered_bytes):
            self._transport.pause(self._backpressure.paused)
        if self._backpressure.paused == "all" and not self._lanes.ready:
            self._dispatcher.batches.hand_over_all()
        while self._unrequested and not self._deferred and self._has_little():
            self._unrequested -= 1
            self._transport.request_batch()

    def _buffered_bytes(self) -> dict[int, float]:
        return {number: epoch.buffered_bytes for number, epoch in self._epochs.items()}

    def _has_little(self) -> bool:
        lanes = self._lanes
        return lanes.ready < self._low_watermark or (lanes.count < _FEW_EVENTS and lanes.bytes < _FEW_BYTES)

    # Epochs and positions

    def _end_epochs(self, numbers: Sequence[int]) -> list[Epoch]:
        ended = [epoch for number in numbers if (epoch := self._epochs.pop(number, None))]
        log.info("%s: gave up %s", self.group_id, describe_partitions(epoch.partition for epoch in ended))
        for epoch in ended:
            epoch.end()
        self._lanes.discard(lambda work: epoch_of(work).ended)
        self._failures.forget(ended)
        self._continue()  # a lane is free again if its front waited in a revoked partition
        return ended

    async def _hand_over(self, epochs: Collection[Epoch], done: Callable[[], None]) -> None:
        try:
            await self._drain(epochs)
        finally:
            self._ending.difference_update(epochs)
            self._store(epochs, last=True)
            done()

    async def _drain(self, epochs: Collection[Epoch]) -> None:
        deadline = self._loop.time() + self._options.drain_timeout
        while any(epoch.running for epoch in epochs):
            if self._loop.time() >= deadline:
                left = sum(epoch.running for epoch in epochs)
                log.warning(
                    "%s: %d handlers still run after %g s; their events are redelivered",
                    self.group_id,
                    left,
                    self._options.drain_timeout,
                )
                return
            await self._clock.sleep(_DRAIN_INTERVAL)

    def _store(self, epochs: Iterable[Epoch], *, last: bool = False) -> None:
        positions = [position for epoch in epochs if (position := epoch.take_committable(last=last))]
        if positions:
            self._transport.store(positions)

    def _store_regularly(self) -> None:
        self.store()
        self._timer = self._loop.call_later(_STORE_INTERVAL, self._store_regularly)
