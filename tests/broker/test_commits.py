"""What becomes of commits that a real Kafka refuses: for their metadata, and for a right that was taken away."""

from __future__ import annotations

import contextlib
import random
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka import admin as untyped_admin
from tests.contract.sink import SECONDS, Sink
from tests.waiting import eventually

from eventzr_kafka import KafkaSettings
from eventzr_kafka._confluent.consumer import ConfluentConsumer
from eventzr_kafka.engine.commit_metadata import ranges_of, read_metadata, write_metadata
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.transport import Position
from eventzr_kafka.testing.kafka_server import KafkaServer, start_kafka

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

kafka_admin: Any = untyped_admin
EVENTS: Final = 1200
FINISHED: Final = frozenset(random.Random(1).sample(range(2, EVENTS), EVENTS // 2))  # noqa: S311 -- to be repeated
METADATA: Final = write_metadata(1, ranges_of(sorted(FINISHED)))
OTHER: Final = {
    "offset.metadata.max.bytes": "64",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture(scope="module")
def other_kafka(kafka: KafkaServer) -> Iterator[KafkaServer]:
    """A broker with access control that takes 64 bytes of commit metadata."""
    assert kafka.running
    with start_kafka(properties=OTHER) as server:
        yield server


@pytest.fixture
def topic(other_kafka: KafkaServer) -> str:
    name = f"commits.{uuid.uuid4().hex[:8]}"
    other_kafka.create_topic(name, partitions=1)
    client = Producer({"bootstrap.servers": other_kafka.bootstrap_servers})
    for number in range(EVENTS):
        client.produce(name, b"%d" % number)
    assert client.flush(SECONDS) == 0
    return name


@contextlib.asynccontextmanager
async def member(kafka: KafkaServer, topic: str) -> AsyncGenerator[tuple[ConfluentConsumer, Sink]]:
    settings = KafkaSettings(brokers=kafka.bootstrap_servers)
    consumer = ConfluentConsumer(settings, topic, ConsumerOptions(drain_timeout=1))
    sink = Sink(consumer)
    consumer.start([topic], sink)
    await sink.until_received(EVENTS)
    try:
        yield consumer, sink
    finally:
        assert await consumer.close(SECONDS)


def committed(kafka: KafkaServer, topic: str) -> tuple[int, str]:
    with contextlib.closing(Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic})) as client:
        (found,) = client.committed([TopicPartition(topic, 0)], timeout=SECONDS)
    return found.offset, found.metadata or ""


def lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


def position(sink: Sink, offset: int, metadata: str = "") -> Position:
    (assignment,) = sink.owned().values()
    return Position(assignment.partition, assignment.epoch, offset, metadata)


async def test_refused_metadata_is_shortened(
    other_kafka: KafkaServer, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(METADATA) > 64
    async with member(other_kafka, topic) as (consumer, sink):
        consumer.store([position(sink, 1, METADATA)])
        await eventually(lambda: committed(other_kafka, topic)[0] == 1)
        assert consumer.problem is None
    metadata = committed(other_kafka, topic)[1]
    assert 0 < len(metadata) <= 64
    assert read_metadata(1, metadata) < FINISHED
    assert read_metadata(1, metadata)
    assert lines(caplog, "refuses") == 1


async def test_last_commit_survives_its_metadata(other_kafka: KafkaServer, topic: str) -> None:
    async with member(other_kafka, topic) as (consumer, sink):
        consumer.store([position(sink, 1, METADATA)])
    assert committed(other_kafka, topic)[0] == 1


async def test_forbidden_commits_are_a_problem(
    other_kafka: KafkaServer, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = kafka_admin.AdminClient({"bootstrap.servers": other_kafka.bootstrap_servers})
    kind, literal = kafka_admin.ResourceType.GROUP, kafka_admin.ResourcePatternType.LITERAL
    deny, read = kafka_admin.AclPermissionType.DENY, kafka_admin.AclOperation.READ
    denial = kafka_admin.AclBinding(kind, topic, literal, "User:*", "*", read, deny)
    pattern = kafka_admin.AclBindingFilter(kind, topic, literal, "User:*", "*", read, deny)
    async with member(other_kafka, topic) as (consumer, sink):
        client.create_acls([denial])[denial].result(SECONDS)
        consumer.store([position(sink, 5)])
        await eventually(lambda: consumer.problem is not None)
        client.delete_acls([pattern])[pattern].result(SECONDS)
        await eventually(lambda: committed(other_kafka, topic)[0] == 5)
        await eventually(lambda: consumer.problem is None)
    assert lines(caplog, "offsets cannot be committed") == 1
    assert lines(caplog, "offsets are committed again") == 1


async def test_denied_topic_of_several_is_named(other_kafka: KafkaServer, topic: str) -> None:
    names = [f"{topic}.{number}" for number in range(3)]
    for name in names:
        other_kafka.create_topic(name, partitions=1)
    client = kafka_admin.AdminClient({"bootstrap.servers": other_kafka.bootstrap_servers})
    kind, literal = kafka_admin.ResourceType.TOPIC, kafka_admin.ResourcePatternType.LITERAL
    deny, read = kafka_admin.AclPermissionType.DENY, kafka_admin.AclOperation.READ
    denial = kafka_admin.AclBinding(kind, names[1], literal, "User:*", "*", read, deny)
    client.create_acls([denial])[denial].result(SECONDS)
    consumer = ConfluentConsumer(KafkaSettings(brokers=other_kafka.bootstrap_servers), topic, ConsumerOptions())
    sink = Sink(consumer)
    consumer.start(names, sink)
    await sink.until(lambda: bool(sink.errors))
    assert await consumer.close(SECONDS)
    assert f"topic {names[1]}: " in str(sink.errors[0])
    assert "TOPIC_AUTHORIZATION_FAILED" in str(sink.errors[0])
    assert "allow Describe and Read on the topic" in str(sink.errors[0])
