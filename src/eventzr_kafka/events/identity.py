"""`EventIdentity`: the three attributes that tell an event from every other one.

CloudEvents makes ``source`` and ``id`` unique together; on this platform the tenants are apart as well. Two tenants, or
two sources, may use one id: those are different events.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from eventzr_kafka.events.event import CloudEvent

__all__ = ["EventIdentity", "identity_of"]


class EventIdentity(NamedTuple):
    """The same for an event that is delivered again, published again, or replayed; different for any other."""

    tenant_id: str
    source: str
    event_id: str


def identity_of(event: CloudEvent[Any]) -> EventIdentity:
    """The identity of an event."""
    return EventIdentity(event.tenantid, event.source, event.id)
