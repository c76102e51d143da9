"""A transport that only writes calls down, and a group that runs on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

import pytest

from eventzr_kafka import CloudEvent, Record, encode
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.group_consumer import GroupClients, GroupConsumer
from eventzr_kafka.engine.runtime import Runtime
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.record import OutgoingRecord, TopicPartition
from eventzr_kafka.kafka.transport import (
    Acknowledgement,
    Assignment,
    Batch,
    ConsumerSink,
    DeliveryCallback,
    DeliveryFailure,
    Paused,
    Position,
)

TOPIC = "bench.thing.happened.v1"


class FakeTransport:
    """Remembers positions by partition, and what was to be paused."""

    def __init__(self) -> None:
        self.stored: dict[int, Position] = {}
        self.pauses: list[Paused] = []
        self.credits = 0
        self.closed = False
        self.problem: str | None = None

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        self.topics = list(topics)
        self.sink = sink

    def store(self, positions: Sequence[Position]) -> None:
        for position in positions:
            self.stored[position.epoch] = position

    def request_batch(self) -> None:
        self.credits += 1

    def pause(self, epochs: Paused) -> None:
        self.pauses.append(epochs)

    @property
    def paused(self) -> bool:
        """True if the intake is paused altogether."""
        return self.pauses[-1:] == ["all"]

    async def close(self, timeout: float) -> bool:
        self.closed = True
        return timeout > 0

    def offset(self, epoch: int = 1) -> int | None:
        position = self.stored.get(epoch)
        return position.offset if position is not None else None


class FakeProducer:
    """Acknowledges what it is given, unless `failure` says otherwise."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []
        self.failure: DeliveryFailure | None = None

    def start(self, reported: Callable[[], None]) -> None:
        reported()

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        if self.failure is None:
            self.records.append(record)
        report(self.failure or Acknowledgement(0, len(self.records) - 1))
        return True

    def flush(self, timeout: float) -> int:
        return 0 if timeout else 1

    def close(self) -> None:
        pass


class FakeReader:
    """Brings what a test says that the dead-letter topic holds."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.closed = 0

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.topics.append(topic)
        self.bring, self.catch_up, self.fail = on_records, on_caught_up, on_failure

    async def close(self, timeout: float) -> bool:
        self.closed += 1
        return timeout > 0


class Group:
    """A group consumer of one handler object, driven by hand."""

    def __init__(self, handler: object, *, clock: Clock = SYSTEM_CLOCK) -> None:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        definition = definition_of(handler)
        self.transport = FakeTransport()
        self.producer = FakeProducer()
        self.writer = DeadLetterWriter(lambda: self.producer)
        self.writer._plain._creation = client = asyncio.get_running_loop().create_future()
        client.set_result(self.producer)  # a client that a thread makes comes later on a busy machine
        self.errors: list[Exception] = []
        self.pool = ThreadPoolExecutor(4)
        routes = {b.topic: b for b in bind(handler, definition.routes, definition.options, self.pool)}
        self.reader = FakeReader()
        clients = GroupClients(self.transport, self.writer, lambda: self.reader)
        self.consumer = GroupConsumer(
            "group",
            routes,
            definition.options,
            clients,
            self.errors.append,
            ConsumerHooks(),
            runtime=Runtime(clock),
        )
        self.consumer.start()

    def assign(self, epoch: int = 1, partition: int = 0, position: int | None = 0, metadata: str = "") -> None:
        self.consumer.on_assigned([Assignment(TopicPartition(TOPIC, partition), epoch, position, metadata)])

    def receive(self, *records: Record, epoch: int = 1) -> None:
        self.consumer.on_received([Batch(epoch, records)])

    async def settle(self) -> None:
        """Let everything run that can run without time passing, and what it waits for in a thread."""
        for _ in range(2):
            for _ in range(50):
                await asyncio.sleep(0)
            if self.writer._plain._creation is not None:
                await asyncio.wait([self.writer._plain._creation])

    def store(self) -> None:
        self.consumer._store(self.consumer._epochs.values())


class MakeRecord(Protocol):
    """The fixture `make_record`."""

    def __call__(
        self,
        offset: int,
        tenant: str = "t1",
        *,
        partition: int = 0,
        subject: str | None = None,
        data: object = None,
    ) -> Record: ...


class MakeGroup(Protocol):
    """The fixture `make_group`."""

    def __call__(self, handler: object, *, clock: Clock = SYSTEM_CLOCK) -> Group: ...


def record(
    offset: int, tenant: str = "t1", *, partition: int = 0, subject: str | None = None, data: object = None
) -> Record:
    event = CloudEvent(
        id=f"e{offset}", source="s", type=TOPIC, tenantid=tenant, subject=subject, data=data or {"n": offset}
    )
    out = encode(event)
    return Record(TOPIC, partition, offset, out.key, out.value, out.headers)


@pytest.fixture
def make_record() -> MakeRecord:
    return record


@pytest.fixture
async def make_group() -> AsyncGenerator[MakeGroup]:
    groups: list[Group] = []

    def make(handler: object, *, clock: Clock = SYSTEM_CLOCK) -> Group:
        groups.append(Group(handler, clock=clock))
        return groups[-1]

    yield make
    for group in groups:
        await group.consumer.stop()
        group.pool.shutdown(wait=False)
