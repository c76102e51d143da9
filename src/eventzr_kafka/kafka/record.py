"""A record that was read, and a record to be written.

Both are named tuples: the consumer makes one per message, and a tuple costs a third of a frozen dataclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "UNREADABLE_HEADERS",
    "Header",
    "OutgoingRecord",
    "Record",
    "TopicPartition",
    "UnreadableHeaders",
    "describe_offsets",
    "describe_partitions",
]

Header: TypeAlias = tuple[str, bytes | None]


class UnreadableHeaders(tuple[Header, ...]):
    """Stands for headers that the client cannot read, because a header name is not UTF-8; it is empty."""

    __slots__ = ()


UNREADABLE_HEADERS: Final = UnreadableHeaders()


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


def describe_partitions(partitions: Iterable[TopicPartition]) -> str:
    """Return ``topic[0-3,5]`` for each topic, for one log line; ``nothing more`` if there are none."""
    numbers: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        numbers.setdefault(topic, []).append(partition)
    return ", ".join(f"{topic}[{_format_ranges(found)}]" for topic, found in numbers.items()) or "nothing more"


def describe_offsets(partition: TopicPartition, offsets: Iterable[int]) -> str:
    """Return ``topic[partition]@3-5,9``, for one log line."""
    return f"{partition.topic}[{partition.partition}]@{_format_ranges(sorted(offsets))}"


def _format_ranges(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


class Record(NamedTuple):
    """A record as the broker delivered it.

    Attributes:
        timestamp: Milliseconds since the Unix epoch; -1 if the broker keeps none.
        headers: In the order of the record; a name may occur twice. `UNREADABLE_HEADERS` if the client cannot read
            them.
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
    """A record to be produced. ``value=None`` is a tombstone, ``b""`` is not; only a dead letter may have no key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
