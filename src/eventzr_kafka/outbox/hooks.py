"""Hooks of a relay: optional callbacks, each of which receives one frozen fact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eventzr_kafka.outbox.status import OutboxStatus

__all__ = ["BucketsHeld", "LaneWaits", "RelayHooks", "RowParked", "RowsPublished"]


@dataclass(frozen=True, slots=True)
class RowsPublished:
    """Rows were acknowledged by the broker.

    Attributes:
        marked: Rows that are marked as published.
        fenced: Rows whose bucket another relay has taken meanwhile; it publishes them again, under the same event ids.
    """

    marked: int
    fenced: int


@dataclass(frozen=True, slots=True)
class RowParked:
    """A row cannot be published and was taken out of its lane."""

    tenant_id: str
    event_id: str
    topic: str
    failure: str


@dataclass(frozen=True, slots=True)
class LaneWaits:
    """A row failed, and rows wait for it: those of its tenant, and if its topic failed, all that go there.

    Attributes:
        seconds: Until it is tried again.
    """

    tenant_id: str
    event_id: str
    topic: str
    failure: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BucketsHeld:
    """How many buckets this relay holds, and how many relays share them."""

    buckets: int
    relays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayHooks:
    """Optional callbacks, called on the event loop."""

    on_rows_published: Callable[[RowsPublished], None] | None = None
    on_row_parked: Callable[[RowParked], None] | None = None
    on_lane_waits: Callable[[LaneWaits], None] | None = None
    on_buckets_held: Callable[[BucketsHeld], None] | None = None
    on_status_sampled: Callable[[OutboxStatus], None] | None = None
