"""A long backlog: the memory of a consumer stays within 150 MiB of what it takes when there is nothing to do."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from confluent_kafka import Producer
from tests.torture.conftest import Finding

from eventzr_kafka import CloudEvent
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.testing.kafka_server import KafkaServer, start_kafka
from eventzr_marketplace_events import ListingCreated, example

pytestmark = pytest.mark.torture

MEMBER = Path(__file__).with_name("slow_member.py")
TOPIC = ListingCreated.__topic__ or ""
MUCH = 1_000  # events: the member did its work
SETTLE = 2.0  # seconds until an idle member is at rest
ALLOWED = 150  # MiB above the idle figure


@dataclass(frozen=True)
class Backlog:
    """What waits, and what it meets.

    Attributes:
        tenants: Of few tenants, more must be read before all handlers have something to do.
        title: Characters of each listing's title; 0 is the example's own.
        handler: Seconds that each handler waits.
        run: Seconds that the member runs.
    """

    name: str
    events: int
    title: int
    handler: float
    run: float
    tenants: int = 1000

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Tenants and values."""
        listing = example(ListingCreated)
        listing = listing.model_copy(update={"title": "x" * self.title}) if self.title else listing
        values = [_value(listing, tenant) for tenant in range(self.tenants)]
        for number in range(self.events):
            yield values[number % self.tenants]


def _value(listing: ListingCreated, tenant: int) -> tuple[str, bytes]:
    name = str(UUID(int=tenant))
    event = CloudEvent[ListingCreated](
        id=f"event-{tenant}", source="marketplace-svc", type=TOPIC, tenantid=name, data=listing
    )
    return name, event.to_json().encode()


BACKLOGS = [
    Backlog("1,000,000 events, handlers of 50 ms", 1_000_000, title=0, handler=0.05, run=60),
    Backlog("1,000,000 events of 6 tenants, handlers of 50 ms", 1_000_000, title=0, handler=0.05, run=60, tenants=6),
    Backlog("20,000 events of 100 kB, handlers of 500 ms", 20_000, title=100_000, handler=0.5, run=60),
    Backlog("1,000,000 events, handlers that do nothing", 1_000_000, title=0, handler=0, run=60),
]


class Member:
    """The consumer's process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def memory(self, name: str) -> float:
        """``VmRSS`` or ``VmHWM`` (the highest so far) in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def ready(self) -> None:
        """Wait for its first event."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def end(self) -> int:
        """Send it away; returns how many events it has handled."""
        self._process.send_signal(signal.SIGTERM)
        output, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        return int(output)


@contextlib.contextmanager
def member(kafka: KafkaServer, seconds: float) -> Generator[Member]:
    """A member of a new group, which begins at the first event."""
    arguments = [kafka.bootstrap_servers, f"memory-{time.time_ns()}", str(seconds)]
    with subprocess.Popen([sys.executable, str(MEMBER), *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Member(process)
        finally:
            process.kill()


@pytest.fixture
def lone_kafka(kafka: KafkaServer) -> Iterator[KafkaServer]:
    """A broker whose topics nobody else has filled."""
    assert kafka.running
    with start_kafka() as server:
        server.create_topic(TOPIC, partitions=6)
        yield server


def publish(kafka: KafkaServer, records: Iterable[tuple[str, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 20})
    for key, value in records:
        while not _queued(producer, key, value):
            producer.poll(0.05)
    assert producer.flush(60) == 0


def _queued(producer: Producer, key: str, value: bytes) -> bool:
    try:
        producer.produce(TOPIC, key=key, value=value, headers=list(STRUCTURED_HEADERS))
    except BufferError:
        return False
    return True


def idle_memory(kafka: KafkaServer) -> float:
    with member(kafka, 0) as process:
        process.ready()
        time.sleep(SETTLE)
        return process.memory("VmRSS")


@pytest.mark.parametrize("backlog", BACKLOGS, ids=lambda backlog: backlog.name)
def test_backlog_takes_150_mib_at_most(lone_kafka: KafkaServer, backlog: Backlog, finding: Finding) -> None:
    records = backlog.records()
    publish(lone_kafka, [next(records)])
    idle = idle_memory(lone_kafka)
    publish(lone_kafka, records)
    with member(lone_kafka, backlog.handler) as process:
        process.ready()
        time.sleep(backlog.run)
        highest = process.memory("VmHWM")
        handled = process.end()
    more = highest - idle
    assert more <= ALLOWED
    assert handled > MUCH
    assert handled < backlog.events or not backlog.handler  # else it was no backlog
    seen = f"{idle:.0f} MiB idle, {more:.0f} more at most; {handled:,} handled in {backlog.run:.0f} s"
    finding(f"memory: {backlog.name}", seen)
