"""What the members and producers of a `MemoryBroker` share: topics, chance, and what has happened.

1. Every choice is made by one `random.Random`; nothing iterates over a set of strings.
2. Everything here is touched under `lock` alone: producers may live in other threads.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from eventzr_kafka.kafka.record import Header, OutgoingRecord, Record, TopicPartition
from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.testing._memory_log import PartitionLog
from eventzr_kafka.testing._partitioner import partition_of
from eventzr_kafka.testing.virtual_time import virtual_loop

__all__ = [
    "AT_ONCE",
    "BrokerFact",
    "Client",
    "Cluster",
    "DeliveryFault",
    "Injection",
    "MemoryBrokerOptions",
    "Range",
    "Topic",
    "now",
    "on_loop",
]

Range: TypeAlias = tuple[float, float]
BrokerFact: TypeAlias = tuple[object, ...]

_EPOCH = 1_767_225_600.0  # where virtual time begins: 2026-01-01T00:00:00Z
_DIGITS = 6  # of a second, in the history
NOTHING: Range = (0.0, 0.0)
AT_ONCE: Range = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBrokerOptions:
    """How a `MemoryBroker` behaves. Ranges are seconds between which chance chooses each time.

    Attributes:
        batch: Records that a member gets at once, between these two numbers.
        fetch_delay: Until a member sees what it may fetch.
        append_delay: Until a record that was produced is in the log.
        acknowledgement_delay: From there until the producer hears of it.
        rebalance_delay: Until a group takes note of a member that comes or goes.
        commit_interval: Between two commits of a member; (0, 0) commits what is stored at once.
        session_timeout: Seconds without a sign of life after which a member is expelled.
        lost_delay: From there until the member notices.
        delivery_timeout: Seconds that a producer tries.
        retry_backoff: Seconds between two tries of a producer.
        queue_size: Records that a producer takes before its queue is full.
        max_metadata_bytes: Of a commit; members shorten what is longer, as they do for a broker that refuses it.
    """

    batch: tuple[int, int] = (2000, 2000)
    fetch_delay: Range = NOTHING
    append_delay: Range = NOTHING
    acknowledgement_delay: Range = NOTHING
    rebalance_delay: Range = NOTHING
    commit_interval: Range = (1.0, 1.0)
    session_timeout: float = 45.0
    lost_delay: Range = NOTHING
    delivery_timeout: float = 120.0
    retry_backoff: float = 0.1
    queue_size: int = 100_000
    max_metadata_bytes: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFault:
    """What goes wrong with a record that is produced.

    Attributes:
        failure: What is reported in place of an acknowledgement.
        arrives: Whether the record is in the log although a failure is reported.
        retries: How often the broker refuses it first with an error that the client bears and tries again.
        late: Seconds by which the report comes later.
        copies: How often it is in the log; 2 is what a retry without idempotence leaves.
        reports: How often it is reported.
    """

    failure: DeliveryFailure | None = None
    arrives: bool = False
    retries: int = 0
    late: float = 0.0
    copies: int = 1
    reports: int = 1


_NO_FAULT = DeliveryFault()


@dataclass(slots=True)
class Topic:
    """Partitions, and what the topic's configuration allows."""

    partitions: list[PartitionLog]
    max_message_bytes: int


@dataclass(slots=True)
class Injection:
    """A fault for the records that fit, so many times."""

    fault: DeliveryFault
    fits: Callable[[OutgoingRecord], bool]
    times: int


class Client(Protocol):
    """A member or a producer that must hear of what happens to the cluster."""

    def wake(self) -> None:
        """There may be something to read."""
        ...

    def cluster_changed(self) -> None:
        """The brokers went down or came up."""
        ...


class Cluster:
    """Shared state; see the module's rules.

    Attributes:
        running: Whether the brokers answer.
        clients: All that were started and not closed.
    """

    def __init__(self, chance: random.Random, options: MemoryBrokerOptions) -> None:
        self.chance = chance
        self.options = options
        self.lock = threading.RLock()
        self.running = True
        self.topics: dict[str, Topic] = {}
        self.clients: list[Client] = []
        self.injections: list[Injection] = []
        self.history: list[BrokerFact] = []

    def note(self, *fact: object) -> None:
        """Write down what happened, and when."""
        self.history.append((round(now(), _DIGITS), *fact))

    def delay(self, between: Range) -> float:
        """Seconds chosen by chance."""
        return self.chance.uniform(*between)

    def choose_partition(self, topic: str, key: bytes | None) -> int:
        """By the key's hash, or by chance if there is no key."""
        count = len(self.topics[topic].partitions)
        return self.chance.randrange(count) if key is None else partition_of(key, count)

    def log_of(self, partition: TopicPartition) -> PartitionLog:
        """The log of a partition that exists."""
        return self.topics[partition.topic].partitions[partition.partition]

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic; none if it does not exist."""
        found = self.topics.get(topic)
        return [TopicPartition(topic, number) for number in range(len(found.partitions))] if found else []

    def append(
        self,
        partition: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        *,
        gap: int = 0,
    ) -> Record:
        """Append a record and wake whoever waits for it."""
        timestamp = int((now() + _EPOCH if virtual_loop() is not None else time.time()) * 1000)
        record = self.log_of(partition).append(key, value, headers, timestamp=timestamp, gap=gap)
        self.note("appended", *partition, record.offset)
        for client in self.clients:
            client.wake()
        return record

    def fault_of(self, record: OutgoingRecord) -> DeliveryFault:
        """The next injected fault that fits, used up by this."""
        for injection in self.injections:
            if injection.times and injection.fits(record):
                injection.times -= 1
                return injection.fault
        return _NO_FAULT


def now() -> float:
    """Seconds of the virtual clock where there is one, else of the machine's."""
    loop = virtual_loop()
    return loop.time() if loop is not None else time.monotonic()


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    """Have something called on an event loop, from any thread; nothing happens if it is closed."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *args)
