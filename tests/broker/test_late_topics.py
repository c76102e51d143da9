"""Topics and partitions that are made after a consumer's start, on a real Kafka: read without waiting for minutes."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer
from confluent_kafka import admin as untyped_admin
from tests.broker.consuming import Seen, event

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, encode, kafka_consumer, on_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

kafka_admin: Any = untyped_admin
SECONDS: Final = 60.0  # the client's own default would take 300


def put(settings: KafkaSettings, topic: str, partition: int) -> None:
    record = encode(event(topic, "tenant-1", partition))
    client = Producer({"bootstrap.servers": settings.brokers})
    client.produce(topic, key=record.key, value=record.value, headers=list(record.headers), partition=partition)
    assert client.flush(SECONDS) == 0


async def test_late_topics_and_partitions_are_read(
    kafka: KafkaServer, settings: KafkaSettings, topic: TopicFactory
) -> None:
    there, late, seen = topic(partitions=1), f"late.{uuid.uuid4().hex[:8]}", Seen()

    @kafka_consumer(group_id=f"late.{uuid.uuid4().hex[:8]}")
    class Both:
        @on_message(there)
        async def first(self, event: CloudEvent[Any]) -> None:
            await seen.handle(event)

        @on_message(late)
        async def second(self, event: CloudEvent[Any]) -> None:
            await seen.handle(event)

    async with asyncio.timeout(SECONDS), ConsumerRunner(Both(), settings=settings) as runner:
        await asyncio.to_thread(put, settings, there, 0)
        await runner.ready()
        await seen.until(1)
        await asyncio.to_thread(kafka.create_topic, late, partitions=1)
        client = kafka_admin.AdminClient({"bootstrap.servers": settings.brokers})
        growing = client.create_partitions([kafka_admin.NewPartitions(there, 2)])
        await asyncio.to_thread(growing[there].result, SECONDS)
        await asyncio.to_thread(put, settings, late, 0)
        await asyncio.to_thread(put, settings, there, 1)
        await seen.until(3)

    assert {(each.type, each.data) for each in seen.events} == {(there, 0), (late, 0), (there, 1)}
