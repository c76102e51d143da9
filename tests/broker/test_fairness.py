"""A tenant with one event does not wait for another one's 20,000: it is the next to have a turn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Producer
from tests.waiting import until

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.engine.group_consumer import GroupConsumer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from eventzr_kafka.handlers.options import Ordering
    from eventzr_kafka.kafka.transport import Batch
    from eventzr_kafka.testing.kafka_server import KafkaServer

SECONDS: Final = 60.0
BACKLOG: Final = 20_000
SUBJECTS: Final = 1_000
CONCURRENCY: Final = 64
BUSY: Final = "tenant-with-a-backlog"


class Turns:
    """How many events of the backlog had begun when another tenant's came into memory, and when it began."""

    def __init__(self) -> None:
        self.received = 0
        self.began = 0
        self.arrivals: dict[str, tuple[int, int]] = {}
        self.waited: dict[str, int] = {}
        self.first = BACKLOG // 2
        """As many of the backlog run before `go_on` is set, so that a busy machine has not done all of it too early."""
        self.go_on = asyncio.Event()

    def note_received(self, group: GroupConsumer, batches: Sequence[Batch]) -> None:
        for record in (record for batch in batches for record in batch.records):
            self.received += 1
            if record.key is not None and record.key != BUSY.encode():
                self.arrivals[record.key.decode()] = (self.began, group._lanes.ready)

    def note_begun(self, tenant: str) -> None:
        if tenant == BUSY:
            self.began += 1
        else:
            self.waited[tenant] = self.began - self.arrivals[tenant][0]

    def allowed(self, tenant: str) -> int:
        """Those that run, and those whose turn was before."""
        return CONCURRENCY + self.arrivals[tenant][1]


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    found, received = Turns(), GroupConsumer.on_received

    def note(group: GroupConsumer, batches: Sequence[Batch]) -> None:
        found.note_received(group, batches)
        received(group, batches)

    monkeypatch.setattr(GroupConsumer, "on_received", note)
    return found


def value(topic: str, tenant: str, number: int) -> bytes:
    event = {"specversion": "1.0", "id": f"{tenant}-{number}", "source": "test", "type": topic, "tenantid": tenant}
    return json.dumps({**event, "subject": f"listing:{number % SUBJECTS}", "data": number}).encode()


class Records:
    """Writes records to partitions that the test chooses."""

    def __init__(self, brokers: str, topic: str) -> None:
        config = {"bootstrap.servers": brokers, "queue.buffering.max.messages": 2 * BACKLOG}
        self._producer = Producer(config)
        self._topic = topic

    def put(self, tenant: str, partition: int, count: int = 1) -> None:
        for number in range(count):
            self._producer.produce(
                self._topic,
                key=tenant,
                value=value(self._topic, tenant, number),
                partition=partition,
                headers=list(STRUCTURED_HEADERS),
            )
        assert self._producer.flush(SECONDS) == 0


@contextlib.asynccontextmanager
async def consuming(
    brokers: str, topic: str, ordering: Ordering, turns: Turns, *, buffer: int = 2 * BACKLOG
) -> AsyncGenerator[None]:
    @kafka_consumer(
        group_id=f"group.{uuid.uuid4().hex[:8]}",
        ordering=ordering,
        max_concurrency=CONCURRENCY,
        max_buffered_events=buffer,  # by default all of it is in memory, and what comes behind it too
        max_buffered_bytes=2 * BACKLOG * 1000,
    )
    class Handler:
        @on_message(topic)
        async def handle(self, event: CloudEvent[Any]) -> None:
            turns.note_begun(event.tenantid)
            if event.tenantid == BUSY and turns.began > turns.first:
                await turns.go_on.wait()
            await asyncio.sleep(0.001)

    async with asyncio.timeout(SECONDS), ConsumerRunner(Handler(), settings=KafkaSettings(brokers=brokers)):
        yield


@pytest.mark.parametrize("ordering", ["tenant", "subject", "none"])
async def test_one_event_waits_one_turn_behind_a_backlog(
    kafka: KafkaServer, topic: Callable[..., str], turns: Turns, ordering: Ordering
) -> None:
    name = topic(partitions=2)
    records = Records(kafka.bootstrap_servers, name)
    records.put(BUSY, 0, BACKLOG)
    records.put("behind it", 0)
    async with consuming(kafka.bootstrap_servers, name, ordering, turns):
        await until(lambda: turns.received == BACKLOG + 1)
        await asyncio.to_thread(records.put, "beside it", 1)
        await until(lambda: turns.received == BACKLOG + 2)
        turns.go_on.set()
        await until(lambda: len(turns.waited) == 2)
        assert turns.began < BACKLOG  # there was somebody to wait for

    for tenant, waited in turns.waited.items():
        assert waited <= turns.allowed(tenant)


async def test_backlog_does_not_hold_up_other_partitions(
    kafka: KafkaServer, topic: Callable[..., str], turns: Turns
) -> None:
    name, buffer = topic(partitions=2), 12_000  # half of it, and two batches of 2,000, are less
    turns.first = 100
    records = Records(kafka.bootstrap_servers, name)
    records.put(BUSY, 0, BACKLOG)
    async with consuming(kafka.bootstrap_servers, name, "tenant", turns, buffer=buffer):
        await until(lambda: turns.received >= buffer // 2)
        await asyncio.sleep(0.5)  # what may still come has come
        assert turns.received < buffer
        await asyncio.to_thread(records.put, "beside it", 1)
        await until(lambda: "beside it" in turns.waited)  # the backlog's handler still waits
        turns.go_on.set()
