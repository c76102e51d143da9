"""The embedded cluster: librdkafka's own mock brokers, over real sockets, with nothing to install.

It supports producers, consumers, groups and transactions. It does not support CreateTopics and access control, and it
loses everything when it ends. It begins with the topics of all events declared so far, with 4 partitions each;
`create_topics` adds others.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from confluent_kafka import Producer

from eventzr_kafka.events.event_data import declared_events

__all__ = ["EmbeddedBroker", "embedded_broker"]


class EmbeddedBroker:
    """A running embedded cluster; a context manager.

    Attributes:
        bootstrap_servers: ``host:port`` pairs for ``KAFKA_BROKERS``, reachable from other processes on this machine.
    """

    def __init__(self, *, brokers: int = 1) -> None:
        """Start it.

        Args:
            brokers: Mock brokers in the cluster.
        """
        self._owner: Producer | None = Producer(
            {"bootstrap.servers": "embedded", "test.mock.num.brokers": brokers, "log_level": 0}
        )
        metadata = self._owner.list_topics(timeout=10)
        self.create_topics(*declared_events())
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())

    def create_topics(self, *names: str) -> None:
        """Create topics before their first use, so that a consumer is assigned partitions at once."""
        for name in names:
            if self._owner is not None:
                self._owner.list_topics(name, timeout=10)

    def close(self) -> None:
        """End the cluster; its records are lost."""
        self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def embedded_broker(*, brokers: int = 1) -> EmbeddedBroker:
    """Start an embedded cluster for a demo, a test or development; use it in a ``with`` block.

    Args:
        brokers: Mock brokers in the cluster.
    """
    return EmbeddedBroker(brokers=brokers)
