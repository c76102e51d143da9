"""`FailedEvent`: an event at the front of its lane whose decoding or handler raised an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failure_states import FailureKey, failure_key
from eventzr_kafka.engine.intake import PartitionBatch, Work, epoch_of
from eventzr_kafka.engine.lanes import Lane
from eventzr_kafka.errors import Reject, RetryLater
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.handlers.retry import reason_of
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.safe_text import is_a, printable

__all__ = ["FailedEvent", "error_summary"]


@dataclass(frozen=True, slots=True, eq=False)
class FailedEvent:
    """One event that has failed, at the front of its lane; `event` is None if its record could not be read."""

    lane: Lane[Work]
    work: Work
    event: CloudEvent[Any] | None

    @property
    def record(self) -> Record:
        """The record of the event."""
        record, _, _, _ = self.work
        return record

    @property
    def batch(self) -> PartitionBatch:
        """The batch of records with which it was received."""
        _, batch, _, _ = self.work
        return batch

    @property
    def epoch(self) -> Epoch:
        """The epoch of its partition."""
        return epoch_of(self.work)

    @property
    def key(self) -> FailureKey:
        """Key of its `FailureState`."""
        return failure_key(self.work)

    @property
    def tenant_id(self) -> str | None:
        """The record's key as text; None without a key, and for one that is not UTF-8."""
        try:
            return None if self.record.key is None else self.record.key.decode()
        except UnicodeDecodeError:
            return None

    @property
    def event_and_tenant(self) -> str:
        """The id of the event, if it could be read, and its tenant, for a log line: ``, event e1, tenant t1``."""
        tenant = printable((self.record.key or b"").decode(errors="replace")) or "?"
        return f"{f', event {printable(self.event.id)}' if self.event else ''}, tenant {tenant}"


def error_summary(failed: FailedEvent, error: BaseException) -> str:
    """The error in words, for a log line: what the handler asked for or raised, or the fault of the record."""
    words = reason_of(error, from_handler=failed.event is not None)
    if is_a(error, Reject):
        return f"rejected: {words}"
    if is_a(error, RetryLater):
        return f"asked to be retried later: {words}"
    return words if failed.event is None else f"raised {words}"
