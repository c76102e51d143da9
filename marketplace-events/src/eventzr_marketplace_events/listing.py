"""Listings: what a seller offers in a lane of the marketplace."""

from eventzr_kafka import EventData, Written, WrittenOrNone
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Count, Currency, Id, Money, Timestamp

__all__ = ["ListingClosed", "ListingCreated", "ListingPublished", "ListingStatistics", "ListingUpdated"]


class ListingCreated(
    EventData,
    topic="eventzr.marketplace.listing.created.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="listing:{id}",
):
    """Emitted when a new marketplace listing is created."""

    id: Id
    """The listing."""
    title: Written[str]
    """Headline as buyers see it, such as ``Premium Catering Service``."""
    lane: Written[str]
    """Lane of the marketplace, such as ``vendora``; an open set: a new lane does not change this class."""
    seller_id: Id
    """The seller who offers it."""
    price: WrittenOrNone[Money]
    """Asking price, in whole units of ``currency``, such as 5000; None for a price on request."""
    currency: Written[Currency]
    """ISO 4217 code of ``price``."""
    seller_name: str | None = None
    """The seller's display name when the listing was created; None where it is not sent along."""
    status: str | None = None
    """State of the listing; an open set, such as ``draft`` or ``published``; None where it is not sent along."""
    description: str | None = None
    """The seller's description as plain text; None where there is none."""
    category: str | None = None
    """Category within the lane; an open set, such as ``catering``; None where there is none."""
    quantity: Count | None = None
    """How many pieces are on offer, such as 3; None where the offer is not counted."""
    created_at: Timestamp | None = None
    """When it was created; None where the event's own ``time`` says it."""


class ListingPublished(
    EventData,
    topic="eventzr.marketplace.listing.published.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="listing:{id}",
):
    """Emitted when a listing transitions to published state."""

    id: Id
    """The listing."""
    seller_id: Id
    """The seller who offers it."""
    lane: Written[str]
    """Lane of the marketplace, such as ``vendora``; an open set."""
    published_at: Written[Timestamp]
    """When buyers could first see it, such as ``2026-03-02T12:00:00.000Z``."""


class ListingUpdated(
    EventData,
    topic="eventzr.marketplace.listing.updated.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="listing:{id}",
    partial=True,
):
    """Emitted when listing details are modified.

    Partial, as the guide says: it carries only what changed. Absent means unchanged and null means cleared;
    ``model_fields_set`` holds the Python names of those that are present.
    """

    id: Id
    """The listing."""
    title: str | None = None
    """New headline."""
    lane: str | None = None
    """New lane, such as ``vendora``; an open set."""
    seller_id: Id | None = None
    """The new seller, after the listing changed hands."""
    price: Money | None = None
    """New asking price, in whole units of ``currency``, or of the listing's own where that is absent."""
    currency: Currency | None = None
    """New ISO 4217 code of the price."""
    seller_name: str | None = None
    """The seller's new display name."""
    status: str | None = None
    """New state of the listing; an open set, such as ``published`` or ``paused``."""
    description: str | None = None
    """New description as plain text."""
    category: str | None = None
    """New category within the lane; an open set, such as ``catering``."""
    quantity: Count | None = None
    """How many pieces are on offer from now on, such as 3."""
    updated_at: Timestamp | None = None
    """When it was modified; absent where the event's own ``time`` says it."""


class ListingStatistics(EventData):
    """Final statistics of a closed listing, counted from its creation to its close."""

    views: Written[Count]
    """How often its page was opened, such as 250."""
    quotes: Written[Count]
    """Quotes that buyers submitted on it, such as 3."""
    orders: Written[Count]
    """Orders that came out of those quotes, such as 1."""


class ListingClosed(
    EventData,
    topic="eventzr.marketplace.listing.closed.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="listing:{id}",
):
    """Emitted when a listing is closed or deactivated."""

    id: Id
    """The listing."""
    reason: Written[str]
    """Close reason; an open set, such as ``sold_out``, ``expired`` or ``deactivated``."""
    statistics: Written[ListingStatistics]
    """Final statistics of the listing."""
    seller_id: Id | None = None
    """The seller who offered it; None where it is not sent along."""
    closed_at: Timestamp | None = None
    """When it was closed; None where the event's own ``time`` says it."""
