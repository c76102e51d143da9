"""What Kafka holds: a record that was read, and a record to be written.

Both are named tuples: the consumer makes one per message, and a tuple costs a third of a frozen dataclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Header", "OutgoingRecord", "Record", "TopicPartition"]

Header: TypeAlias = tuple[str, bytes | None]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """A record as the broker delivered it.

    Attributes:
        timestamp: Milliseconds since the Unix epoch, -1 where the broker keeps none.
        headers: In the order of the record; a name may stand there twice.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    timestamp: int = -1

    @property
    def position(self) -> str:
        """``topic[partition]@offset``, as every log line and error writes it."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


class OutgoingRecord(NamedTuple):
    """A record to be produced. ``value=None`` is a tombstone, ``b""`` is not."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Sequence[Header]
