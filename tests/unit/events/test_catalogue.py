"""The known events, and what identifies one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from eventzr_kafka import CloudEvent
from eventzr_kafka.events.catalogue import known_events, lookup
from eventzr_kafka.events.identity import EventIdentity, identity_of
from eventzr_marketplace_events import ListingCreated, topics


def test_events_of_an_installed_package_are_known_by_topic() -> None:
    known = known_events()
    assert {*topics.PRODUCED, *topics.CONSUMED} <= known.keys()
    assert known["eventzr.marketplace.listing.created.v1"] is ListingCreated
    assert lookup("eventzr.marketplace.listing.created.v1") is ListingCreated
    assert lookup("eventzr.marketplace.listing.made.v1") is None


def test_an_event_is_identified_by_tenant_source_and_id() -> None:
    event = CloudEvent[Any](id="1", type="t", source="s", tenantid="t1", time=datetime(2026, 3, 2, tzinfo=UTC), data=1)
    assert identity_of(event) == EventIdentity("t1", "s", "1")
