"""A process's Kafka clients, on a `MemoryBroker` that outlives it.

1. Broker and clients run in a process of their own, the network, so that a crash stops nothing but the service.
2. A client's calls reach the service in a later step, as those of the owner thread of a real client do.
3. Everything that passes between the two is noted: it is what the checker judges by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import OutgoingRecord, Record, TopicPartition
from eventzr_kafka.kafka.transport import (
    Acknowledgement,
    Assignment,
    Batch,
    ConsumerSink,
    DeliveryCallback,
    DeliveryFailure,
    DeliveryOutcome,
    Paused,
    Position,
)
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.testing._memory_cluster import Cluster
from eventzr_kafka.testing._memory_consumer import MemoryConsumer
from eventzr_kafka.testing._memory_log_reader import MemoryLogReader
from eventzr_kafka.testing._memory_producer import MemoryProducer, Sending
from eventzr_kafka.testing.memory_broker import MemoryBroker
from eventzr_kafka.testing.simulation._history import History
from eventzr_kafka.testing.simulation._loop import Process

__all__ = ["ConsumerLink", "ProcessClients"]

# Of a dead letter: its group, the epoch in which it was sent, and the place of the record that failed.
Letter: TypeAlias = tuple[str, int, tuple[str, int, int]] | None
_BEHIND = DeliveryFailure("_GAPLESS_GUARANTEE", "Local: Gapless ordering guarantee broken", unknown=False)
_IDLE = 30.0  # seconds between two calls of `reported` when nothing is under way


class ProcessClients:
    """The clients of one process.

    Attributes:
        members: Memberships of consumer groups.
        epochs: The partitions that the service believes to own, by group.
    """

    def __init__(self, broker: MemoryBroker, history: History, network: Process, process: Process) -> None:
        self.broker = broker
        self.history = history
        self.network = network
        self.process = process
        self.members: list[ConsumerLink] = []
        self.epochs: dict[tuple[str, TopicPartition], int] = {}
        self._producers: list[_Producer] = []

    def consumer(self, group_id: str, options: ConsumerOptions, _settings: KafkaSettings) -> ConsumerLink:
        """For `ConsumerRunner`."""
        self.members.append(ConsumerLink(self, group_id, self.broker.consumer(group_id, options)))
        return self.members[-1]

    def producer(self, settings: KafkaSettings | None = None) -> ProducerLink:
        """For `EventProducer`, `ConsumerRunner` and `OutboxRelay`."""
        gapless = settings is not None and bool(settings.librdkafka.get("enable.gapless.guarantee"))
        cluster = self.broker._cluster  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- of the same package
        self._producers.append(_Producer(cluster, gapless=gapless))
        return ProducerLink(self, self._producers[-1])

    def log_reader(self, _group_id: str, _settings: KafkaSettings) -> LogReaderLink:
        """For `ConsumerRunner`."""
        return LogReaderLink(self, self.broker.log_reader())

    def crash(self) -> None:
        """The process is gone: the brokers find out by themselves."""
        for member in self.members:
            self.network.enter(self.broker.crash, member.inner)
        for producer in self._producers:
            producer.crash()


class ConsumerLink:
    """A `ConsumerTransport` for the service, and the `ConsumerSink` of the real one."""

    def __init__(self, clients: ProcessClients, group_id: str, inner: MemoryConsumer) -> None:
        self.inner = inner
        self._clients = clients
        self._group_id = group_id
        self._enter = clients.network.enter
        self._post = clients.process.post
        self._partitions: dict[int, TopicPartition] = {}
        self._note("joins as", inner.name)

    # Calls of the service

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        """Join."""
        self._sink = sink
        self._enter(self.inner.start, topics, self)

    def store(self, positions: Sequence[Position]) -> None:
        """Store committable offsets."""
        for position in positions:
            self._note("stores", position.epoch, *position.partition, position.offset)
        self._enter(self.inner.store, positions)

    def request_batch(self) -> None:
        """Ask for more."""
        self._enter(self.inner.request_batch)

    def pause(self, epochs: Paused) -> None:
        """Stop the intake of some, or of all, and start that of the others."""
        self._note("pauses", epochs if isinstance(epochs, str) else list(epochs))
        self._enter(self.inner.pause, epochs)

    @property
    def problem(self) -> str | None:
        """Why commits fail."""
        return self.inner.problem

    async def close(self, timeout: float) -> bool:
        """Commit and leave."""
        return await self._clients.network.spawn(self.inner.close(timeout))

    # Calls of the client

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        """Pass on."""
        self._post(self._assigned, assignments)

    def on_received(self, batches: Sequence[Batch]) -> None:
        """Pass on."""
        self._post(self._received, batches)

    def on_progress(self, offsets: Mapping[int, int]) -> None:
        """Pass on."""
        self._post(self._sink.on_progress, offsets)

    def on_offsets_lost(self, epoch: int, loss: Loss) -> None:
        """Pass on."""
        self._post(self._sink.on_offsets_lost, epoch, loss)

    def on_revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        """Pass on."""
        self._post(self._revoked, epochs, done)

    def on_lost(self, epochs: Sequence[int]) -> None:
        """Pass on."""
        self._post(self._lost, epochs)

    def on_client_error(self, error: Exception) -> None:
        """Pass on."""
        self._post(self._sink.on_client_error, error)

    def _assigned(self, assignments: Sequence[Assignment]) -> None:
        for each in assignments:
            self._partitions[each.epoch] = each.partition
            self._clients.epochs[self._group_id, each.partition] = each.epoch
            self._note("owns", each.epoch, *each.partition, each.position)
        self._sink.on_assigned(assignments)

    def _received(self, batches: Sequence[Batch]) -> None:
        for epoch, records in batches:
            partition = self._partitions[epoch]
            self._note("polls", epoch, *partition, records[0].offset, records[-1].offset)
        self._sink.on_received(batches)

    def _revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        self._tell("gives up", epochs)
        self._sink.on_revoked(epochs, partial(self._done, epochs, done))

    def _done(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        self._tell("gave up", epochs)
        self._enter(done)

    def _lost(self, epochs: Sequence[int]) -> None:
        self._tell("lost", epochs)
        self._sink.on_lost(epochs)

    def _tell(self, what: str, epochs: Sequence[int]) -> None:
        for epoch in epochs:
            self._note(what, epoch, *self._partitions[epoch])

    def _note(self, what: str, *fact: object) -> None:
        self._clients.history.note(what, self._clients.process.name, self._group_id, *fact)


class _Producer(MemoryProducer):
    """One that can crash, and is idle while nothing is under way.

    A gapless one sends nothing any more after a record that has failed, as librdkafka's.
    """

    def __init__(self, cluster: Cluster, *, gapless: bool) -> None:
        super().__init__(cluster)
        self._gapless = gapless
        self._has_failed = False

    def crash(self) -> None:
        """Lose what was not sent, and report nothing any more."""
        self._closed = True
        self._lanes = {}
        if self in self._cluster.clients:
            self._cluster.clients.remove(self)

    def flush(self, timeout: float) -> int:  # noqa: ARG002 -- no time passes inside of a step
        """Report what is due."""
        self._serve()
        return 0

    def _take_settled(self, at: float) -> Iterator[Sending]:
        if self._has_failed:
            yield from self._purged()
            return
        for sending in super()._take_settled(at):
            yield sending
            if self._gapless and isinstance(sending.outcome, DeliveryFailure):
                self._has_failed = True
                yield from self._purged()
                return

    def _append(self, partition: TopicPartition, sending: Sending) -> DeliveryOutcome:
        lane = self._lanes[partition]
        if self._gapless and any(isinstance(each.outcome, DeliveryFailure) for each in lane.in_flight):
            return _BEHIND
        return super()._append(partition, sending)

    def _purged(self) -> Iterator[Sending]:
        for lane in self._lanes.values():
            for queue in (lane.in_flight, lane.unsent):
                while queue:
                    queue[0].outcome = _BEHIND
                    yield queue.popleft()

    def _idle_time(self) -> float:
        return super()._idle_time() if self._pending() else _IDLE


class ProducerLink:
    """A `ProducerTransport` for the service."""

    def __init__(self, clients: ProcessClients, inner: _Producer) -> None:
        self._inner = inner
        self._clients = clients
        self._enter = clients.network.enter
        self._post = clients.process.post

    def start(self, reported: Callable[[], None]) -> None:
        """Begin."""
        self._enter(self._inner.start, partial(self._post, reported))

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        """Send a record, if there is room."""
        letter = _letter(record, self._clients.epochs)
        return self._enter(self._inner.produce, record, partial(self._report, record.topic, letter, report))

    def flush(self, timeout: float) -> int:
        """Report what is due."""
        return self._enter(self._inner.flush, timeout)

    def close(self) -> None:
        """Give up what is not acknowledged."""
        self._enter(self._inner.close)

    def _report(self, topic: str, letter: Letter, report: DeliveryCallback, outcome: DeliveryOutcome) -> None:
        self._post(self._tell, topic, letter, report, outcome)

    def _tell(self, topic: str, letter: Letter, report: DeliveryCallback, outcome: DeliveryOutcome) -> None:
        result = outcome if isinstance(outcome, Acknowledgement) else ("failed", outcome.reason)
        self._clients.history.note("hears of", self._clients.process.name, topic, letter, *result)
        report(outcome)


def _letter(record: OutgoingRecord, epochs: Mapping[tuple[str, TopicPartition], int]) -> Letter:
    origin = _origin(record)
    if origin is None:
        return None
    group = record.topic.removesuffix(".dlq")
    return group, epochs.get((group, TopicPartition(*origin[:2])), 0), origin


def _origin(record: OutgoingRecord) -> tuple[str, int, int] | None:
    """Return the place of the record that a dead letter is of; None for any other record."""
    headers = dict(record.headers)
    if record.value is None or "eventzr-dlq-offset" not in headers:
        return None
    topic, partition, offset = (headers[f"eventzr-dlq-{name}"] or b"" for name in ("topic", "partition", "offset"))
    return topic.decode(), int(partition), int(offset)


class LogReaderLink:
    """A `LogReader` for the service."""

    def __init__(self, clients: ProcessClients, inner: MemoryLogReader) -> None:
        self._inner = inner
        self._enter = clients.network.enter
        self._post = clients.process.post
        self._spawn = clients.network.spawn

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Begin."""
        calls: list[Any] = [partial(self._post, call) for call in (on_records, on_caught_up, on_failure)]
        self._enter(self._inner.start, topic, *calls)

    async def close(self, timeout: float) -> bool:
        """Stop."""
        return await self._spawn(self._inner.close(timeout))
