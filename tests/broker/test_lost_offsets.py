"""Records that are gone before their group reads them, on a real Kafka: named, counted, and not passed in silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import admin as untyped_admin
from tests.broker.consuming import Seen, committed, publish, run, running
from tests.waiting import eventually

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.errors import OffsetsLostError
from eventzr_kafka.hooks import ConsumerHooks, OffsetsSkipped
from eventzr_kafka.kafka.losses import Loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventzr_kafka.kafka.losses import OnOffsetLost
    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

kafka_admin: Any = untyped_admin
SECONDS: Final = 60.0
ONE: Final = ["tenant-1"]


def service(
    topic: str, group: str, seen: Seen, on_offset_lost: OnOffsetLost = "continue", *, buffer: int = 10
) -> object:
    @kafka_consumer(group_id=group, on_offset_lost=on_offset_lost, max_buffered_events=buffer)
    class Service:
        @on_message(topic)
        async def handle(self, event: CloudEvent[Any]) -> None:
            await seen.handle(event)

    return Service()


def delete_before(settings: KafkaSettings, topic: str, offset: int) -> None:
    client = kafka_admin.AdminClient({"bootstrap.servers": settings.brokers})
    for future in client.delete_records([TopicPartition(topic, 0, offset)]).values():
        future.result(SECONDS)


def commit(settings: KafkaSettings, group: str, topic: str, offset: int, metadata: str = "") -> None:
    client = Consumer({"bootstrap.servers": settings.brokers, "group.id": group})
    client.commit(offsets=[TopicPartition(topic, 0, offset, metadata=metadata)], asynchronous=False)
    client.close()


def recreate(kafka: KafkaServer, topic: str) -> None:
    client = kafka_admin.AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    client.delete_topics([topic])[topic].result(SECONDS)
    kafka.create_topic(topic, partitions=1)


@pytest.fixture
async def cut_topic(settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str) -> str:
    """A topic of 12 records of which the group has committed three and retention has deleted ten."""
    name = topic(partitions=1)
    await publish(producer, name, ONE * 12)
    await asyncio.to_thread(commit, settings, group, name, 3)
    await asyncio.to_thread(delete_before, settings, name, 10)
    return name


async def test_retention_before_a_start_is_named(
    settings: KafkaSettings, cut_topic: str, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen, skipped = Seen(), list[OffsetsSkipped]()
    hooks = ConsumerHooks(on_offsets_skipped=skipped.append)
    handlers = service(cut_topic, group, seen)
    async with asyncio.timeout(SECONDS), ConsumerRunner(handlers, settings=settings, hooks=hooks):
        await seen.until(2)
        await eventually(lambda: committed(settings, group, cut_topic) == 12)

    assert seen.numbers == [10, 11]
    assert [(fact.first, fact.after, fact.reason, fact.count) for fact in skipped] == [(3, 10, "retention", 7)]
    assert f"{group}: {cut_topic}[0]: offsets 3 to 9 (7 at most) were deleted" in caplog.text


async def test_strict_group_stops_each_time(settings: KafkaSettings, cut_topic: str, group: str) -> None:
    seen = Seen()
    for _ in range(2):
        with pytest.raises(OffsetsLostError, match="offsets 3 to 9") as stopped:
            await run(service(cut_topic, group, seen, "stop"), settings=settings)
        assert stopped.value.loss == Loss(3, 10, "retention")
        assert await asyncio.to_thread(committed, settings, group, cut_topic) == 3
    assert seen.events == []


async def test_retention_behind_a_group_is_named(
    settings: KafkaSettings,
    producer: EventProducer,
    topic: TopicFactory,
    group: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, seen, slow = topic(partitions=1), Seen(), asyncio.Event()

    @kafka_consumer(group_id=group, max_buffered_events=4)
    class Slow:
        @on_message(name)
        async def handle(self, event: CloudEvent[Any]) -> None:
            await slow.wait()
            await seen.handle(event)

    await publish(producer, name, ONE * 10)
    client = {"queued.min.messages": 1, "queued.max.messages.kbytes": 1, "fetch.message.max.bytes": 1}
    tight = KafkaSettings(brokers=settings.brokers, librdkafka=client)
    async with running(Slow(), settings=tight) as runner:
        await runner.ready()
        await asyncio.sleep(1.0)
        await publish(producer, name, ONE * 500, first=10)
        await asyncio.to_thread(delete_before, settings, name, 500)
        slow.set()
        await eventually(lambda: committed(settings, group, name) == 510)
    (line,) = [record.getMessage() for record in caplog.records if "were deleted" in record.getMessage()]
    first = seen.numbers[seen.numbers.index(500) - 1] + 1
    assert f"offsets {first} to 499" in line
    assert seen.numbers == [*range(first), *range(500, 510)]


async def test_recreated_topic_is_read_from_start(
    kafka: KafkaServer,
    settings: KafkaSettings,
    producer: EventProducer,
    topic: TopicFactory,
    group: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, seen = topic(partitions=1), Seen()
    await publish(producer, name, ONE * 3)
    async with running(service(name, group, seen), settings=settings):
        await seen.until(3)
        await eventually(lambda: committed(settings, group, name) == 3)
    former = await asyncio.to_thread(metadata_of, settings, group, name)
    await asyncio.to_thread(recreate, kafka, name)
    await publish(producer, name, ONE * 5, first=100)
    await asyncio.to_thread(commit, settings, group, name, 3, former)  # as a late member of the group does
    async with running(service(name, group, seen), settings=settings):
        await seen.until(8)
        await eventually(lambda: committed(settings, group, name) == 5)

    assert seen.numbers == [0, 1, 2, 100, 101, 102, 103, 104]
    assert "the topic was deleted and created again" in caplog.text


def metadata_of(settings: KafkaSettings, group: str, topic: str) -> str:
    client = Consumer({"bootstrap.servers": settings.brokers, "group.id": group})
    (found,) = client.committed([TopicPartition(topic, 0)], timeout=SECONDS)
    client.close()
    return found.metadata or ""


async def test_topic_recreated_meanwhile_is_read_from_start(
    kafka: KafkaServer, settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen = topic(partitions=1), Seen()
    await publish(producer, name, ONE * 3)
    async with asyncio.timeout(SECONDS), ConsumerRunner(service(name, group, seen), settings=settings):
        await seen.until(3)
        await asyncio.to_thread(recreate, kafka, name)
        await publish(producer, name, ONE * 9, first=100)
        await eventually(lambda: set(seen.numbers) == {0, 1, 2, *range(100, 109)})
        await eventually(lambda: committed(settings, group, name) == 9)
