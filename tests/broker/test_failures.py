"""Failures on a real Kafka: a retry costs its own lane alone, and dead letters that cannot be written lose nothing."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, Producer

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    EventProducer,
    KafkaSettings,
    RetryPolicy,
    kafka_consumer,
    on_message,
)
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.dead_letter import dead_letter_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
TENANTS: Final = 1_000
EVENTS: Final = 6  # of each tenant
HANDLER: Final = 0.004  # seconds; with 8 at once the handlers' waits set the pace, and not this machine's other work
CONCURRENCY: Final = 8
BACKOFF: Final = RetryPolicy(attempts=5, initial=0.15, jitter=False)  # 2.25 s in four waits, of a run of about 3 s
FAILING: Final = "tenant-7"
ROUNDS: Final = 3
LARGEST: Final = 100_000  # bytes of a batch


class Run:
    """One group over the whole topic."""

    def __init__(self, *, failures: int) -> None:
        self.handled: dict[str, list[int]] = defaultdict(list)
        self.attempts = 0
        self._failures = failures
        self._began = 0.0
        self._ended = 0.0
        self._others = (TENANTS - 1) * EVENTS

    @property
    def throughput(self) -> float:
        """Events a second of all tenants but the one that fails."""
        return (TENANTS - 1) * EVENTS / (self._ended - self._began)

    @property
    def complete(self) -> bool:
        return not self._others and len(self.handled[FAILING]) == EVENTS

    async def handle(self, event: CloudEvent[Any]) -> None:
        self._began = self._began or time.monotonic()
        await asyncio.sleep(HANDLER)
        if event.tenantid == FAILING:
            self.attempts += 1
            if self.attempts <= self._failures:
                raise ConnectionError
        else:
            self._others -= 1
            self._ended = time.monotonic()
        self.handled[event.tenantid].append(event.data)


def event(topic: str, tenant: str, number: int) -> CloudEvent[Any]:
    return CloudEvent[Any](id=f"{tenant}-{number}", source="test", type=topic, tenantid=tenant, data=number)


async def publish(settings: KafkaSettings, topic: str) -> None:
    async with EventProducer(settings=settings) as producer:
        for number in range(EVENTS):
            for tenant in range(TENANTS):
                producer.enqueue(event(topic, f"tenant-{tenant}", number))


async def consume(settings: KafkaSettings, topic: str, run: Run) -> Run:
    @kafka_consumer(group_id=f"group.{uuid.uuid4().hex[:8]}", max_concurrency=CONCURRENCY, retry=BACKOFF)
    class Handler:
        @on_message(topic)
        async def handle(self, event: CloudEvent[Any]) -> None:
            await run.handle(event)

    async with asyncio.timeout(SECONDS), ConsumerRunner(Handler(), settings=settings):
        while not run.complete:  # noqa: ASYNC110 -- nobody sets an event for it
            await asyncio.sleep(0.05)
    return run


async def test_an_event_that_fails_four_times_costs_the_999_other_tenants_no_throughput(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    settings, name = KafkaSettings(brokers=kafka.bootstrap_servers), topic(partitions=6)
    await publish(settings, name)
    without, failing = 0.0, 0.0
    for _ in range(ROUNDS):  # the best of each: whatever else this machine does only takes away
        without = max(without, (await consume(settings, name, Run(failures=0))).throughput)
        run = await consume(settings, name, Run(failures=4))
        failing = max(failing, run.throughput)
        assert run.attempts == EVENTS + 4
        assert all(run.handled[f"tenant-{number}"] == list(range(EVENTS)) for number in range(TENANTS))
    assert failing >= 0.95 * without


def put_the_largest(brokers: str, topic: str) -> bytes:
    """Write a record than which the topic takes none larger; gives its value."""
    producer = Producer({"bootstrap.servers": brokers})
    outcomes: list[KafkaError | None] = []
    for size in range(LARGEST, 0, -1):
        value = os.urandom(size)
        headers: list[tuple[str, str | bytes | None]] = [("x-note", b"kept")]
        producer.produce(topic, value, "t1", headers=headers, on_delivery=lambda error, _: outcomes.append(error))
        assert producer.flush(SECONDS) == 0
        if outcomes[-1] is None:
            return value
    raise AssertionError(outcomes)


async def test_a_record_as_large_as_its_topic_allows_becomes_a_dead_letter(
    kafka: KafkaServer, topic: TopicFactory
) -> None:
    configs = {"max.message.bytes": str(LARGEST)}
    settings, name, group = KafkaSettings(brokers=kafka.bootstrap_servers), topic(configs=configs), f"g.{uuid.uuid4()}"
    kafka.create_topic(dead_letter_topic(group), configs=configs)
    value = await asyncio.to_thread(put_the_largest, settings.brokers, name)
    reader = ConfluentLogReader(settings, group)

    @kafka_consumer(group_id=group)
    class Handler:
        @on_message(name)
        async def handle(self, event: CloudEvent[Any]) -> None: ...

    async with asyncio.timeout(SECONDS), ConsumerRunner(Handler(), settings=settings):
        while not (batches := await asyncio.to_thread(lambda: list(reader.read(dead_letter_topic(group)) or ()))):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.05)
    ((found,),) = batches
    assert (found.key, found.value, found.headers) == (b"t1", value, (("x-note", b"kept"),))
