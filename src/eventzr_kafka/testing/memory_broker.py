"""`MemoryBroker`: Kafka inside one process, for tests.

::

    broker = MemoryBroker(seed=1)
    broker.create_topics("eventzr.marketplace.listing.created.v1")
    runner = ConsumerRunner(handler, clients=broker)
    producer = EventProducer(source="test", transport=broker.producer)

It has partitions, consumer groups, rebalances, commits, retention and failures. It behaves the same each time: every
choice comes from the seed. On the loop of `run_virtual` minutes pass in milliseconds; on other loops time is real.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import count

from eventzr_kafka.errors import ConfigurationError
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.record import Header, OutgoingRecord, Record, TopicPartition
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.testing._memory_cluster import (
    BrokerFact,
    Cluster,
    DeliveryFault,
    Injection,
    MemoryBrokerOptions,
    Topic,
)
from eventzr_kafka.testing._memory_consumer import MemoryConsumer
from eventzr_kafka.testing._memory_group import Group
from eventzr_kafka.testing._memory_log import PartitionLog
from eventzr_kafka.testing._memory_log_reader import MemoryLogReader
from eventzr_kafka.testing._memory_producer import MemoryProducer

__all__ = ["MemoryBroker"]

_MAX_MESSAGE_BYTES = 1_048_588  # max.message.bytes of a Kafka topic
_ALWAYS = 2**63


class MemoryBroker:
    """A Kafka cluster in memory. A topic exists only once `create_topics` has made it."""

    def __init__(self, *, seed: int | random.Random = 0, options: MemoryBrokerOptions | None = None) -> None:
        """Make an empty cluster that runs.

        Args:
            seed: Decides every choice; the same seed makes the same choices.
            options: Its delays and limits; without options there are no delays.
        """
        chance = random.Random(seed) if isinstance(seed, int) else seed  # noqa: S311 -- to be repeated
        self._cluster = Cluster(chance, options or MemoryBrokerOptions())
        self._groups: dict[str, Group] = {}
        self._numbers = count(1)
        self._consumers: list[MemoryConsumer] = []

    # Clients

    def consumer(
        self, group_id: str, options: ConsumerOptions | None = None, _settings: KafkaSettings | None = None
    ) -> MemoryConsumer:
        """Make a member of a group, as ``ConsumerRunner(handler, clients=broker)`` does."""
        name = f"{group_id}-{next(self._numbers)}"
        consumer = MemoryConsumer(self._cluster, self._group(group_id), name, options or ConsumerOptions())
        self._consumers.append(consumer)
        return consumer

    def producer(self, _settings: KafkaSettings | None = None) -> MemoryProducer:
        """Make a producer; ``EventProducer(transport=broker.producer)``."""
        return MemoryProducer(self._cluster)

    def log_reader(self, _group_id: str = "", _settings: KafkaSettings | None = None) -> MemoryLogReader:
        """Make a reader of a whole topic, as ``ConsumerRunner(handler, clients=broker)`` does."""
        return MemoryLogReader(self._cluster)

    # Topics and records

    def create_topics(self, *names: str, partitions: int = 4, max_message_bytes: int = _MAX_MESSAGE_BYTES) -> None:
        """Create topics; groups that wait for one are rebalanced.

        Args:
            partitions: The number of partitions of each.
            max_message_bytes: Size of a record above which the broker refuses it.

        Raises:
            ConfigurationError: A topic exists already.
        """
        with self._cluster.lock:
            for name in names:
                if name in self._cluster.topics:
                    raise ConfigurationError(f"topic {name!r} exists already")
                logs = [PartitionLog(TopicPartition(name, number)) for number in range(partitions)]
                self._cluster.topics[name] = Topic(logs, max_message_bytes)
                self._cluster.note("created", name, partitions)
            for group in self._groups.values():
                group.topics_created(names)

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        partition: int | None = None,
        gap: int = 0,
    ) -> Record:
        """Put a record into the log without a producer, such as one that the SDK would not write.

        Args:
            partition: If left out, the key decides, or chance for a record without a key.
            gap: Offsets to leave out before it, as compaction and transactions do.
        """
        self._require_topic(topic)
        with self._cluster.lock:
            number = self._cluster.choose_partition(topic, key) if partition is None else partition
            return self._cluster.append(TopicPartition(topic, number), key, value, headers, gap=gap)

    def use_up_offsets(self, topic: str, partition: int, count: int = 1) -> None:
        """Use up the next offsets of a partition without a record, as the markers of transactions do."""
        with self._cluster.lock:
            self._logs(topic)[partition].end += count
            self._cluster.note("used up", topic, partition, count)
            for client in self._cluster.clients:
                client.wake()

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before an offset, as retention does; a group behind it goes on at the earliest record."""
        with self._cluster.lock:
            self._logs(topic)[partition].delete_before(before)
            self._cluster.note("deleted", topic, partition, before)

    def compact(self, topic: str) -> None:
        """Keep only the last record of each key, as compaction does."""
        with self._cluster.lock:
            for log in self._logs(topic):
                log.compact()
            self._cluster.note("compacted", topic)

    def recreate_topic(self, topic: str) -> None:
        """Delete a topic and create it anew, empty: offsets begin at 0 again, and commits are forgotten."""
        with self._cluster.lock:
            old = self._logs(topic)
            self._cluster.topics[topic].partitions = [PartitionLog(log.partition) for log in old]
            for group in self._groups.values():
                for log in old:
                    group.committed.pop(log.partition, None)
            self._cluster.note("recreated", topic)
            for client in self._cluster.clients:
                client.wake()

    # The state

    @property
    def topics(self) -> list[str]:
        """Names of all topics, in the order in which they were created."""
        return list(self._cluster.topics)

    def records(self, topic: str, partition: int | None = None) -> list[Record]:
        """Records of a topic, by partition and offset."""
        logs = self._logs(topic)
        return [record for log in (logs if partition is None else [logs[partition]]) for record in log.records]

    def committed(self, group_id: str, topic: str) -> dict[int, int]:
        """The group's committed offset of each partition that has one."""
        found = self._group(group_id).committed
        return {p.partition: offset for p, (offset, _) in sorted(found.items()) if p.topic == topic}

    def metadata(self, group_id: str, topic: str, partition: int) -> str:
        """The metadata of the group's commit."""
        return self._group(group_id).committed.get(TopicPartition(topic, partition), (0, ""))[1]

    def lag(self, group_id: str, topic: str) -> int:
        """Records of a topic that the group has not committed."""
        committed = self.committed(group_id, topic)
        return sum(record.offset >= committed.get(record.partition, 0) for record in self.records(topic))

    def members(self, group_id: str) -> list[MemoryConsumer]:
        """The members that the group knows, in the order in which they joined."""
        by_id = {consumer.member_id: consumer for consumer in self._consumers}
        return [by_id[member_id] for member_id in self._group(group_id).members if member_id in by_id]

    def assignment(self, group_id: str) -> dict[str, list[TopicPartition]]:
        """The partitions of each member, by member id."""
        group = self._group(group_id)
        return {member_id: group.owned_by(member_id) for member_id in group.members}

    @property
    def history(self) -> list[BrokerFact]:
        """The facts so far: seconds, a verb, and its objects; the same for the same seed on a virtual clock."""
        return self._cluster.history

    # Faults

    def crash(self, member: MemoryConsumer) -> None:
        """End a member as a killed process ends; the group notices when its session times out."""
        with self._cluster.lock:
            member.crash()

    def isolate(self, member: MemoryConsumer) -> None:
        """Cut a member off from the brokers; it runs on, and loses its partitions when its session times out."""
        with self._cluster.lock:
            member.isolate()

    def heal(self, member: MemoryConsumer) -> None:
        """Connect a member again; if it has been expelled, it joins anew."""
        with self._cluster.lock:
            member.heal()

    def fail(self, member: MemoryConsumer, reason: str) -> None:
        """Make a member's client give up, as one without authorization does."""
        member.fail(reason)

    def inject(
        self,
        fault: DeliveryFault,
        *,
        topic: str | None = None,
        where: Callable[[OutgoingRecord], bool] | None = None,
        times: int | None = 1,
    ) -> None:
        """Inject a fault into records that are produced from now on.

        Args:
            topic: Only records of this topic; of all topics if left out.
            where: Only records for which it returns True; all if left out.
            times: The number of records; None for all.
        """

        def fits(record: OutgoingRecord) -> bool:
            return topic in (None, record.topic) and (where is None or where(record))

        with self._cluster.lock:
            self._cluster.injections.append(Injection(fault, fits, _ALWAYS if times is None else times))

    def stop(self) -> None:
        """Take the brokers down; the records and commits stay."""
        self._switch(running=False)

    def start(self) -> None:
        """Bring the brokers up again."""
        self._switch(running=True)

    @property
    def running(self) -> bool:
        """True while the brokers answer."""
        return self._cluster.running

    def _switch(self, *, running: bool) -> None:
        with self._cluster.lock:
            self._cluster.running = running
            self._cluster.note("brokers", "up" if running else "down")
            for client in list(self._cluster.clients):
                client.cluster_changed()

    def _group(self, group_id: str) -> Group:
        with self._cluster.lock:
            return self._groups.setdefault(group_id, Group(self._cluster, group_id))

    def _logs(self, topic: str) -> list[PartitionLog]:
        self._require_topic(topic)
        return self._cluster.topics[topic].partitions

    def _require_topic(self, topic: str) -> None:
        if topic not in self._cluster.topics:
            raise ConfigurationError(f"topic {topic!r} does not exist; create it with create_topics")
