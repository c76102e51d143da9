"""The state that the members and producers of a `MemoryBroker` share: topics, chance, and the history.

1. One `random.Random` makes every choice; no code iterates over a set of strings, whose order is not repeatable.
2. The state is read and changed only under `lock`: producers may run in other threads.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from eventzr_kafka.clock import SYSTEM_CLOCK
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

_EPOCH = 1_767_225_600.0  # begin of virtual time: 2026-01-01T00:00:00Z
_DIGITS = 6  # of a second, in the history
NOTHING: Range = (0.0, 0.0)
AT_ONCE: Range = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBrokerOptions:
    """The behaviour of a `MemoryBroker`. A range is in seconds; chance chooses a value in it each time.

    Attributes:
        batch: Least and most records in one batch of a member.
        fetch_delay: From the append of a record until a member fetches it.
        append_delay: From `produce` until the record is in the log.
        acknowledgement_delay: From the append until the producer receives the report.
        rebalance_delay: From a member's joining or leaving until the group rebalances.
        commit_interval: Between two commits of a member; (0, 0) commits stored positions at once.
        session_timeout: Seconds without a connection after which a member is expelled.
        lost_delay: From there until the member notices.
        delivery_timeout: Seconds until a producer gives a record up.
        retry_backoff: Seconds between two tries of a producer.
        queue_size: Records that a producer queues before `produce` returns False.
        max_metadata_bytes: Limit of a commit's metadata; members shorten longer ones, as real clients do.
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
    """A fault of a record that is produced.

    Attributes:
        failure: Reported in place of an acknowledgement.
        arrives: True if the record is in the log although a failure is reported.
        retries: Number of refusals before the broker takes it; the client retries each by itself.
        late: Seconds by which the report is delayed.
        copies: Number of copies in the log; 2 is the result of a retry without idempotence.
        reports: Number of reports.
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
    """The partitions of a topic, and its largest allowed record."""

    partitions: list[PartitionLog]
    max_message_bytes: int


@dataclass(slots=True)
class Injection:
    """A fault for the next records that fit."""

    fault: DeliveryFault
    fits: Callable[[OutgoingRecord], bool]
    times: int


class Client(Protocol):
    """A member, a producer or a log reader, as the cluster sees it."""

    def wake(self) -> None:
        """Look for new records."""
        ...

    def cluster_changed(self) -> None:
        """React to brokers that went down or came up."""
        ...


class Cluster:
    """The shared state; see the module's rules.

    Attributes:
        running: True while the brokers answer.
        clients: The clients that were started and not closed.
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
        """Append a fact to the history, with its time."""
        self.history.append((round(now(), _DIGITS), *fact))

    def delay(self, between: Range) -> float:
        """Choose seconds in a range."""
        return self.chance.uniform(*between)

    def choose_partition(self, topic: str, key: bytes | None) -> int:
        """Choose a partition by the key's hash, or by chance if the key is missing."""
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
        """Append a record and wake the clients."""
        timestamp = int((now() + _EPOCH if virtual_loop() is not None else SYSTEM_CLOCK.wall()) * 1000)
        record = self.log_of(partition).append(key, value, headers, timestamp=timestamp, gap=gap)
        self.note("appended", *partition, record.offset)
        for client in self.clients:
            client.wake()
        return record

    def fault_of(self, record: OutgoingRecord) -> DeliveryFault:
        """Take the next injected fault that fits the record."""
        for injection in self.injections:
            if injection.times and injection.fits(record):
                injection.times -= 1
                return injection.fault
        return _NO_FAULT


def now() -> float:
    """Seconds of the virtual clock if one runs, else of the machine's."""
    loop = virtual_loop()
    return loop.time() if loop is not None else SYSTEM_CLOCK.monotonic()


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    """Call a function on an event loop, from any thread; does nothing if the loop is closed."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *args)
