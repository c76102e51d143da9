"""One example of each event; all of them are about the listing of the platform's guide."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar, cast

from eventzr_kafka import EventData
from eventzr_marketplace_events.dispute import DisputeEvidence, DisputeOpened, DisputeResolved
from eventzr_marketplace_events.event import EventCreated, SponsorshipOpportunity
from eventzr_marketplace_events.listing import (
    ListingClosed,
    ListingCreated,
    ListingPublished,
    ListingStatistics,
    ListingUpdated,
)
from eventzr_marketplace_events.order import OrderCancelled, OrderCompleted, OrderCreated
from eventzr_marketplace_events.quote import QuoteAccepted, QuoteSubmitted
from eventzr_marketplace_events.review import ReviewCreated
from eventzr_marketplace_events.rfp import RfpBroadcast
from eventzr_marketplace_events.subscription import SubscriptionChanged
from eventzr_marketplace_events.user import UserProfileUpdated
from eventzr_marketplace_events.wallet import EscrowReleased, PaymentCompleted

__all__ = ["EXAMPLES", "example"]

EventT = TypeVar("EventT", bound=EventData)

_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

_PRODUCED: tuple[EventData, ...] = (
    ListingCreated(
        id="listing-uuid",
        title="Premium Catering Service",
        lane="vendora",
        seller_id="seller-uuid",
        price=Decimal(5000),
        currency="USD",
    ),
    ListingPublished(id="listing-uuid", seller_id="seller-uuid", lane="vendora", published_at=_NOON),
    ListingUpdated(id="listing-uuid", price=Decimal("4800.50"), seller_name=None),
    ListingClosed(
        id="listing-uuid",
        reason="sold_out",
        statistics=ListingStatistics(views=250, quotes=3, orders=1),
    ),
    QuoteSubmitted(
        id="quote-uuid",
        listing_id="listing-uuid",
        amount=Decimal(4500),
        currency="USD",
        message="120 guests, vegetarian options needed",
        buyer_id="buyer-uuid",
    ),
    QuoteAccepted(
        id="quote-uuid",
        listing_id="listing-uuid",
        accepted_amount=Decimal("4650.75"),
        currency="USD",
        seller_id="seller-uuid",
    ),
    OrderCreated(
        id="order-uuid",
        quote_id="quote-uuid",
        buyer_id="buyer-uuid",
        seller_id="seller-uuid",
        listing_id="listing-uuid",
    ),
    OrderCompleted(
        id="order-uuid",
        completed_at=_NOON.replace(day=30),
        final_amount=Decimal("4650.75"),
        currency="USD",
    ),
    OrderCancelled(id="order-uuid", reason="buyer_request", refund_status="pending"),
    DisputeOpened(
        id="dispute-uuid",
        order_id="order-uuid",
        reason="not_as_described",
        evidence=[
            DisputeEvidence(kind="photo", url="https://files.example.com/buffet.jpg"),
            DisputeEvidence(kind="message", description="The vegetarian dishes were missing."),
        ],
    ),
    DisputeResolved(
        id="dispute-uuid",
        outcome="split",
        notes="Half of the price goes back to the buyer.",
        order_id="order-uuid",
    ),
    RfpBroadcast(
        id="rfp-uuid",
        requirements=["Catering for 120 guests", "Vegetarian options"],
        target_lanes=["vendora"],
        deadline=_NOON.replace(day=16),
        title="Catering for a spring conference",
        buyer_id="buyer-uuid",
    ),
)

_CONSUMED: tuple[EventData, ...] = (
    EventCreated(
        id="event-uuid",
        exhibitor_slots=40,
        sponsorship_opportunities=[
            SponsorshipOpportunity(title="Gold", price=Decimal(10000), currency="USD"),
        ],
        title="Spring Conference",
        organizer_id="organizer-uuid",
        starts_at=_NOON.replace(month=5, hour=9),
    ),
    ReviewCreated(
        id="review-uuid",
        seller_id="seller-uuid",
        listing_id="listing-uuid",
        rating=Decimal("4.5"),
        rating_scale=5,
        order_id="order-uuid",
    ),
    PaymentCompleted(
        id="payment-uuid",
        order_id="order-uuid",
        amount=Decimal("4650.75"),
        currency="USD",
        completed_at=_NOON.replace(day=4),
    ),
    EscrowReleased(
        id="escrow-uuid",
        order_id="order-uuid",
        seller_id="seller-uuid",
        amount=Decimal("4650.75"),
        currency="USD",
        released_at=_NOON.replace(day=31),
    ),
    SubscriptionChanged(
        id="subscription-uuid",
        seller_id="seller-uuid",
        tier="pro",
        entitlements=["featured_listings", "rfp_access"],
        listing_limit=50,
        effective_at=_NOON,
    ),
    UserProfileUpdated(id="seller-uuid", display_name="Premium Catering Ltd", avatar_url=None),
)

EXAMPLES: Mapping[type[EventData], EventData] = {type(event): event for event in (*_PRODUCED, *_CONSUMED)}
"""Payload class to its example, in the order of the platform's guide."""


def example(of: type[EventT]) -> EventT:
    """The example of one event; that of `ListingCreated` is the guide's own.

    Args:
        of: One of the 18 payload classes of this package.

    Raises:
        KeyError: The class is not one of them.
    """
    return cast("EventT", EXAMPLES[of])
