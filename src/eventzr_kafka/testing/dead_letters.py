"""Dead letters as a test sees them: the record, and what its headers say about the failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventzr_kafka.record import Record

__all__ = ["DeadLetter"]

_PREFIX = "eventzr-dlq-"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of ``<group_id>.dlq``; what its headers do not say is None.

    Attributes:
        group_id: The group that could not handle it.
        record: As it is in the dead-letter topic.
        topic, partition, offset: Where it came from.
        error: Class of the error.
        reason: What was wrong, without payload.
        attempts: How often the handler was called.
        event_id: None also for a record that could not be read.
        headers: All that begin with ``eventzr-dlq-``, without that prefix.
    """

    group_id: str
    record: Record
    topic: str | None
    partition: int | None
    offset: int | None
    error: str | None
    reason: str | None
    attempts: int | None
    event_id: str | None
    headers: Mapping[str, str]

    @classmethod
    def from_record(cls, group_id: str, record: Record) -> DeadLetter:
        """Read the headers of a record, whatever is there."""
        texts = {
            name.removeprefix(_PREFIX): (value or b"").decode(errors="replace")
            for name, value in record.headers
            if name.startswith(_PREFIX)
        }
        return cls(
            group_id=group_id,
            record=record,
            topic=_first(texts, "topic", "origin-topic", "original-topic"),
            partition=_number(_first(texts, "partition", "origin-partition", "original-partition")),
            offset=_number(_first(texts, "offset", "origin-offset", "original-offset")),
            error=_first(texts, "error", "error-class"),
            reason=_first(texts, "reason"),
            attempts=_number(_first(texts, "attempts", "attempt")),
            event_id=_first(texts, "event-id", "id"),
            headers=texts,
        )

    def is_of(self, record: Record) -> bool:
        """Whether this is what became of a record."""
        return (self.topic, self.partition, self.offset) == record[:3]


def _first(texts: Mapping[str, str], *names: str) -> str | None:
    return next((texts[name] for name in names if name in texts), None)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
