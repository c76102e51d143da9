"""`MessageContext`: the delivery that an event came with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eventzr_kafka.kafka.record import Record

__all__ = ["MessageContext"]


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The delivery of an event: its record, its consumer group, and the session of the inbox.

    Attributes:
        record: The record as the broker delivered it.
        group_id: The consumer group.
        session: With a `SqlInbox`, the SQLAlchemy session that commits when the handler returns: an ``AsyncSession``
            for an ``async def`` handler, a ``Session`` for a ``def``. Otherwise None.
    """

    record: Record
    group_id: str
    session: Any = None
