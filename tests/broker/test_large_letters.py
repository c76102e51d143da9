"""Records that fit into no dead-letter topic as they are: each still ends there, and its lane goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from tests.broker.consuming import letters

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.dead_letters.letter import (
    Cut,
    DeadLetterFacts,
    Letter,
    Shrink,
    dead_letter_topic,
    write_letter,
)
from eventzr_kafka.kafka.record import Header, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
TENANT: Final = "t1"
EVENTS: Final = 5  # behind the record
ZEROS: Final = bytes(20_000_000)  # 20 KB once they are compressed
NOISE: Final = os.urandom(500_000)  # no smaller once it is compressed
LIMIT: Final = 100_000  # bytes of a batch
NOTE: Final[Header] = ("x-note", b"kept")


class Bench:
    """A group whose first record is no event, with good ones of its tenant behind it."""

    def __init__(self, kafka: KafkaServer, topic: str, **client: int) -> None:
        self.settings = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka=client)
        self.group = f"g.{uuid.uuid4().hex[:8]}"
        self.topic = topic
        self.handled: list[int] = []

    def put(self, value: bytes) -> None:
        """Write a record as large as only a client with its own settings writes it."""
        config = {"compression.type": "gzip", "message.max.bytes": 100_000_000}
        client = Producer({"bootstrap.servers": self.settings.brokers, **config})
        errors: list[object] = []
        headers: list[tuple[str, str | bytes | None]] = [*STRUCTURED_HEADERS]
        client.produce(self.topic, value, TENANT, headers=headers, on_delivery=lambda error, _: errors.append(error))
        assert (client.flush(SECONDS), errors) == (0, [None])

    def put_the_largest(self, make_value: Callable[[int], bytes]) -> bytes:
        """Write, without compression, the largest record that the topic takes; gives its value."""
        client = Producer({"bootstrap.servers": self.settings.brokers})
        errors: list[object] = []
        headers: list[tuple[str, str | bytes | None]] = [NOTE]
        for size in range(LIMIT, 0, -1):
            value = make_value(size)
            client.produce(
                self.topic, value, TENANT, headers=headers, on_delivery=lambda error, _: errors.append(error)
            )
            assert client.flush(SECONDS) == 0
            if errors[-1] is None:
                return value
        raise AssertionError(errors[-1])

    def added(self, shrink: Shrink) -> int:
        """About how many bytes a letter adds to its record, for a record that is no event."""
        facts = DeadLetterFacts(
            group_id=self.group,
            handler="Handler.handle",
            error="InvalidEnvelopeError",
            reason="no content-type, no ce_ headers",
            attempts=0,
            first_failure=0.0,
            last_failure=0.0,
        )
        letter = write_letter(Record(self.topic, 0, 0, None, b"", ()), facts, shrink=shrink)
        return sum(len(name) + len(value or b"") for name, value in letter.headers)

    async def publish(self) -> None:
        async with EventProducer(settings=KafkaSettings(brokers=self.settings.brokers)) as producer:
            for number in range(EVENTS):
                await producer.publish(
                    CloudEvent(id=str(number), source="test", type=self.topic, tenantid=TENANT, data=number)
                )

    async def run(self) -> None:
        """Run until everything is committed."""

        @kafka_consumer(group_id=self.group)
        class Handler:
            @on_message(self.topic)
            async def handle(_self, event: CloudEvent[Any]) -> None:  # noqa: N805 -- self is the bench
                self.handled.append(event.data)

        async with asyncio.timeout(SECONDS), ConsumerRunner(Handler(), settings=self.settings) as runner:
            while await asyncio.to_thread(self.committed) < EVENTS + 1:  # noqa: ASYNC110 -- nothing reports a commit
                await asyncio.sleep(0.1)
            assert runner.problems == []

    def committed(self) -> int:
        client = Consumer({"bootstrap.servers": self.settings.brokers, "group.id": self.group})
        with contextlib.closing(client):
            try:
                (found,) = client.committed([TopicPartition(self.topic, 0)], SECONDS)
            except KafkaException:  # the group has no coordinator yet
                return -1
        return found.offset

    def letters(self) -> list[Letter]:
        return letters(self.settings, self.group)


async def test_20_mb_of_zeros_stay_whole(kafka: KafkaServer, topic: TopicFactory) -> None:
    bench = Bench(kafka, topic(partitions=1))
    kafka.create_topic(dead_letter_topic(bench.group))
    await asyncio.to_thread(bench.put, ZEROS)
    await bench.publish()
    await bench.run()

    assert bench.handled == list(range(EVENTS))
    (letter,) = await asyncio.to_thread(bench.letters)
    assert letter.record.value == ZEROS
    assert letter.facts.error == "RecordTooLargeError"
    assert letter.cut is None


@pytest.mark.parametrize(
    ("value", "limit", "client"),
    [(NOISE, "10000", {}), (ZEROS, "1048588", {"queue.buffering.max.kbytes": 10_000})],
    ids=["topic", "queue"],
)
async def test_oversized_letter_names_its_value(
    value: bytes, limit: str, client: dict[str, int], kafka: KafkaServer, topic: TopicFactory
) -> None:
    bench = Bench(kafka, topic(partitions=1), **client)
    kafka.create_topic(dead_letter_topic(bench.group), configs={"max.message.bytes": limit})
    await asyncio.to_thread(bench.put, value)
    await bench.publish()
    await bench.run()

    assert bench.handled == list(range(EVENTS))
    (letter,) = await asyncio.to_thread(bench.letters)
    assert (letter.origin, letter.record.key, letter.record.value) == ((bench.topic, 0, 0), TENANT.encode(), b"")
    assert letter.cut == Cut.measure(value)


@pytest.mark.parametrize(
    ("make_value", "room", "error", "whole"),
    [
        (os.urandom, (0.0, 0.0), "InvalidEnvelopeError", False),
        (os.urandom, (0.5, 0.5), "?", True),
        (os.urandom, (2.0, 0.0), "InvalidEnvelopeError", True),
        (bytes, (0.0, 0.0), "InvalidEnvelopeError", True),
    ],
    ids=["no-room", "room-for-what-a-replay-needs", "room-for-all", "room-once-compressed"],
)
async def test_letter_keeps_a_value_that_fits(
    make_value: Callable[[int], bytes],
    room: tuple[float, float],  # in what a letter adds, all of it and what a replay needs
    error: str,
    whole: bool,  # noqa: FBT001 -- a parameter of the test
    kafka: KafkaServer,
    topic: TopicFactory,
) -> None:
    bench = Bench(kafka, topic(partitions=1, configs={"max.message.bytes": str(LIMIT)}))
    limit = LIMIT + round(room[0] * bench.added(0) + room[1] * bench.added(1))
    kafka.create_topic(dead_letter_topic(bench.group), configs={"max.message.bytes": str(limit)})
    value = await asyncio.to_thread(bench.put_the_largest, make_value)
    await bench.publish()
    await bench.run()

    assert bench.handled == list(range(EVENTS))
    (letter,) = await asyncio.to_thread(bench.letters)
    assert (letter.origin, letter.record.key, letter.record.headers) == ((bench.topic, 0, 0), TENANT.encode(), (NOTE,))
    assert (letter.record.value, letter.cut) == ((value, None) if whole else (b"", Cut.measure(value)))
    assert letter.facts.error == error
