"""Tables for the page: events, failures and dead letters of a tenant, written with the change that they report."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from examples.marketplace_service.database import Base

__all__ = ["Activity", "DeadLetter", "Failure"]

_RISING = BigInteger().with_variant(Integer, "sqlite")


class Activity(Base):
    """An event that was published (``out``) or handled (``in``)."""

    __tablename__ = "activity"
    __table_args__ = (Index("activity_tenant", "tenant_id", "number"), Index("activity_at", "at"))

    number: Mapped[int] = mapped_column(_RISING, primary_key=True)
    tenant_id: Mapped[str]
    direction: Mapped[str]
    topic: Mapped[str]
    event_id: Mapped[str]
    subject: Mapped[str | None]
    at: Mapped[datetime]


class Failure(Base):
    """A failed attempt of a handler, as reported by the SDK's hook."""

    __tablename__ = "failure"
    __table_args__ = (Index("failure_tenant", "tenant_id", "number"), Index("failure_at", "at"))

    number: Mapped[int] = mapped_column(_RISING, primary_key=True)
    tenant_id: Mapped[str]
    topic: Mapped[str]
    position: Mapped[str]
    handler: Mapped[str]
    error: Mapped[str]
    attempt: Mapped[int]
    outcome: Mapped[str]
    at: Mapped[datetime]


class DeadLetter(Base):
    """A dead letter of this service.

    Attributes:
        position: Of its record, ``topic[partition]@offset``; `eventzr-kafka dlq show` takes it as a name.
        replayed_at: Time of the successful replay; None while the dead letter is open.
    """

    __tablename__ = "dead_letter"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str]
    source: Mapped[str] = mapped_column(server_default="")
    event_id: Mapped[str]
    handler: Mapped[str]
    error: Mapped[str]
    reason: Mapped[str]
    attempts: Mapped[int]
    failed_at: Mapped[datetime]
    replayed_at: Mapped[datetime | None]
