"""Batches that are larger than their topic takes: no small event fails for them, and what overtakes is named."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from eventzr_kafka import CloudEvent, EventProducer, KafkaSettings
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.testing.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Callable

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
AWAY: Final = 4.0
EVENTS: Final = 3_000
TENANTS: Final = 20
SMALL: Final = {"max.message.bytes": "100000"}
GATHERING: Final = {"linger.ms": 300}  # batches as large as after an outage


@pytest.fixture(scope="session")
def kafka(own_kafka: KafkaServer) -> KafkaServer:
    """One that may be ended."""
    return own_kafka


def event(topic: str, number: int, size: int = 500) -> CloudEvent[Any]:
    return CloudEvent(id=str(number), source="test", type=topic, tenantid=f"t{number % TENANTS}", data="x" * size)


def stored(brokers: str, topic: str) -> dict[str, list[int]]:
    """Numbers of the events in a topic of one partition, by tenant and in order."""
    client = Consumer({"bootstrap.servers": brokers, "group.id": topic, "enable.auto.commit": False})
    found: dict[str, list[int]] = defaultdict(list)
    with contextlib.closing(client):
        _, end = client.get_watermark_offsets(TopicPartition(topic, 0), SECONDS)
        client.assign([TopicPartition(topic, 0, 0)])
        count = 0
        while count < end:
            for message in client.consume(1_000, 1.0):
                assert message.error() is None
                count += 1
                key, value = message.key() or b"", message.value() or b""
                found[key.decode()].append(int(json.loads(value)["id"]))
    return found


def in_order() -> dict[str, list[int]]:
    return {f"t{tenant}": list(range(tenant, EVENTS, TENANTS)) for tenant in range(TENANTS)}


async def test_outage_fails_no_small_event(kafka: KafkaServer, caplog: pytest.LogCaptureFixture) -> None:
    bounded, refused = "bounded", "refused"
    for topic in (bounded, refused):
        kafka.create_topic(topic, partitions=1, configs=SMALL)
    settings = KafkaSettings(brokers=kafka.bootstrap_servers)
    careful = KafkaSettings(brokers=kafka.bootstrap_servers, batch_bytes=90_000)
    async with (
        asyncio.timeout(SECONDS),
        EventProducer(settings=careful) as one,
        EventProducer(settings=settings) as two,
    ):
        for producer, topic in ((one, bounded), (two, refused)):
            await producer.publish(event(topic, 0))
        await asyncio.to_thread(kafka.kill)
        deliveries = [two.enqueue(event(refused, number)) for number in range(1, EVENTS)]
        deliveries += [one.enqueue(event(bounded, number)) for number in range(1, EVENTS)]
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(kafka.start)
        for delivery in deliveries:
            await delivery

    assert await asyncio.to_thread(stored, settings.brokers, bounded) == in_order()
    found = await asyncio.to_thread(stored, settings.brokers, refused)
    assert {tenant: sorted(numbers) for tenant, numbers in found.items()} == in_order()
    assert f"{refused}: the broker refused a batch (MSG_SIZE_TOO_LARGE)" in caplog.text
    assert f"{bounded}: " not in caplog.text


async def test_events_behind_a_refused_batch_wait_or_are_named(
    kafka: KafkaServer, topic: TopicFactory, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(partitions=1, configs=SMALL)
    settings = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka=GATHERING)
    async with asyncio.timeout(SECONDS), EventProducer(settings=settings) as producer:
        first = [producer.enqueue(event(name, number)) for number in range(EVENTS // 2)]
        while "the broker refused a batch" not in caplog.text:  # noqa: ASYNC110 -- nothing reports it
            await asyncio.sleep(0.001)
        later = [producer.enqueue(event(name, number)) for number in range(EVENTS // 2, EVENTS)]
        offsets = [(await delivery).offset for delivery in (*first, *later)]

    found = await asyncio.to_thread(stored, kafka.bootstrap_servers, name)
    assert {tenant: sorted(numbers) for tenant, numbers in found.items()} == in_order()
    assert max(offset or 0 for offset in offsets[: EVENTS // 2]) < min(offset or 0 for offset in offsets[EVENTS // 2 :])
    (end,) = [line for line in caplog.messages if "sent again one by one;" in line]
    overtook = [
        n
        for n in range(EVENTS // 2)
        if any((offsets[n] or 0) < (offsets[m] or 0) for m in range(n % TENANTS, n, TENANTS))
    ]
    assert ("none was overtaken" in end) == (not overtook)
    if overtook:
        assert f"{name}[0]@{min(offsets[n] or 0 for n in overtook)}" in end


async def test_only_the_oversized_event_fails(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1, configs=SMALL)
    settings = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka=GATHERING)
    async with asyncio.timeout(SECONDS), EventProducer(settings=settings) as producer:
        small = [producer.enqueue(event(name, number)) for number in range(50)]
        large = producer.enqueue(event(name, 50, size=200_000))
        small += [producer.enqueue(event(name, number)) for number in range(51, 100)]
        with pytest.raises(DeliveryError, match=r"MSG_SIZE_TOO_LARGE.*max.message.bytes of the topic"):
            await large
        assert {(await delivery).status for delivery in small} == {"acknowledged"}


async def test_closed_producer_reports_what_waits(
    kafka: KafkaServer, topic: TopicFactory, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(partitions=1, configs=SMALL)
    producer = EventProducer(settings=KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka=GATHERING))
    async with asyncio.timeout(SECONDS):
        await asyncio.to_thread(producer.start)
        deliveries = [producer.enqueue(event(name, number)) for number in range(EVENTS)]
        while "the broker refused a batch" not in caplog.text:  # noqa: ASYNC110 -- nothing reports it
            await asyncio.sleep(0.001)
        with contextlib.suppress(Exception):
            await asyncio.to_thread(producer.close, 0.0)
    assert all(delivery.done() for delivery in deliveries)
