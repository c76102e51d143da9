"""Hooks of a relay: optional callbacks, each of which receives one frozen fact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eventzr_kafka.outbox.status import OutboxStatus

__all__ = ["BucketsHeld", "RelayHooks", "RowDelayed", "RowParked", "RowsPublished"]


@dataclass(frozen=True, slots=True)
class RowsPublished:
    """The broker has acknowledged rows.

    Attributes:
        marked: Number of rows that are marked as published.
        fenced: Number of rows whose bucket another relay has taken; that relay publishes them again, with the same
            event ids.
    """

    marked: int
    fenced: int


@dataclass(frozen=True, slots=True)
class RowParked:
    """A row cannot be published and was set aside; the later rows of its tenant are published."""

    tenant_id: str
    event_id: str
    topic: str
    failure: str


@dataclass(frozen=True, slots=True)
class RowDelayed:
    """A row failed and will be sent again, and other rows wait for it.

    These are the later rows of its tenant; if its topic is missing or does not accept records, also the rows of other
    tenants for that topic.

    Attributes:
        seconds: Time until the row is sent again.
    """

    tenant_id: str
    event_id: str
    topic: str
    failure: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BucketsHeld:
    """The number of buckets that this relay holds, and of relays that share the buckets."""

    buckets: int
    relays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayHooks:
    """Optional callbacks, called on the event loop."""

    on_rows_published: Callable[[RowsPublished], None] | None = None
    on_row_parked: Callable[[RowParked], None] | None = None
    on_row_delayed: Callable[[RowDelayed], None] | None = None
    on_buckets_held: Callable[[BucketsHeld], None] | None = None
    on_status_sampled: Callable[[OutboxStatus], None] | None = None
