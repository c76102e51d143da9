"""The real Kafka for tests, tried out with Kafka's own console tools."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata

from eventzr_kafka.testing.kafka_server import (
    KafkaServer,
    KafkaServerError,
    KafkaStartError,
    KafkaToolError,
    describe_kafka,
    start_kafka,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    TopicFactory = Callable[..., str]

PRODUCER: Final = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER: Final = "org.apache.kafka.tools.consumer.ConsoleConsumer"
OFFSETS: Final = "org.apache.kafka.tools.GetOffsetShell"
TOPICS: Final = "org.apache.kafka.tools.TopicCommand"


@pytest.fixture(scope="session")
def kafka(own_kafka: KafkaServer) -> KafkaServer:
    """One that may be ended."""
    return own_kafka


def produce(kafka: KafkaServer, topic: str, record: bytes) -> None:
    keyed = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=|")
    big = ("--command-property", "max.request.size=16000000")
    kafka.tool(PRODUCER, "--topic", topic, *keyed, *big, stdin=record + b"\n")


def consume(kafka: KafkaServer, topic: str) -> bytes:
    keyed = ("--formatter-property", "print.key=true", "--formatter-property", "key.separator=|")
    one = ("--from-beginning", "--max-messages", "1")
    return kafka.tool(CONSUMER, "--topic", topic, *keyed, *one).rstrip(b"\n")


def metadata(address: str, *, timeout: float = 10) -> ClusterMetadata:
    return AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=timeout)


def answers(address: str) -> bool:
    try:
        return bool(metadata(address, timeout=2).brokers)
    except KafkaException:
        return False


def test_console_consumer_reads_the_console_producers_record(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic()

    produce(kafka, name, b'tenant-1|{"title": "Hall"}')

    assert consume(kafka, name) == b'tenant-1|{"title": "Hall"}'


def test_restart_keeps_address_and_records(kafka: KafkaServer, topic: TopicFactory) -> None:
    name, address = topic(partitions=1), kafka.bootstrap_servers
    produce(kafka, name, b"tenant-1|before")

    kafka.stop()
    assert not answers(address)
    kafka.start()

    assert kafka.bootstrap_servers == address
    assert consume(kafka, name) == b"tenant-1|before"


def test_kill_keeps_written_records(kafka: KafkaServer, topic: TopicFactory) -> None:
    name, address = topic(partitions=1), kafka.bootstrap_servers
    produce(kafka, name, b"tenant-1|before")

    kafka.kill()
    assert not answers(address)
    kafka.start()

    assert kafka.bootstrap_servers == address
    assert consume(kafka, name) == b"tenant-1|before"


def test_start_of_a_running_broker_is_a_no_op(kafka: KafkaServer) -> None:
    kafka.start()

    assert answers(kafka.bootstrap_servers)


def test_topic_has_partitions_and_settings(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=3, configs={"retention.ms": "60000"})

    description = kafka.tool(TOPICS, "--describe", "--topic", name).decode()

    assert "PartitionCount: 3" in description
    assert "retention.ms=60000" in description


def test_many_topics_have_leaders_at_once(kafka: KafkaServer) -> None:
    names = [f"many.{number}" for number in range(20)]

    kafka.create_topics(names, partitions=2)

    topics = metadata(kafka.bootstrap_servers).topics
    leaders = {name: [one.leader for one in topics[name].partitions.values()] for name in names}
    assert leaders == {name: [1, 1] for name in names}


def test_existing_topic_is_refused(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic()

    with pytest.raises(KafkaServerError, match=f"'{name}' already exists"):
        kafka.create_topic(name)


def test_writing_creates_no_topic(kafka: KafkaServer) -> None:
    with pytest.raises(KafkaToolError):
        kafka.tool(PRODUCER, "--topic", "never.made", stdin=b"x\n", timeout=3)

    assert "never.made" not in metadata(kafka.bootstrap_servers).topics


def test_record_of_8_mb_is_taken(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1)

    produce(kafka, name, b"tenant-1|" + b"x" * 8_000_000)

    assert kafka.tool(OFFSETS, "--topic", name) == f"{name}:0:1\n".encode()


def test_tool_that_fails_says_how(kafka: KafkaServer) -> None:
    with pytest.raises(KafkaToolError, match="nonsense is not a recognized option") as caught:
        kafka.tool(OFFSETS, "--nonsense")

    assert caught.value.code == 1


def test_slow_tool_is_ended(kafka: KafkaServer, topic: TopicFactory) -> None:
    with pytest.raises(KafkaToolError, match="took longer than 2 s") as caught:
        kafka.tool(CONSUMER, "--topic", topic(), timeout=2)

    assert caught.value.code is None


@pytest.mark.usefixtures("kafka")
def test_failed_broker_says_why_in_its_own_words() -> None:
    with pytest.raises(KafkaStartError, match=r"NoSuchReporter"):
        start_kafka(properties={"metric.reporters": "org.example.NoSuchReporter"})


@pytest.mark.usefixtures("kafka")
def test_broker_ends_with_its_process() -> None:
    script = (
        "import os; from eventzr_kafka.testing.kafka_server import start_kafka; "
        "print(start_kafka().bootstrap_servers, flush=True); os.kill(os.getpid(), 9)"
    )

    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=240, check=False)

    address = killed.stdout.decode().strip()
    deadline = time.monotonic() + 30
    while answers(address):
        assert time.monotonic() < deadline, "the broker is still there"


@pytest.mark.usefixtures("kafka")
def test_closed_broker_is_gone_for_good() -> None:
    with start_kafka() as other:
        address = other.bootstrap_servers

    other.close()

    assert not answers(address)
    with pytest.raises(KafkaServerError, match="start another one"):
        other.start()


def test_session_header_names_its_kafka(kafka: KafkaServer) -> None:
    assert kafka.description == describe_kafka()
