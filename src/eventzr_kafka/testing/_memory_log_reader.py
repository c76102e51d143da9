"""A `LogReader` on a `MemoryBroker`: it reads a topic from its beginning, and follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eventzr_kafka.kafka.record import Record, TopicPartition
from eventzr_kafka.testing._memory_cluster import Cluster, on_loop

__all__ = ["MemoryLogReader"]


class MemoryLogReader:
    """A `LogReader`; made by `MemoryBroker.log_reader`. It reads on the event loop on which `start` was called."""

    def __init__(self, cluster: Cluster) -> None:
        """Prepare; `start` begins to read."""
        self._cluster = cluster
        self._next: dict[int, int] = {}
        self._caught_up = False
        self._read_scheduled = False

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],  # noqa: ARG002 -- reading from memory does not fail
    ) -> None:
        """Begin to read."""
        self._loop = asyncio.get_running_loop()
        self._topic = topic
        self._on_records = on_records
        self._on_caught_up = on_caught_up
        with self._cluster.lock:
            self._cluster.clients.append(self)
            self.wake()

    async def close(self, timeout: float) -> bool:
        """Stop reading."""
        with self._cluster.lock:
            if self in self._cluster.clients:
                self._cluster.clients.remove(self)
        return timeout >= 0

    def wake(self) -> None:
        """Schedule a read; called under the cluster's lock."""
        if not self._read_scheduled:
            self._read_scheduled = True
            on_loop(self._loop, self._read_new)

    def cluster_changed(self) -> None:
        """Read on once the brokers are up."""
        self.wake()

    def _read_new(self) -> None:
        with self._cluster.lock:
            self._read_scheduled = False
            if not self._cluster.running or self not in self._cluster.clients:
                return
            found = [
                record
                for partition in self._cluster.partitions_of(self._topic)
                for record in self._read_partition(partition)
            ]
        if found:
            self._on_records(found)
        if not self._caught_up:
            self._caught_up = True
            self._on_caught_up()

    def _read_partition(self, partition: TopicPartition) -> Sequence[Record]:
        log = self._cluster.log_of(partition)
        known = self._next.get(partition.partition, 0)
        records = [record for record in log.records if record.offset >= known]
        if records:
            self._next[partition.partition] = records[-1].offset + 1
        return records
