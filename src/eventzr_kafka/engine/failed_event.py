"""What is known of an event that has failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventzr_kafka.engine.intake import Work
from eventzr_kafka.engine.lanes import Lane
from eventzr_kafka.errors import Reject
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.handlers.retry import reason_of
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.safe_text import is_a, printable

__all__ = ["Failed", "History", "HistoryKey", "history_key", "tenant_of", "what", "whose"]

HistoryKey: TypeAlias = tuple[int, int]  # epoch and offset


@dataclass(slots=True)
class History:
    """How often an event has failed.

    Attributes:
        alone: Whether it is to be tried outside of a batch.
        exited: Whether it has stopped the runner with `SystemExit`.
        since: The loop's time of the first failure.
        first, last: Seconds since the Unix epoch.
    """

    since: float
    first: float
    last: float = 0.0
    attempts: int = 0
    alone: bool = False
    exited: bool = False
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """One event that has failed, at the front of its lane; `event` is None if its record could not be read."""

    lane: Lane[Work]
    work: Work
    event: CloudEvent[Any] | None


def history_key(work: Work) -> HistoryKey:
    """What an event's history is known by."""
    return work[1].epoch.number, work[0].offset


def tenant_of(record: Record) -> str | None:
    """The record's key as text, if it is that."""
    try:
        return None if record.key is None else record.key.decode()
    except UnicodeDecodeError:
        return None


def whose(each: Failed) -> str:
    """Event id and tenant, for a log line."""
    tenant = printable((each.work[0].key or b"").decode(errors="replace")) or "?"
    return f"{f', event {printable(each.event.id)}' if each.event else ''}, tenant {tenant}"


def what(each: Failed, error: BaseException) -> str:
    """What happened, for a log line."""
    words = reason_of(error, from_handler=each.event is not None)
    if is_a(error, Reject):
        return f"rejected: {words}"
    return words if each.event is None else f"raised {words}"
