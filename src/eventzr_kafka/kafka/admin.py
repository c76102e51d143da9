"""The port to the topics and groups of a cluster. Its methods block."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from eventzr_kafka.kafka.topics import Change, TopicState

__all__ = ["Access", "TopicAdmin"]


@dataclass(frozen=True, slots=True)
class Access:
    """What this login may do with a topic or a consumer group.

    Attributes:
        fault: Why it cannot be used at all, such as that it does not exist; None if it can.
        operations: Such as ``READ``; None where the broker does not say.
    """

    fault: str | None
    operations: frozenset[str] | None


class TopicAdmin(Protocol):
    """Looks at topics and changes them; no method of it deletes."""

    def brokers(self) -> list[str]:
        """Addresses of the brokers, as the cluster itself names them; errors as `topics`."""
        ...

    def partitions(self) -> Mapping[str, int]:
        """How many partitions each topic has that this login sees, but for Kafka's own; errors as `topics`."""
        ...

    def topics(self, names: Collection[str]) -> Mapping[str, TopicState]:
        """Those of these topics that are there; one that may not be described says so.

        Raises:
            AdminError: The broker does not answer, or refuses.
            AuthenticationError: The login does not work.
        """
        ...

    def topic_access(self, names: Collection[str]) -> Mapping[str, Access]:
        """What this login may do with these topics; errors as `topics`."""
        ...

    def group_access(self, names: Collection[str]) -> Mapping[str, Access]:
        """What this login may do with these consumer groups, which need not exist; errors as `topics`."""
        ...

    def apply(self, change: Change) -> None:
        """Take one step of a plan; errors as `topics`."""
        ...
