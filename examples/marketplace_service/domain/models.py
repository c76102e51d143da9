"""The tables of the marketplace. Ids are opaque; ids of sellers, events and escrows come from other services."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from examples.marketplace_service.database import TenantOwned

__all__ = [
    "FREE_LISTING_LIMIT",
    "Dispute",
    "EventContext",
    "ExhibitorSlot",
    "Listing",
    "Member",
    "Order",
    "Payout",
    "Quote",
    "Review",
    "Rfp",
    "Sponsorship",
    "SubscriptionChange",
]

_OPEN, _NOT_APPLIED = text("state = 'opened'"), text("NOT applied")  # of indexes that hold some rows only
FREE_LISTING_LIMIT = 5  # open listings of a seller without a subscription


class Member(TenantOwned):
    """A user, created by the first profile, listing or subscription that names it.

    Attributes:
        sells: True once the user has offered a listing or has a subscription; a profile alone is not enough.
        display_name_at, avatar_url_at, bio_at: Times of these values; an event with an earlier time is ignored.
        subscribed_at: Time from which tier, entitlements and limit are valid; see `SubscriptionChange`.
        listing_limit: Listings that may be open at once; None for no limit.
        rating: Average of the reviews, from 0 to 5; None before the first one.
    """

    __tablename__ = "member"

    sells: Mapped[bool] = mapped_column(default=False)
    display_name: Mapped[str | None]
    display_name_at: Mapped[datetime | None]
    avatar_url: Mapped[str | None]
    avatar_url_at: Mapped[datetime | None]
    bio: Mapped[str | None]
    bio_at: Mapped[datetime | None]
    subscribed_at: Mapped[datetime | None]
    tier: Mapped[str] = mapped_column(default="free")
    entitlements: Mapped[list[str]] = mapped_column(JSON, default=list)
    listing_limit: Mapped[int | None] = mapped_column(default=FREE_LISTING_LIMIT)
    rating: Mapped[Decimal | None]
    rating_count: Mapped[int] = mapped_column(default=0)


class SubscriptionChange(TenantOwned):
    """A change of a seller's subscription; its id is the event's. Changes of which nothing is valid are deleted.

    Attributes:
        effective_at: Time from which it is valid, which may be in the future.
        announced_at: Time of its event. Of two changes for the same time, the one announced last is valid.
        noted_at: Time when it was handled, for two changes with both times the same.
        named: The values that it names, by their columns in the seller's row; the others stay as they were.
        applied: True if the seller's row has a value of it.
    """

    __tablename__ = "subscription_change"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "seller_id"], ["member.tenant_id", "member.id"]),
        Index("subscription_change_seller", "tenant_id", "seller_id"),
        Index("subscription_change_due", "effective_at", sqlite_where=_NOT_APPLIED, postgresql_where=_NOT_APPLIED),
    )

    seller_id: Mapped[str]
    effective_at: Mapped[datetime]
    announced_at: Mapped[datetime]
    noted_at: Mapped[datetime]
    named: Mapped[dict[str, Any]] = mapped_column(JSON)
    applied: Mapped[bool] = mapped_column(default=False)


class Listing(TenantOwned):
    """A seller's offer in one lane of the marketplace, such as ``vendora``.

    Attributes:
        seller_name, seller_avatar_url: Copies, so that a list of listings needs only this table.
        quality_score: Average of the reviews, from 0 to 100; None before the first one.
    """

    __tablename__ = "listing"
    __table_args__ = (Index("listing_seller", "tenant_id", "seller_id"),)

    seller_id: Mapped[str]
    title: Mapped[str]
    lane: Mapped[str]
    price: Mapped[Decimal]
    currency: Mapped[str]
    state: Mapped[str]
    views: Mapped[int]
    seller_name: Mapped[str | None]
    seller_avatar_url: Mapped[str | None]
    quality_score: Mapped[Decimal | None]
    created_at: Mapped[datetime]


class Review(TenantOwned):
    """A buyer's review. Ratings are computed from these rows, so a redelivered event changes nothing.

    Attributes:
        listing_id: None for a review of the seller alone.
        share: Points divided by the maximum, from 0 to 1.
    """

    __tablename__ = "review"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "listing_id"], ["listing.tenant_id", "listing.id"]),
        Index("review_listing", "tenant_id", "listing_id"),
        Index("review_seller", "tenant_id", "seller_id"),
    )

    seller_id: Mapped[str]
    listing_id: Mapped[str | None]
    share: Mapped[Decimal]


class Quote(TenantOwned):
    """A buyer's bid on a listing."""

    __tablename__ = "quote"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "listing_id"], ["listing.tenant_id", "listing.id"]),)

    listing_id: Mapped[str]
    buyer_id: Mapped[str]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    message: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[datetime]


class Order(TenantOwned):
    """An accepted quote on its way to delivery.

    Attributes:
        payment_id: Id of the payment; None until then.
        paid, refunded: Amounts from and back to the buyer; the difference is the amount of the payout.
        cancel_reason, cancelled_by: None unless it is cancelled.
    """

    __tablename__ = "orders"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "quote_id"], ["quote.tenant_id", "quote.id"]),)

    quote_id: Mapped[str]
    listing_id: Mapped[str]
    buyer_id: Mapped[str]
    seller_id: Mapped[str]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    state: Mapped[str]
    payment_id: Mapped[str | None]
    paid: Mapped[Decimal] = mapped_column(server_default="0")
    refunded: Mapped[Decimal] = mapped_column(server_default="0")
    cancel_reason: Mapped[str | None]
    cancelled_by: Mapped[str | None]
    created_at: Mapped[datetime]


class Payout(TenantOwned):
    """The amount that the seller of an order gets; its id is the order's.

    Attributes:
        escrow_id: Release of the escrow; None until then. It may come before the payment or the delivery.
    """

    __tablename__ = "payout"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "id"], ["orders.tenant_id", "orders.id"]),)

    seller_id: Mapped[str]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    state: Mapped[str]
    escrow_id: Mapped[str | None]


class Dispute(TenantOwned):
    """A disagreement between buyer and seller about an order, which has at most one open dispute.

    Attributes:
        refund: Amount that the decision gives back to the buyer; None while it is open.
    """

    __tablename__ = "dispute"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "order_id"], ["orders.tenant_id", "orders.id"]),
        Index("dispute_open", "tenant_id", "order_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    )

    order_id: Mapped[str]
    reason: Mapped[str]
    state: Mapped[str]
    refund: Mapped[Decimal | None]
    outcome: Mapped[str | None]
    notes: Mapped[str | None]


class Rfp(TenantOwned):
    """A request for proposals.

    Attributes:
        sellers: Ids of the sellers who matched when it was broadcast.
    """

    __tablename__ = "rfp"

    buyer_id: Mapped[str]
    title: Mapped[str]
    requirements: Mapped[list[str]] = mapped_column(JSON)
    target_lanes: Mapped[list[str]] = mapped_column(JSON)
    sellers: Mapped[list[str]] = mapped_column(JSON)
    deadline: Mapped[datetime]


class EventContext(TenantOwned):
    """The marketplace of a calendar event; its id is the event's."""

    __tablename__ = "event_context"

    title: Mapped[str | None]
    organizer_id: Mapped[str | None]
    starts_at: Mapped[datetime | None]


class ExhibitorSlot(TenantOwned):
    """A slot for one exhibitor at an event."""

    __tablename__ = "exhibitor_slot"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "event_id"], ["event_context.tenant_id", "event_context.id"]),)

    event_id: Mapped[str]
    number: Mapped[int]


class Sponsorship(TenantOwned):
    """A way to sponsor an event; without a price, it is on request."""

    __tablename__ = "sponsorship"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "event_id"], ["event_context.tenant_id", "event_context.id"]),)

    event_id: Mapped[str]
    title: Mapped[str | None]
    price: Mapped[Decimal | None]
    currency: Mapped[str | None]
