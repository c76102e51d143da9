"""100,000 events, three members, one of them killed or sent away every other second: nothing is lost, order holds."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.torture.conftest import Finding

from eventzr_kafka import CloudEvent, EventProducer, KafkaSettings
from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.torture

EVENTS, TENANTS, PARTITIONS, MEMBERS = 100_000, 1_000, 6, 3
SECONDS = 180
MEMBER = Path(__file__).with_name("member.py")


class Members:
    """Member processes, each with a journal of its own."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._folder = folder
        self._arguments = arguments
        self.running: list[subprocess.Popen[bytes]] = []
        self.started = 0

    def start(self) -> None:
        journal = self._folder / f"{self.started}.journal"
        self.started += 1
        self.running.append(subprocess.Popen([sys.executable, str(MEMBER), *self._arguments, str(journal)]))

    def end_one(self, how: signal.Signals) -> None:
        member = self.running.pop(random.randrange(len(self.running)))  # noqa: S311
        member.send_signal(how)
        member.wait(timeout=60)

    def end_all(self) -> None:
        while self.running:
            self.end_one(signal.SIGTERM)

    def journals(self) -> list[list[list[str]]]:
        paths = sorted(self._folder.glob("*.journal"))
        return [[line.split() for line in path.read_text().splitlines()] for path in paths]


@pytest.fixture
def members(kafka: KafkaServer, topic: Callable[..., str], tmp_path: Path) -> Generator[tuple[Members, str]]:
    name = topic(partitions=PARTITIONS)
    found = Members(tmp_path, [kafka.bootstrap_servers, name, f"torture-{name}"])
    yield found, name
    for member in found.running:
        member.kill()


def handled(journals: list[list[list[str]]]) -> Counter[int]:
    return Counter(int(line[2]) for journal in journals for line in journal if line[0] == "H")


def out_of_order(journals: list[list[list[str]]]) -> list[list[str]]:
    """Lines with an offset not above the tenant's last in an epoch of the partition, and the recorder's faults."""
    wrong: list[list[str]] = []
    for journal in journals:
        last: dict[str, dict[str, int]] = defaultdict(dict)  # partition → tenant → offset
        for line in journal:
            if line[0] == "A":
                for partition in line[1:]:
                    last[partition].clear()
            elif line[0] == "F" or int(line[4]) <= last[line[3]].get(line[1], -1):
                wrong.append(line)
            else:
                last[line[3]][line[1]] = int(line[4])
    return wrong


def publish(producer: EventProducer, topic: str, first: int, count: int) -> None:
    for number in range(first, first + count):
        event: CloudEvent[Any] = CloudEvent(
            id=str(number), source="torture", type=topic, tenantid=f"t{number % TENANTS}", data={"n": number}
        )
        producer.enqueue(event)


def test_dying_members_keep_the_order(kafka: KafkaServer, members: tuple[Members, str], finding: Finding) -> None:
    group, topic = members
    for _ in range(MEMBERS):
        group.start()
    ends: Counter[str] = Counter()
    with EventProducer(settings=KafkaSettings(brokers=kafka.bootstrap_servers)) as producer:
        for turn in range(20):
            publish(producer, topic, turn * EVENTS // 20, EVENTS // 20)
            time.sleep(1.5)
            if turn % 2:
                how = signal.SIGTERM if turn % 6 == 5 else signal.SIGKILL
                group.end_one(how)
                ends[how.name] += 1
                group.start()
    deadline = time.monotonic() + SECONDS
    while len(handled(group.journals())) < EVENTS and time.monotonic() < deadline:
        time.sleep(0.5)
    group.end_all()
    journals = group.journals()
    counts = handled(journals)
    again = sum(counts.values()) - len(counts)
    assert len(counts) == EVENTS
    assert out_of_order(journals) == []
    assert again < EVENTS // 4  # what was finished and not committed when a member was killed, a second's work each
    ended = ", ".join(f"{count} {name}" for name, count in sorted(ends.items()))
    finding(f"{EVENTS:,} events, {MEMBERS} members, {ended}", f"none lost, order kept, {again:,} handled again")
