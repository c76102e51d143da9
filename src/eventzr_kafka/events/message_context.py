"""`MessageContext`: the delivery that an event came with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from eventzr_kafka.kafka.record import Record

__all__ = ["MessageContext", "SessionT"]

SessionT = TypeVar("SessionT", default=Any, covariant=True)  # noqa: PLC0105 -- users read it in signatures


@dataclass(frozen=True, slots=True)
class MessageContext(Generic[SessionT]):
    """The delivery of an event: its record, its consumer group, and the session of the inbox.

    Bare ``MessageContext`` means ``MessageContext[Any]``. A consumer with an inbox may say which session it wants, such
    as ``MessageContext[AsyncSession]``; that is checked when the class is decorated and when the runner starts.

    Attributes:
        record: The record as the broker delivered it.
        group_id: The consumer group.
        session: With a `SqlInbox`, the SQLAlchemy session that commits when the handler returns: an ``AsyncSession``
            for an ``async def`` handler, a ``Session`` for a ``def``. Otherwise None.
    """

    record: Record
    group_id: str
    session: SessionT = cast("SessionT", None)  # noqa: RUF009 -- it is None
