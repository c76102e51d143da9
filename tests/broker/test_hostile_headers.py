"""Header names that are not UTF-8: the broker takes them, no Python client reads them, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Offset
from tests.broker.consuming import letters
from tests.raw_producer import RawProducer
from tests.recorder import Recorder

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, encode, kafka_consumer, on_message
from eventzr_kafka.cli.app import call
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Letter, dead_letter_topic, write_letter
from eventzr_kafka.kafka.record import Record, UnreadableHeaders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
EVENTS: Final = 6_000
HOSTILE: Final = [(b"ok", b"1"), (b"\xff\xfename", b"2"), (b"content-type", b"application/cloudevents+json")]
HANDLER: Final = """
from typing import Any
from eventzr_kafka import CloudEvent, kafka_consumer, on_message

@kafka_consumer(group_id="{group}")
class Handler:
    @on_message("{topic}")
    async def handle(self, event: CloudEvent[Any]) -> None:
        print("handled", event.id)
"""


class Group:
    """A consumer group of one topic, and what its handler was called with."""

    def __init__(self, kafka: KafkaServer, topic: str, **options: Any) -> None:
        self.id = f"group.{uuid.uuid4().hex[:8]}"
        self.topic = topic
        self.settings = KafkaSettings(brokers=kafka.bootstrap_servers)
        self.handled: Counter[str] = Counter()
        kafka.create_topic(dead_letter_topic(self.id), partitions=1)
        handled = self.handled

        @kafka_consumer(group_id=self.id, **options)
        class Handler:
            @on_message(topic)
            async def handle(self, event: CloudEvent[Any]) -> None:
                handled[event.id] += 1

        self.handler = Handler()

    async def run_until_committed(self, count: int) -> None:
        """Run a member until the group has committed so many offsets."""
        async with asyncio.timeout(SECONDS), ConsumerRunner(self.handler, settings=self.settings) as runner:
            while await asyncio.to_thread(self.committed) < count:
                assert runner.error is None, runner.error
                await asyncio.sleep(0.1)

    def committed(self) -> int:
        client = Consumer({"bootstrap.servers": self.settings.brokers, "group.id": self.id})
        try:
            numbers = client.list_topics(self.topic, timeout=SECONDS).topics[self.topic].partitions
            found = client.committed([Offset(self.topic, number) for number in numbers], SECONDS)
        except KafkaException:  # of a coordinator that has just been chosen
            return 0
        finally:
            client.close()
        return sum(max(part.offset, 0) for part in found)

    def letters(self) -> list[Letter]:
        return letters(self.settings, self.id)


def event(topic: str, number: int) -> tuple[bytes, bytes]:
    """Key and value of an event in structured mode."""
    tenant = f"t{number % 50}"
    out = encode(CloudEvent[Any](id=f"e{number}", source="s", type=topic, tenantid=tenant, data={"n": number}))
    assert out.key is not None
    assert out.value is not None
    return out.key, out.value


def publish(brokers: str, topic: str, numbers: Sequence[int], hostile: Sequence[int] = ()) -> None:
    plain = [(b"content-type", b"application/cloudevents+json")]
    with RawProducer(brokers) as producer:
        for number in numbers:
            key, value = event(topic, number)
            producer.produce(topic, value, key=key, headers=HOSTILE if number in hostile else plain)


async def test_unreadable_record_costs_itself(kafka: KafkaServer, topic: TopicFactory, recorder: Recorder) -> None:
    group = Group(kafka, topic(partitions=3))
    publish(group.settings.brokers, group.topic, range(EVENTS + 1), hostile=[2_500])
    await group.run_until_committed(EVENTS + 1)
    assert group.handled == Counter({f"e{number}": 1 for number in range(EVENTS + 1) if number != 2_500})
    (letter,) = group.letters()
    assert (letter.record.key, letter.record.value) == event(group.topic, 2_500)
    assert isinstance(letter.record.headers, UnreadableHeaders)
    assert letter.facts.error == "InvalidEnvelopeError"
    assert recorder.stored > 0
    assert letter.facts.reason == "headers: a name is not UTF-8, so that none of them can be read"


async def test_unreadable_records_are_dead_letters(kafka: KafkaServer, topic: TopicFactory) -> None:
    group = Group(kafka, topic(partitions=1), ordering="subject")
    names = [b"\xff", b"\xed\xa0\xbc", b"ce_id\xc0", b"\x80" * 300]
    with RawProducer(group.settings.brokers) as producer:
        for name in names:
            producer.produce(group.topic, None, headers=[(name, b"x"), (name, None)])
    await group.run_until_committed(len(names))
    assert [letter.record.offset for letter in group.letters()] == [0, 1, 2, 3]


@pytest.fixture
def hostile_letters(kafka: KafkaServer, topic: TopicFactory) -> Group:
    """A group of which one record is a dead letter, among letters and notes whose own headers cannot be read."""
    group = Group(kafka, topic(partitions=1), after_dead_letter="park_key")
    key, value = event(group.topic, 1)
    facts = DeadLetterFacts(
        group_id=group.id,
        handler="Handler.handle",
        error="KeyError",
        reason="KeyError at handlers.py:9",
        attempts=5,
        first_failure=1_700_000_000,
        last_failure=1_700_000_001,
        event_id="e1",
    )
    headers = [("content-type", b"application/cloudevents+json")]
    letter = write_letter(Record(group.topic, 0, 77, key, value, headers, 1), facts)
    plain = [(name.encode(), content) for name, content in letter.headers]
    with RawProducer(group.settings.brokers) as producer:
        producer.produce(letter.topic, b"{}", key=b"t9", headers=HOSTILE)
        producer.produce(letter.topic, letter.value, key=letter.key, headers=plain)
        producer.produce(letter.topic, None, key=b"t8", headers=[(b"eventzr-dlq-note", b"replayed"), *HOSTILE])
    return group


@pytest.fixture
def run(
    kafka: KafkaServer,
    tmp_path: Path,
    command: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Run the command in this process; returns its exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("KAFKA_BROKERS", kafka.bootstrap_servers)

    def run(*arguments: str) -> tuple[int, str]:
        code = call(["dlq", *arguments])
        found = capsys.readouterr()
        return code, found.out + found.err

    return run


def write_handler(group: Group, folder: Path) -> str:
    """A module of the group's handler, for the command; returns what names the class."""
    module = f"handlers_{group.id[-8:]}"
    (folder / f"{module}.py").write_text(HANDLER.format(group=group.id, topic=group.topic))
    return f"{module}:Handler"


def test_dlq_reads_past_unreadable_letters(
    hostile_letters: Group, tmp_path: Path, run: Callable[..., tuple[int, str]]
) -> None:
    group, target = hostile_letters, write_handler(hostile_letters, tmp_path)
    code, output = run("ls", group.id, "--json")
    assert (code, json.loads(output)["open"]) == (0, 3)
    code, output = run("show", group.id, f"{dead_letter_topic(group.id)}[0]@0", "--payload")
    assert code == 0
    assert "the letter's own headers cannot be read" in output
    assert "(unreadable: a name is not UTF-8)" in output
    code, output = run("replay", target)
    assert code == 1
    assert "handled e1" in output
    assert "1 of 3 dead letters" in output
    code, _ = run("discard", group.id, "--reason", "hostile", "--yes")
    assert code == 0
    _, output = run("ls", group.id, "--json")
    assert json.loads(output)["open"] == 0


def test_replay_refuses_what_consumer_refused(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path, run: Callable[..., tuple[int, str]]
) -> None:
    group = Group(kafka, topic(partitions=1))
    publish(group.settings.brokers, group.topic, [1], hostile=[1])
    asyncio.run(group.run_until_committed(1))
    code, output = run("replay", write_handler(group, tmp_path))
    assert code == 1
    assert "1 failed again" in output
    _, output = run("show", group.id, f"{group.topic}[0]@0", "--payload")
    assert "headers: a name is not UTF-8" in output
    assert "(unreadable: a name is not UTF-8)" in output
    assert '"id":"e1"' in output


async def test_parking_starts_over_unreadable_letters(hostile_letters: Group) -> None:
    group = hostile_letters
    publish(group.settings.brokers, group.topic, [2, 9])
    await group.run_until_committed(2)
    assert group.handled == Counter({"e2": 1})
    assert [letter.facts.error for letter in group.letters() if letter.facts.event_id == "e9"] == ["parked"]
