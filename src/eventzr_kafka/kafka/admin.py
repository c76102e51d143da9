"""The Protocol for the topics and groups of a cluster. Its methods block."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from eventzr_kafka.kafka.topics import Change, TopicState

__all__ = ["Access", "TopicAdmin"]


@dataclass(frozen=True, slots=True)
class Access:
    """The rights of this login on a topic or a consumer group.

    Attributes:
        fault: The reason why it cannot be used at all, for example that it does not exist; None if it can.
        operations: For example ``READ``; None if the broker does not list them.
    """

    fault: str | None
    operations: frozenset[str] | None


class TopicAdmin(Protocol):
    """Reads and changes topics; it cannot delete anything."""

    def brokers(self) -> list[str]:
        """Return the addresses of the brokers, as the cluster names them; errors as `topics`."""
        ...

    def partitions(self) -> Mapping[str, int]:
        """Return the partitions of each topic that this login sees, without internal topics; errors as `topics`."""
        ...

    def topics(self, names: Collection[str]) -> Mapping[str, TopicState]:
        """Return those of these topics that exist; the state of a topic that may not be described has a fault.

        Raises:
            AdminError: The broker does not answer, or refuses.
            AuthenticationError: The broker refuses the login, or a token cannot be made.
        """
        ...

    def topic_access(self, names: Collection[str]) -> Mapping[str, Access]:
        """Return the rights of this login on these topics; errors as `topics`."""
        ...

    def group_access(self, names: Collection[str]) -> Mapping[str, Access]:
        """Return the rights of this login on these consumer groups, which need not exist; errors as `topics`."""
        ...

    def apply(self, change: Change) -> None:
        """Carry out one step of a plan; errors as `topics`."""
        ...
