"""A member of a consumer group without Kafka: a runner over a transport that delivers what a test gives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, OutgoingRecord, Record, encode
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.hooks import ConsumerHooks, DuplicateSkipped
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import (
    Acknowledgement,
    Assignment,
    Batch,
    ConsumerSink,
    DeliveryCallback,
    LogReader,
    Paused,
    Position,
)

TOPIC = "ledger.amount.booked.v1"


def record(offset: int, event_id: str, *, source: str = "s", tenant: str = "t") -> Record:
    event: CloudEvent[Any] = CloudEvent(id=event_id, source=source, type=TOPIC, tenantid=tenant, data={})
    out = encode(event)
    return Record(TOPIC, 0, offset, out.key, out.value, out.headers)


class DeadLetters:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    def start(self, reported: Callable[[], None]) -> None:
        reported()

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        self.records.append(record)
        report(Acknowledgement(0, 0))
        return True

    def flush(self, timeout: float) -> int:
        return int(timeout < 0)

    def close(self) -> None: ...


class Member:
    """What a test sees of a member: positions, duplicates that were told, and dead letters."""

    def __init__(self) -> None:
        self.position = 0
        self.problem: str | None = None
        self.duplicates: list[DuplicateSkipped] = []
        self.dead_letters = DeadLetters()
        self._epoch = 0

    def deliver(self, *records: Record) -> None:
        """Deliver records under a new epoch."""
        self._epoch += 1
        self._sink.on_assigned([Assignment(TopicPartition(records[0].topic, 0), self._epoch, records[0].offset)])
        self._sink.on_received([Batch(self._epoch, records)])

    async def done(self, offset: int) -> None:
        """Wait until all below this offset may be committed."""
        async with asyncio.timeout(20):
            while self.position < offset:  # noqa: ASYNC110 -- positions are told twice a second
                await asyncio.sleep(0.01)

    def consumer(self, _group_id: str, _options: ConsumerOptions, _settings: KafkaSettings) -> Member:
        return self

    def producer(self, _settings: KafkaSettings) -> DeadLetters:
        return self.dead_letters

    def log_reader(self, _group_id: str, _settings: KafkaSettings) -> LogReader:
        raise NotImplementedError

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        self.topics, self._sink = topics, sink

    def store(self, positions: Sequence[Position]) -> None:
        self.position = max(self.position, *(position.offset for position in positions))

    def request_batch(self) -> None: ...

    def pause(self, epochs: Paused) -> None: ...

    async def close(self, timeout: float) -> bool:
        return timeout > 0


@asynccontextmanager
async def running(handler: object) -> AsyncGenerator[Member]:
    """Run a handler as the only one of a member."""
    member = Member()
    runner = ConsumerRunner(
        handler,
        settings=KafkaSettings(),
        clients=member,
        hooks=ConsumerHooks(on_duplicate_skipped=member.duplicates.append),
    )
    async with runner:
        yield member
