"""Examples of each event: a typical, a full and a minimal one, all about the listing of the platform's guide."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

from eventzr_kafka import EventData
from eventzr_marketplace_events.dispute import DisputeEvidence, DisputeOpened, DisputeResolved
from eventzr_marketplace_events.event import EventCreated, ExhibitorSlot, ExhibitorSlots, SponsorshipOpportunity
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

__all__ = ["EXAMPLES", "example", "full_example", "minimal_example"]

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
        exhibitor_slots=ExhibitorSlots(count=40),
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

_LATER = _NOON.replace(hour=13)

# What the full examples have besides: the fields that are optional for the writer too.
_MORE: Mapping[type[EventData], Mapping[str, Any]] = {
    ListingCreated: {
        "seller_name": "Premium Catering Ltd",
        "status": "draft",
        "description": "Buffets for 20 to 500 guests.",
        "category": "catering",
        "quantity": 3,
        "created_at": _LATER,
    },
    ListingUpdated: {
        "title": "Premium Catering",
        "lane": "vendora",
        "seller_id": "seller-uuid",
        "currency": "USD",
        "seller_name": "Premium Catering Ltd",
        "status": "published",
        "description": "Buffets for 10 to 500 guests.",
        "category": "catering",
        "quantity": 2,
        "updated_at": _LATER,
    },
    ListingClosed: {"seller_id": "seller-uuid", "closed_at": _LATER},
    QuoteSubmitted: {"seller_id": "seller-uuid", "submitted_at": _LATER},
    QuoteAccepted: {"buyer_id": "buyer-uuid", "order_id": "order-uuid", "accepted_at": _LATER},
    OrderCreated: {"amount": Decimal("4650.75"), "currency": "USD", "quantity": 1, "created_at": _LATER},
    OrderCompleted: {"buyer_id": "buyer-uuid", "seller_id": "seller-uuid", "listing_id": "listing-uuid"},
    OrderCancelled: {
        "buyer_id": "buyer-uuid",
        "seller_id": "seller-uuid",
        "listing_id": "listing-uuid",
        "cancelled_by": "buyer-uuid",
        "refund_amount": Decimal("4650.75"),
        "currency": "USD",
        "cancelled_at": _LATER,
    },
    DisputeOpened: {"opened_by": "buyer-uuid", "opened_at": _LATER},
    DisputeResolved: {
        "buyer_refund_amount": Decimal("2325.38"),
        "seller_payout_amount": Decimal("2325.37"),
        "currency": "USD",
        "resolved_at": _LATER,
    },
    RfpBroadcast: {
        "budget": Decimal(6000),
        "currency": "USD",
        "matched_seller_ids": ["seller-uuid"],
        "event_id": "event-uuid",
        "broadcast_at": _LATER,
    },
    EventCreated: {
        "exhibitor_slots": ExhibitorSlots(
            count=2,
            slots=[
                ExhibitorSlot(id="slot-1", title="Hall 1, A7", size="3x3 m", price=Decimal(1200), currency="USD"),
                ExhibitorSlot(id="slot-2", title="Hall 1, A8", size="3x6 m", price=Decimal(2100), currency="USD"),
            ],
        ),
        "sponsorship_opportunities": [
            SponsorshipOpportunity(
                id="sponsorship-1", title="Gold", price=Decimal(10000), currency="USD", size="banner 2x1 m"
            ),
        ],
        "created_at": _LATER,
    },
    ReviewCreated: {"created_at": _LATER},
    SubscriptionChanged: {"changed_at": _LATER},
    UserProfileUpdated: {"bio": "Caterers since 1998.", "updated_at": _LATER},
}


def example(of: type[EventT]) -> EventT:
    """The example of one event; that of `ListingCreated` is the guide's own.

    Args:
        of: One of the 18 payload classes of this package.

    Raises:
        KeyError: The class is not one of them.
    """
    return cast("EventT", EXAMPLES[of])


def full_example(of: type[EventT]) -> EventT:
    """The example with a value for every field of the class.

    Raises:
        KeyError: The class is not one of the 18.
    """
    return example(of).model_copy(update=_MORE.get(of))


def minimal_example(of: type[EventT]) -> EventT:
    """The example with no more fields than reading requires, as a frugal neighbour might send it.

    Raises:
        KeyError: The class is not one of the 18.
    """
    required = {name for name, field in of.model_fields.items() if field.is_required()}
    return of.model_validate(example(of).model_dump(include=required))
