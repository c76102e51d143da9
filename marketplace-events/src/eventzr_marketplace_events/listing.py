"""Listings: what a seller offers in a lane of the marketplace."""

from eventzr_kafka import EventData
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
    title: str
    """Headline as buyers see it."""
    lane: str
    """Lane of the marketplace, such as ``vendora``; an open set: a new lane does not change this class."""
    seller_id: Id
    """The seller who offers it."""
    price: Money
    """Asking price, in whole units of ``currency``."""
    currency: Currency
    """ISO 4217 code of ``price``."""
    seller_name: str | None = None
    """The seller's display name when the listing was created; None where it is not sent along."""


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
    lane: str
    """Lane of the marketplace, such as ``vendora``; an open set."""
    published_at: Timestamp
    """When buyers could first see it."""


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


class ListingStatistics(EventData):
    """Final statistics of a closed listing, counted from its creation to its close."""

    views: Count
    """How often its page was opened."""
    quotes: Count
    """Quotes that buyers submitted on it."""
    orders: Count
    """Orders that came out of those quotes."""


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
    reason: str
    """Close reason; an open set, such as ``sold_out``, ``expired`` or ``deactivated``."""
    statistics: ListingStatistics
    """Final statistics of the listing."""
