"""Reading whole topics of a real Kafka: gaps, transactions, topics that are not there, and what comes later."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import pytest
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from tests.waiting import until

from eventzr_kafka import KafkaSettings, Record
from eventzr_kafka._confluent import log_reader
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.errors import TransportError

if TYPE_CHECKING:
    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
COMPACTED: Final = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "100",
}


def reader(kafka: KafkaServer) -> ConfluentLogReader:
    return ConfluentLogReader(KafkaSettings(brokers=kafka.bootstrap_servers), "some-group")


def write(kafka: KafkaServer, topic: str, count: int, *, key: str | None = None, begin: int = 0) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})
    for n in range(begin, begin + count):
        producer.produce(topic, str(n), key or f"k{n}", headers=[("h", b"1")])
    assert producer.flush(SECONDS) == 0


def values(kafka: KafkaServer, topic: str) -> list[int]:
    batches = reader(kafka).read(topic)
    assert batches is not None
    return [int(record.value or b"-1") for records in batches for record in records]


def test_every_record_is_read_once(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=6)
    write(kafka, name, 3000)

    batches = list(reader(kafka).read(name) or ())

    records = [record for batch in batches for record in batch]
    assert sorted(int(record.value or b"") for record in records) == list(range(3000))
    assert max(map(len, batches)) <= 500
    assert records[0].headers == (("h", b"1"),)
    for number in range(6):
        offsets = [record.offset for record in records if record.partition == number]
        assert offsets == list(range(len(offsets)))


def test_missing_topic_is_not_an_empty_topic(kafka: KafkaServer, topic: TopicFactory) -> None:
    assert values(kafka, topic()) == []
    assert reader(kafka).read("no-such-topic") is None
    assert "no-such-topic" not in AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics().topics


def test_aborted_records_are_skipped(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(SECONDS)
    for n, commit in ((1, True), (2, False), (3, True), (4, False)):
        producer.begin_transaction()
        producer.produce(name, str(n))
        producer.flush(SECONDS)
        end = producer.commit_transaction if commit else producer.abort_transaction
        end(SECONDS)

    assert values(kafka, name) == [1, 3]


def test_compacted_records_are_not_awaited(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1, configs=COMPACTED)
    deadline = time.monotonic() + 60
    written = 0
    while len(found := values(kafka, name)) >= written or not found:  # until the cleaner has been here
        assert time.monotonic() < deadline, "the topic was never compacted"
        write(kafka, name, 50, key="same", begin=written)
        written += 50
        time.sleep(0.2)

    assert found == sorted(found)
    assert found[-1] == written - 1


def test_later_records_are_not_awaited(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1)
    write(kafka, name, 10)
    batches = reader(kafka).read(name)
    assert batches is not None
    write(kafka, name, 10, begin=10)

    assert [int(record.value or b"") for records in batches for record in records] == list(range(10))


def test_missing_broker_is_an_error() -> None:
    absent = ConfluentLogReader(KafkaSettings(brokers="localhost:1"), "some-group")

    with pytest.raises(TransportError, match="localhost:1: topic: _"):
        absent.read("topic")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A port that takes connections and never answers; readers wait a second for an answer."""
    monkeypatch.setattr(log_reader, "_METADATA_SECONDS", 1.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_silent_broker_ends_reading(silent: str) -> None:
    with pytest.raises(TransportError) as caught:
        ConfluentLogReader(KafkaSettings(brokers=silent), "some-group").read("topic")

    assert str(caught.value).startswith(f"{silent}: topic: _TRANSPORT: ")


async def test_waiting_follower_can_be_closed(silent: str) -> None:
    told: list[object] = []
    following = ConfluentLogReader(KafkaSettings(brokers=silent), "some-group")
    following.start("topic", told.append, lambda: told.append("caught up"), told.append)

    assert not await following.close(0.0)  # it is not waited for longer than that
    assert await following.close(SECONDS)
    assert told == []


class Mute(Consumer):
    """A client that gets nothing more once it knows the topic's ends."""

    def consume(self, *_args: Any, **_options: Any) -> list[Message]:
        return []


def test_broker_that_falls_silent_ends_reading(
    kafka: KafkaServer, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(partitions=1)
    write(kafka, name, 1)
    monkeypatch.setattr(log_reader, "_IDLE_SECONDS", 0.5)
    monkeypatch.setattr(log_reader, "Consumer", Mute)
    batches = reader(kafka).read(name)
    assert batches is not None

    with pytest.raises(TransportError, match=f"{name}: no record arrived for 0.5 s; is the broker running?"):
        next(batches)


class Follower:
    """What a reader that follows a topic has told."""

    def __init__(self, kafka: KafkaServer, topic: str) -> None:
        self.told: list[int | str] = []
        self._reader = reader(kafka)
        self._topic = topic

    async def __aenter__(self) -> Self:
        self._reader.start(self._topic, self._records, lambda: self.told.append("caught up"), self._failed)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert await self._reader.close(10.0)

    def _records(self, records: Sequence[Record]) -> None:
        self.told += [int(record.value or b"-1") for record in records]

    def _failed(self, error: Exception) -> None:
        self.told.append(repr(error))


async def test_follower_catches_up_and_goes_on(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=3)
    write(kafka, name, 700)

    async with Follower(kafka, name) as follower:
        await until(lambda: "caught up" in follower.told)
        assert sorted(n for n in follower.told[: follower.told.index("caught up")] if isinstance(n, int)) == list(
            range(700)
        )
        write(kafka, name, 10, begin=700)
        await until(lambda: len(follower.told) == 711)

    assert follower.told.count("caught up") == 1
    assert set(follower.told) == {*range(710), "caught up"}


async def test_follower_waits_for_its_topic(kafka: KafkaServer) -> None:
    name = f"later-{uuid.uuid4().hex[:8]}"

    async with Follower(kafka, name) as follower:
        await until(lambda: follower.told == ["caught up"])
        kafka.create_topic(name, partitions=2)
        write(kafka, name, 5)
        await until(lambda: len(follower.told) == 6)

    assert sorted(follower.told[1:], key=str) == [0, 1, 2, 3, 4]


async def test_follower_finds_new_partitions(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1)

    async with Follower(kafka, name) as follower:
        await until(lambda: follower.told == ["caught up"])
        admin: Any = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_partitions([NewPartitions(name, 4)])[name].result(SECONDS)
        write(kafka, name, 50)
        await until(lambda: len(follower.told) == 51)


async def test_failing_follower_is_notified(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1)
    write(kafka, name, 1)
    failures: list[Exception] = []

    def refuse(_records: Sequence[Record]) -> None:
        raise KeyError

    following = reader(kafka)
    following.start(name, refuse, lambda: None, failures.append)

    await until(lambda: failures)
    assert await following.close(10.0)
    assert [type(error) for error in failures] == [KeyError]
