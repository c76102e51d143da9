"""The port to topics of a cluster. Its methods block; each asks the broker once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from eventzr_kafka.topics import Change, TopicState

__all__ = ["TopicAccess", "TopicAdmin"]


@dataclass(frozen=True, slots=True)
class TopicAccess:
    """What this login may do with a topic.

    Attributes:
        fault: Why the topic cannot be used at all, such as that it does not exist; None if it can.
        operations: Such as ``READ``; None where the broker does not say.
    """

    fault: str | None
    operations: frozenset[str] | None


class TopicAdmin(Protocol):
    """Looks at topics and changes them; no method of it deletes."""

    def brokers(self) -> list[str]:
        """Addresses of the brokers, as the cluster itself names them; errors as `topics`."""
        ...

    def topics(self) -> Mapping[str, TopicState]:
        """Every topic of the cluster but Kafka's own.

        Raises:
            AdminError: The broker does not answer, or refuses.
            AuthenticationError: The login does not work.
        """
        ...

    def access(self, names: Collection[str]) -> Mapping[str, TopicAccess]:
        """What this login may do with these topics; errors as `topics`."""
        ...

    def apply(self, change: Change) -> None:
        """Take one step of a plan; errors as `topics`."""
        ...
