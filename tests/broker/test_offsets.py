"""Committed offsets at their edges on a real Kafka: marks of transactions, and what is finished above them."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer
from tests.broker.consuming import committed, handler, running
from tests.waiting import eventually

from eventzr_kafka import CloudEvent, KafkaSettings, encode, kafka_consumer, on_message

if TYPE_CHECKING:
    from collections.abc import Callable

    TopicFactory = Callable[..., str]

SECONDS: Final = 30.0
EVENTS: Final = 24_000
TENANTS: Final = 4_000


def event(topic: str, number: int) -> CloudEvent[Any]:
    tenant = f"tenant-{number * 7919 % TENANTS}"
    return CloudEvent(id=f"event-{number}", source="test", type=topic, tenantid=tenant, data=number)


def put(client: Producer, topic: str, number: int) -> None:
    record = encode(event(topic, number))
    client.produce(topic, key=record.key, value=record.value, headers=list(record.headers), partition=0)


def put_in_transactions(settings: KafkaSettings, topic: str, numbers: range, *, abort: bool = False) -> None:
    """Write each event in a transaction of its own, each of which leaves a mark behind it."""
    client = Producer({"bootstrap.servers": settings.brokers, "transactional.id": f"id-{uuid.uuid4().hex}"})
    client.init_transactions(SECONDS)
    for number in numbers:
        client.begin_transaction()
        put(client, topic, number)
        client.flush(SECONDS)
        if abort:
            client.abort_transaction(SECONDS)
        else:
            client.commit_transaction(SECONDS)


async def test_lag_reaches_0_with_transactions(settings: KafkaSettings, topic: TopicFactory, group: str) -> None:
    name, handled = topic(partitions=1), Counter[int]()

    async def handle(event: CloudEvent[Any]) -> None:
        handled[event.data] += 1

    await asyncio.to_thread(put_in_transactions, settings, name, range(5))
    async with running(handler(name, group, handle), settings=settings):
        await eventually(lambda: committed(settings, group, name) == 10)
        await asyncio.to_thread(put_in_transactions, settings, name, range(5, 8), abort=True)
        await eventually(lambda: committed(settings, group, name) == 16)

    assert handled == Counter(range(5))


async def test_no_finished_event_of_24000_reruns_after_a_stop(
    settings: KafkaSettings, topic: TopicFactory, group: str
) -> None:
    name, runs, stuck = topic(partitions=1), Counter[int](), asyncio.Event()

    @kafka_consumer(group_id=group, max_concurrency=EVENTS, drain_timeout=0.5)
    class Half:
        @on_message(name)
        async def handle(self, event: CloudEvent[Any]) -> None:
            if int(event.tenantid.removeprefix("tenant-")) < TENANTS // 2:
                await stuck.wait()
            runs[event.data] += 1

    client = Producer({"bootstrap.servers": settings.brokers})
    for number in range(EVENTS):
        put(client, name, number)
    assert client.flush(SECONDS) == 0
    async with running(Half(), settings=settings):
        await eventually(lambda: runs.total() == EVENTS // 2)
    finished = set(runs)

    stuck.set()
    async with running(Half(), settings=settings):
        await eventually(lambda: len(runs) == EVENTS)

    again = sum(runs[number] > 1 for number in finished)
    assert again <= len(finished) // 100
