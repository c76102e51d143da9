"""The brokers that the contract suite runs on, each behind the same few functions."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol, TypeAlias, cast

import confluent_kafka
from confluent_kafka.admin import AdminClient

from eventzr_kafka import EmbeddedBroker, KafkaSettings
from eventzr_kafka._confluent.consumer import ConfluentConsumer
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.handlers.options import ConsumerOptions, GroupProtocol
from eventzr_kafka.kafka.record import Header
from eventzr_kafka.kafka.transport import ConsumerTransport, ProducerTransport
from eventzr_kafka.testing import MemoryBroker
from eventzr_kafka.testing.kafka_server import KafkaServer

SECONDS = 60.0
Deleting: TypeAlias = Callable[..., Mapping[confluent_kafka.TopicPartition, Future[object]]]
QUICK_GROUP = {"heartbeat.interval.ms": 200, "session.timeout.ms": 6000}  # with KIP-848 the broker decides


class Backend(Protocol):
    """What a test needs besides the ports."""

    def create_topic(self, *, partitions: int = 4, max_message_bytes: int = 1_048_588) -> str: ...
    def consumer(self, group: str) -> ConsumerTransport: ...
    def producer(self) -> ProducerTransport: ...

    def put(self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()) -> None:
        """Write a record that the SDK would not write."""
        ...

    def put_with_gap(self, topic: str, value: bytes) -> None:
        """Write a record to the only partition, between offsets that are no records."""
        ...

    def delete_before(self, topic: str, offset: int) -> None:
        """Delete the first records of the only partition."""
        ...

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        """Offset and metadata by partition."""
        ...


def new_name(kind: str) -> str:
    return f"contract.{kind}.{uuid.uuid4().hex[:8]}"


class InMemory:
    """`MemoryBroker`, in real time."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def create_topic(self, *, partitions: int = 4, max_message_bytes: int = 1_048_588) -> str:
        name = new_name("topic")
        self.broker.create_topics(name, partitions=partitions, max_message_bytes=max_message_bytes)
        return name

    def consumer(self, group: str) -> ConsumerTransport:
        return self.broker.consumer(group)

    def producer(self) -> ProducerTransport:
        return self.broker.producer()

    def put(self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()) -> None:
        self.broker.append(topic, value, key=key, headers=headers)

    def put_with_gap(self, topic: str, value: bytes) -> None:
        self.broker.append(topic, value, partition=0, gap=1)
        self.broker.use_up_offsets(topic, 0, 1)

    def delete_before(self, topic: str, offset: int) -> None:
        self.broker.delete_records(topic, 0, offset)

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        offsets = self.broker.committed(group, topic)
        return {number: (offset, self.broker.metadata(group, topic, number)) for number, offset in offsets.items()}


class OnSockets:
    """A broker that a real client talks to."""

    admin_seconds = 20.0

    def __init__(self, brokers: str, protocol: GroupProtocol) -> None:
        self._brokers = brokers
        self._settings = KafkaSettings(brokers=brokers, librdkafka=QUICK_GROUP if protocol == "classic" else {})
        self._options = ConsumerOptions(group_protocol=protocol, drain_timeout=5.0)

    def create_topic(self, *, partitions: int = 4, max_message_bytes: int = 1_048_588) -> str:
        raise NotImplementedError

    def consumer(self, group: str) -> ConsumerTransport:
        return ConfluentConsumer(self._settings, group, self._options)

    def producer(self) -> ProducerTransport:
        return ConfluentProducer(self._settings)

    def put(self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()) -> None:
        client = confluent_kafka.Producer({"bootstrap.servers": self._brokers})
        client.produce(topic, key=key, value=value, headers=list(headers))
        assert client.flush(SECONDS) == 0

    def put_with_gap(self, topic: str, value: bytes) -> None:
        client = confluent_kafka.Producer({"bootstrap.servers": self._brokers, "transactional.id": new_name("id")})
        client.init_transactions(SECONDS)
        for content in (b"aborted", value):
            client.begin_transaction()
            client.produce(topic, value=content, partition=0)
            client.flush(SECONDS)
            if content is value:
                client.commit_transaction(SECONDS)
            else:
                client.abort_transaction(SECONDS)

    def delete_before(self, topic: str, offset: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._brokers, "log_level": 0})
        wanted = confluent_kafka.TopicPartition(topic, 0, offset)
        delete = cast("Deleting", admin.delete_records)  # pyright: ignore[reportUnknownMemberType] -- of the vendor
        deleting = delete([wanted], request_timeout=self.admin_seconds)
        for future in deleting.values():
            future.result(self.admin_seconds)

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        client = confluent_kafka.Consumer({"bootstrap.servers": self._brokers, "group.id": group})
        with contextlib.closing(client):
            numbers = client.list_topics(topic, timeout=SECONDS).topics[topic].partitions
            wanted = [confluent_kafka.TopicPartition(topic, number) for number in sorted(numbers)]
            found = client.committed(wanted, timeout=SECONDS)
        return {p.partition: (p.offset, p.metadata or "") for p in found if p.offset >= 0}


class Embedded(OnSockets):
    """librdkafka's mock cluster; joining takes it a sixth of the time with the newer group protocol."""

    admin_seconds = 2.0  # it never answers

    def __init__(self, broker: EmbeddedBroker) -> None:
        super().__init__(broker.bootstrap_servers, "consumer")
        self._broker = broker

    def create_topic(self, *, partitions: int = 4, max_message_bytes: int = 1_048_588) -> str:  # noqa: ARG002 -- always 4
        name = new_name("topic")
        self._broker.create_topics(name)
        return name


class Real(OnSockets):
    """Apache Kafka."""

    def __init__(self, kafka: KafkaServer, protocol: GroupProtocol) -> None:
        super().__init__(kafka.bootstrap_servers, protocol)
        self._kafka = kafka

    def create_topic(self, *, partitions: int = 4, max_message_bytes: int = 1_048_588) -> str:
        name = new_name("topic")
        configs = {"max.message.bytes": str(max_message_bytes)}
        self._kafka.create_topic(name, partitions=partitions, configs=configs)
        return name
