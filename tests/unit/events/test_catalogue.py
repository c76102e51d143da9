"""The known events, and what identifies one."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from eventzr_kafka import CloudEvent, EventData
from eventzr_kafka.events import catalogue
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


TOPIC = "eventzr.marketplace.order.created.v1"


@pytest.fixture
def engine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events of the marketplace are not installed."""
    monkeypatch.setattr(catalogue, "_load_installed_packages", lambda: None)
    monkeypatch.setattr(catalogue, "declared_events", dict[str, type[EventData]])
    monkeypatch.setitem(sys.modules, "eventzr_marketplace_events", None)


@pytest.mark.usefixtures("engine_alone")
def test_missing_distribution_is_named() -> None:
    assert catalogue.describe_undeclared(TOPIC, "otherwise") == (
        f"topic '{TOPIC}' is declared nowhere; the events of the marketplace are not installed: "
        "pip install eventzr-marketplace-events (from a checkout: ./marketplace-events)"
    )


@pytest.mark.usefixtures("engine_alone")
def test_other_topics_do_not_ask_for_it() -> None:
    assert catalogue.describe_undeclared("orders.v1", "otherwise").endswith("; otherwise")


def test_installed_distribution_is_not_asked_for() -> None:
    assert catalogue.describe_undeclared("eventzr.weather.storm.coming.v1", "otherwise").endswith("; otherwise")
