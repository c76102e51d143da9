"""A broker that logs in as MSK does, for the tests that ask for `msk`; a recorder at the edge of every consumer."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from tests.broker.msk_broker import ACCESS_KEY, SECRET_KEY, MskBroker, msk_broker
from tests.recorder import Gap, Recorder

from eventzr_kafka import EventProducer, KafkaSettings
from eventzr_kafka.testing.kafka_server import KafkaServer, KafkaUnavailableError, start_kafka

_GUARDED = {  # everybody may do everything, but for what an ACL says
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "group.coordinator.rebalance.protocols": "classic",
}


@pytest.fixture(scope="session")
def guarded_kafka(kafka: KafkaServer) -> Iterator[KafkaServer]:
    """A broker with access control that knows only the classic group protocol; tests may end it."""
    assert kafka.running
    with start_kafka(properties=_GUARDED) as server:
        yield server


@pytest.fixture(scope="session")
def msk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MskBroker]:
    """The session's broker; where it cannot be had, its tests are skipped or fail as all with a real Kafka."""
    try:
        with msk_broker(tmp_path_factory.mktemp("msk")) as broker:
            yield broker
    except KafkaUnavailableError as error:
        if os.environ.get("EVENTZR_KAFKA_TEST_BROKER") == "real":
            pytest.fail(f"no real Kafka: {error}", pytrace=False)
        pytest.skip(f"no real Kafka: {error}")


@pytest.fixture
def msk(msk_server: MskBroker, monkeypatch: pytest.MonkeyPatch) -> MskBroker:
    """The broker, with credentials in the environment that it knows."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return msk_server


@pytest.fixture(scope="module")
def settings(kafka: KafkaServer) -> KafkaSettings:
    """The settings of clients of the real Kafka."""
    return KafkaSettings(brokers=kafka.bootstrap_servers)


@pytest.fixture(scope="module")
def producer(settings: KafkaSettings) -> Iterator[EventProducer]:
    """A started producer."""
    with EventProducer(settings=settings) as producer:
        yield producer


@pytest.fixture
def group() -> str:
    """The id of a group that no other test has."""
    return f"group.{uuid.uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def recorder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Watches the consumers of this process: what they commit was handed over and has its outcome."""
    kafka: KafkaServer | None = request.getfixturevalue("kafka") if "kafka" in request.fixturenames else None
    found = Recorder()
    found.watch_runners(monkeypatch.setattr)
    yield found
    assert found.faults == []
    if kafka is not None:
        assert [gap for gap in found.gaps if _holds_records(kafka.bootstrap_servers, gap)] == []


def _holds_records(brokers: str, gap: Gap) -> bool:
    """Whether there are records in a gap: not so where it is of a transaction, or retention has deleted them."""
    (topic, partition), first, after = gap
    client = Consumer(
        {"bootstrap.servers": brokers, "group.id": "gaps", "enable.partition.eof": True, "auto.offset.reset": "latest"}
    )
    with contextlib.closing(client):
        client.assign([TopicPartition(topic, partition, first)])
        message = client.poll(10)
    return message is not None and message.error() is None and first <= (message.offset() or 0) < after
