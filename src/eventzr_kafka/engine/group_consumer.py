"""One consumer group: epochs, intake and positions.

The way of a message, all on the event loop::

    transport ─batch─▶ received ─▶ Lanes ─▶ Dispatcher: decode ▸ handler ▸ outcome ─▶ Ledger ─positions─▶ transport

1. An epoch is known by its `Epoch` object. When the partition goes, the object leaves the table; whatever still runs
   for it can reach that object alone, and nothing of it is stored any more.
2. What has no outcome is not committed. An epoch whose records were not all taken in ends at once.
3. More is asked for when little is ready to run; the intake stands still, wholly or in part, when much is in memory.
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
from eventzr_kafka.engine.intake import PartitionBatch, add_to_lanes, lanes_for
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

_FEW, _FEW_BYTES = 2000, 4_000_000  # events and bytes in memory, below which more is asked for
_LOADING = 5.0  # seconds that reading the dead letters may take before it is a problem
_STORE_INTERVAL = 0.5  # seconds between two looks at the ledgers
_DRAIN_INTERVAL = 0.005  # seconds between two looks at running handlers
_CLOSE_TIMEOUT = 10.0  # seconds that the client may take to commit and leave


@dataclass(frozen=True, slots=True)
class GroupClients:
    """What a group reaches Kafka with.

    Attributes:
        dead_letters: Shared by the groups of a runner.
        make_reader: Makes what reads the dead-letter topic, if a dead letter parks its lane.
    """

    transport: ConsumerTransport
    dead_letters: DeadLetterWriter
    make_reader: Callable[[], LogReader]


class GroupConsumer:
    """Runs the handlers of one group over what one transport brings; a `ConsumerSink`."""

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
        """Prepare; nothing runs before `start`.

        Args:
            routes: By topic.
            on_failure: Called, on the event loop, when the group cannot go on.
        """
        self.group_id = group_id
        self.ready = asyncio.Event()
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
            on_ready=self._go_on,
            on_stop=on_failure,
            writer=clients.dead_letters,
            hooks=hooks,
            parked_keys=self._parking,
            clock=runtime.clock,
        )
        self._failures = FailureHandler(host, options, self._lanes)
        self._dispatcher = Dispatcher(group_id, options, self._lanes, self._failures, runtime=runtime)
        self._epochs: dict[int, Epoch] = {}
        self._ending: set[Epoch] = set()
        self._hand_overs: set[asyncio.Task[None]] = set()
        self._little = max(64, options.max_concurrency // 2)  # lanes ready to run, below which more is asked for
        self._held_back: list[Batch] = []  # while it is being found out which lanes are parked
        self._loading: asyncio.Task[None] | None = None
        self._loading_since = 0.0
        self._backpressure = Backpressure()
        self._owed = 0
        self._stopping = False

    @property
    def problem(self) -> str | None:
        """Why the group cannot go on at the moment, or None."""
        if self._held_back and self._loop.time() > self._loading_since + _LOADING:
            return f"{self.group_id}: {dead_letter_topic(self.group_id)} is still being read, to know the parked lanes"
        return self._failures.problem or self._transport.problem

    def start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        self._dispatcher.start(self._regulate)
        self._transport.start(list(self._routes), self)
        self._timer = self._loop.call_later(_STORE_INTERVAL, self._store_regularly)

    async def stop(self) -> None:
        """Begin nothing new, let what runs finish within the drain time-out, store, and leave the group.

        The group is left whatever fails before: a member that stays holds its partitions and handles nothing.
        """
        self._stopping = True
        self._timer.cancel()
        self._transport.pause("all")
        self._dispatcher.stop()
        self._failures.stop_deciding()
        self._lanes.discard(lambda _work: True)
        try:
            await self._finish()
        finally:
            await self._leave()

    async def _finish(self) -> None:
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
        """Give the transport the positions now that it would be given within half a second."""
        self._store(self._epochs.values())

    # What the transport tells

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """Open a ledger for each partition."""
        for assignment in assignments:
            if assignment.loss is None or self._goes_on(assignment.partition, assignment.loss):
                self._epochs[assignment.epoch] = Epoch(assignment)
        log.info("%s: assigned %s", self.group_id, describe_partitions(a.partition for a in assignments))
        if assignments and self._parking is not None and not self._stopping:
            self._loading_since = self._loop.time()
            self._parking.reload()
            self._loading = self._loop.create_task(self._load(self._parking, self._loading))
        self.ready.set()
        notify(
            self._hooks.on_partitions_assigned,
            PartitionsAssigned(self.group_id, tuple(a.partition for a in assignments)),
        )

    def received(self, batches: Sequence[Batch]) -> None:
        """Put records into their lanes, but for those of an epoch that has ended: they are another member's."""
        self._owed += 1
        if self._parking is not None and self._parking.loading:
            self._held_back += batches
            return
        for number, records in batches:
            epoch = self._epochs.get(number)
            if epoch is not None and not self._stopping:
                self._admit_or_fence(epoch, records)
        self._dispatcher.batches.end_full()
        self._dispatcher.spawn()
        self._regulate()

    def passed(self, offsets: Mapping[int, int]) -> None:
        """Let positions pass what is not a record; not while records are dropped, or held back from their ledgers."""
        if self._stopping or (self._parking is not None and self._parking.loading):
            return
        for number, offset in offsets.items():
            epoch = self._epochs.get(number)
            if epoch is not None:
                epoch.ledger.pass_to(offset)

    def offsets_lost(self, epoch: int, loss: Loss) -> None:
        """Go on behind the records that are gone, or stop before them."""
        found = self._epochs.get(epoch)
        if found is not None and self._goes_on(found.partition, loss) and loss.after is not None:
            self.passed({epoch: loss.after})

    def _goes_on(self, partition: TopicPartition, loss: Loss) -> bool:
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

    def revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        """Let what runs finish within the drain time-out, store the positions, then hand over."""
        ended = self._end(epochs)
        self._ending.update(ended)
        task = self._loop.create_task(self._hand_over(ended, done))
        self._hand_overs.add(task)
        task.add_done_callback(self._hand_overs.discard)

    def lost(self, epochs: Sequence[int]) -> None:
        """Forget these epochs: another member owns them already."""
        self._end(epochs)

    def on_client_error(self, error: Exception) -> None:
        """Stop: the client cannot go on."""
        self._on_failure(error)

    # Intake

    def _admit_or_fence(self, epoch: Epoch, records: Sequence[Record]) -> None:
        """Take records in; an epoch that lost some ends here, so that no later ones move its position past them."""
        try:
            self._admit(epoch, records)
        except BaseException as error:  # also a KeyboardInterrupt: positions are still stored while the loop ends
            text = (
                f"{self.group_id}: {records[0].position} and the {len(records) - 1} after it were not taken in: "
                f"{error_location(error)}; nothing of the partition is handled or committed from here on; "
                "report this, and start again"
            )
            failure = ConsumerError(text)
            failure.__cause__ = error
            try:
                self._end([epoch.number])
            finally:
                self.on_client_error(failure)
            if not isinstance(error, Exception):
                raise

    def _admit(self, epoch: Epoch, records: Sequence[Record]) -> None:
        if records[0].offset < epoch.ledger.next_offset:
            self._start_again(epoch, records[0])
        known = epoch.ledger.receive([record.offset for record in records])
        if known:
            records = [record for record in records if record.offset not in known]
        origin = PartitionBatch(epoch, self._routes[epoch.partition.topic], records, parks=self._parking is not None)
        before = self._lanes.bytes
        add_to_lanes(self._lanes, self._options.ordering, origin, records)
        epoch.note_buffered(len(records), self._lanes.bytes - before)

    async def _load(self, parking: ParkedKeys, before: asyncio.Task[None] | None) -> None:
        """One after another: two loadings at once would each close the other's reader."""
        try:
            if before is not None:
                await before
            await parking.load(self._admit_held_back, self._on_failure)
        except Exception as error:  # noqa: BLE001 -- such as a client that cannot be made
            self._on_failure(error)

    def _admit_held_back(self) -> None:
        batches, self._held_back = self._held_back, []
        self._owed -= 1  # it was counted when they came
        self.received(batches)

    def _start_again(self, epoch: Epoch, record: Record) -> None:
        """The log was cut or the topic made anew: what is known of the old offsets does not hold for the new ones."""
        log.warning(
            "%s: offsets went back from %d: the topic was truncated or recreated",
            record.position,
            epoch.ledger.next_offset,
        )
        self._lanes.discard(lambda work: work[1].epoch is epoch)
        self._failures.forget([epoch])
        epoch.ledger = Ledger()

    def _go_on(self) -> None:
        """A lane may go on after a failure; a dead letter frees room, also where nothing is left to run."""
        self._dispatcher.spawn()
        self._regulate()

    def _regulate(self) -> None:
        """Ask for more when little is ready to run; stop the intake when too much is in memory."""
        if self._stopping:
            return
        if self._backpressure.update(self._lanes.fullness, self._weights):
            self._transport.pause(self._backpressure.paused)
        if self._backpressure.paused == "all" and not self._lanes.ready:
            self._dispatcher.batches.end_all()
        while self._owed and not self._held_back and (self._lanes.ready < self._little or self._holds_little()):
            self._owed -= 1
            self._transport.request_batch()

    def _weights(self) -> dict[int, float]:
        return {number: epoch.buffered_bytes for number, epoch in self._epochs.items()}

    def _holds_little(self) -> bool:
        return self._lanes.count < _FEW and self._lanes.bytes < _FEW_BYTES

    # Epochs and positions

    def _end(self, numbers: Sequence[int]) -> list[Epoch]:
        ended = [epoch for number in numbers if (epoch := self._epochs.pop(number, None))]
        log.info("%s: gave up %s", self.group_id, describe_partitions(epoch.partition for epoch in ended))
        for epoch in ended:
            epoch.ended = True
        self._lanes.discard(lambda work: work[1].epoch.ended)
        self._failures.forget(ended)
        self._go_on()  # a lane whose front waited in a partition that went is free
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
                    "%s: %d handlers still run after %g s; their events will come again",
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
