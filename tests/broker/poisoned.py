"""Traffic of which some is poison, members that consume it, and what became of each record."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from tests.unit.malformed import DATA, MALFORMED, TENANT, TOPIC, Malformed, structured

from eventzr_kafka import KafkaSettings, Record
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.dead_letters.letter import Letter, dead_letter_topic, read_letter
from eventzr_kafka.errors import TenantMismatchError
from eventzr_kafka.kafka.record import Header
from eventzr_kafka.testing.kafka_server import KafkaServer

__all__ = ["LARGE", "PARTITIONS", "Members", "Outcomes", "Traffic", "members_of"]

SECONDS: Final = 60.0
TENANTS: Final = 100
PARTITIONS: Final = 6
LARGE: Final = {"max.message.bytes": str(4 * 1024 * 1024)}
MEMBER: Final = Path(__file__).parents[1] / "torture" / "poison_member.py"

Place: TypeAlias = tuple[int, int]  # partition and offset
Journal: TypeAlias = list[list[str]]


class Content(NamedTuple):
    """What must be in a dead letter, byte for byte."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


def _kind(case: Malformed) -> str:
    if case.reason == "Invalid JSON":
        return "undecodable"
    if case.error is TenantMismatchError and case.build().key is None:
        return "no key"
    return case.error.__name__


def _poison() -> list[Record]:
    """Every case that fits the topic, one kind after another."""
    kinds: dict[str, list[Record]] = defaultdict(list)
    for case in MALFORMED:
        record = case.build()
        if record.topic == TOPIC and len(record.value or b"") < 2 * 1024 * 1024:
            kinds[_kind(case)].append(record)
    assert len(kinds) == 8
    longest = max(map(len, kinds.values()))
    return [records[turn % len(records)] for turn in range(longest) for records in kinds.values()]


class Traffic:
    """Publishes events, 2 % of them poison, and keeps where each record went.

    The members fail twice at 3 % of the others.
    """

    def __init__(self, brokers: str, topic: str) -> None:
        self.events: dict[Place, int] = {}
        self.poison: dict[Place, Content] = {}
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "message.max.bytes": LARGE["max.message.bytes"],
                "enable.idempotence": True,
            }
        )
        self._kinds = cycle(_poison())

    def publish(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            if number % 50 == 7:
                self._put(number, next(self._kinds))
            else:
                self._put(number, structured({"id": str(number), "data": {**DATA, "id": str(number)}})())
        assert self._producer.flush(SECONDS) == 0

    def _put(self, number: int, record: Record) -> None:
        content = self._adapted(record, f"t{number % TENANTS}")

        def delivered(error: object, message: Message) -> None:
            assert error is None
            place = (message.partition() or 0, message.offset() or 0)
            if number % 50 == 7:
                self.poison[place] = content
            else:
                self.events[place] = number

        partition = number % TENANTS % PARTITIONS
        self._producer.produce(
            self._topic, content.value, content.key, partition, headers=list(content.headers), on_delivery=delivered
        )
        self._producer.poll(0)

    def _adapted(self, record: Record, tenant: str) -> Content:
        """The same for this topic and a tenant."""

        def adapt(text: bytes | None) -> bytes | None:
            found = None if text is None else text.replace(TOPIC.encode(), self._topic.encode())
            return None if found is None else found.replace(TENANT.encode(), tenant.encode())

        headers = tuple((name, adapt(text)) for name, text in record.headers)
        return Content(adapt(record.key), adapt(record.value), headers)


@dataclass(frozen=True)
class Outcomes:
    """What became of each record: how often its effect was seen, and its dead letters.

    Attributes:
        effects: How often a handler ended well.
        letters: As read from the dead-letter topic, the first of each record.
        again: Dead letters that were written once more.
    """

    effects: Counter[Place]
    letters: dict[Place, Letter]
    again: int

    def contents(self) -> dict[Place, Content]:
        """The dead letters, as they must equal the poison."""
        return {place: _content(letter.record) for place, letter in self.letters.items()}


def _content(record: Record) -> Content:
    return Content(record.key, record.value, tuple(record.headers))


class Members:
    """Member processes of one group, each with a journal of its own."""

    def __init__(self, kafka: KafkaServer, topic: str, folder: Path) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        self.group = f"group-{topic}"
        self._brokers = kafka.bootstrap_servers
        self._topic = topic
        self._folder = folder
        self._started = 0

    def start(self) -> None:
        journal = self._folder / f"{self._started}.journal"
        self._started += 1
        command = [sys.executable, str(MEMBER), self._brokers, self._topic, self.group, str(journal)]
        with journal.with_suffix(".log").open("wb") as log:
            self.running.append(subprocess.Popen(command, stderr=log))

    def end_one(self, how: signal.Signals) -> None:
        member = self.running.pop(0)
        member.send_signal(how)
        member.wait(timeout=SECONDS)

    def end_all(self) -> None:
        while self.running:
            self.end_one(signal.SIGTERM)

    def journals(self) -> list[Journal]:
        paths = sorted(self._folder.glob("*.journal"))
        return [[line.split() for line in path.read_text().splitlines()] for path in paths]

    def effects(self) -> Counter[Place]:
        lines = (line for journal in self.journals() for line in journal if line[0] == "H")
        return Counter((int(line[3]), int(line[4])) for line in lines)

    def outcomes(self) -> Outcomes:
        settings = KafkaSettings(brokers=self._brokers)
        batches = ConfluentLogReader(settings, self.group).read(dead_letter_topic(self.group)) or ()
        found = [letter for records in batches for letter in map(read_letter, records) if letter is not None]
        letters: dict[Place, Letter] = {}
        for letter in found:
            letters.setdefault(letter.origin[1:], letter)
        return Outcomes(self.effects(), letters, len(found) - len(letters))

    def await_commits(self) -> None:
        """Wait until everything that is in the topic has been committed."""
        client = Consumer({"bootstrap.servers": self._brokers, "group.id": self.group})
        parts = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        ends = [client.get_watermark_offsets(part, SECONDS)[1] for part in parts]
        deadline = time.monotonic() + SECONDS
        while (committed := [part.offset for part in client.committed(parts, SECONDS)]) != ends:
            assert time.monotonic() < deadline, f"committed {committed} of {ends}"
            time.sleep(0.2)
        client.close()


@contextmanager
def members_of(kafka: KafkaServer, topic: str, folder: Path) -> Generator[Members]:
    """Members of a new group, none of which outlives the block."""
    found = Members(kafka, topic, folder)
    kafka.create_topic(dead_letter_topic(found.group), configs=LARGE)
    try:
        yield found
    finally:
        for member in found.running:
            member.kill()
            member.wait()
