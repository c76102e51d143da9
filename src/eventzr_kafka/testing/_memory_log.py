"""The log of one partition: records in offset order, with gaps where records were deleted or never were."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter

from eventzr_kafka.kafka.record import Header, Record, TopicPartition

__all__ = ["PartitionLog"]

_offset = attrgetter("offset")


class PartitionLog:
    """Records of one partition.

    Attributes:
        start: The log start offset; records before it have been deleted.
        end: The offset of the next record.
    """

    def __init__(self, partition: TopicPartition) -> None:
        self.start = 0
        self.end = 0
        self.partition = partition
        self._records: list[Record] = []

    @property
    def records(self) -> list[Record]:
        """The records that can be read, in offset order."""
        return self._records.copy()

    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header], *, timestamp: int, gap: int = 0
    ) -> Record:
        """Append a record; `gap` offsets before it are used up, as by a transaction marker, which no consumer reads."""
        record = Record(*self.partition, self.end + gap, key, value, tuple(headers), timestamp)
        self._records.append(record)
        self.end = record.offset + 1
        return record

    def read(self, offset: int, count: int) -> list[Record]:
        """Read up to `count` records from an offset on."""
        first = bisect_left(self._records, offset, key=_offset)
        return self._records[first : first + count]

    def reset(self, offset: int | None) -> int:
        """The offset to read from: the given one, or the earliest if that is unknown or out of range."""
        return offset if offset is not None and self.start <= offset <= self.end else self.start

    def delete_before(self, offset: int) -> None:
        """Delete old records, as retention does."""
        self.start = max(self.start, min(offset, self.end))
        self._records = self.read(self.start, len(self._records))

    def compact(self) -> None:
        """Keep only the last record of each key, as compaction does; records without a key stay."""
        last = {record.key: record.offset for record in self._records}
        self._records = [record for record in self._records if record.key is None or last[record.key] == record.offset]
