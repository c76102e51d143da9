"""Orders: accepted quotes on their way to delivery."""

from eventzr_kafka import EventData, Written
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Count, Currency, Id, Money, Timestamp

__all__ = ["OrderCancelled", "OrderCompleted", "OrderCreated"]


class OrderCreated(
    EventData,
    topic="eventzr.marketplace.order.created.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="order:{id}",
):
    """Emitted when an order is created from an accepted quote."""

    id: Id
    """The order."""
    quote_id: Id
    """The accepted quote it comes from."""
    buyer_id: Id
    """The buyer, who pays."""
    seller_id: Id
    """The seller, who delivers."""
    listing_id: Id | None = None
    """The listing that was quoted; None where it is not sent along."""
    amount: Money | None = None
    """Amount that the buyer is to pay, in whole units of ``currency``, such as 4650.75; None where not sent."""
    currency: Currency | None = None
    """ISO 4217 code of ``amount``; None where no amount is sent along."""
    quantity: Count | None = None
    """How many pieces are ordered, such as 1; None where the offer is not counted."""
    created_at: Timestamp | None = None
    """When it was created; None where the event's own ``time`` says it."""


class OrderCompleted(
    EventData,
    topic="eventzr.marketplace.order.completed.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="order:{id}",
):
    """Emitted when an order is marked as completed."""

    id: Id
    """The order."""
    completed_at: Written[Timestamp]
    """When it was marked as completed, such as ``2026-03-30T12:00:00.000Z``."""
    final_amount: Written[Money]
    """Amount that the buyer pays in the end, in whole units of ``currency``, such as 4650.75."""
    currency: Written[Currency]
    """ISO 4217 code of ``final_amount``."""
    buyer_id: Id | None = None
    """The buyer, who paid; None where it is not sent along."""
    seller_id: Id | None = None
    """The seller, who delivered; None where it is not sent along."""
    listing_id: Id | None = None
    """The listing that was ordered; None where it is not sent along."""


class OrderCancelled(
    EventData,
    topic="eventzr.marketplace.order.cancelled.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="order:{id}",
):
    """Emitted when an order is cancelled."""

    id: Id
    """The order."""
    reason: Written[str]
    """Cancellation reason; an open set, such as ``buyer_request`` or ``seller_unavailable``."""
    refund_status: Written[str]
    """State of the buyer's refund; an open set, such as ``not_required``, ``pending`` or ``refunded``."""
    buyer_id: Id | None = None
    """The buyer; None where it is not sent along."""
    seller_id: Id | None = None
    """The seller; None where it is not sent along."""
    listing_id: Id | None = None
    """The listing that was ordered; None where it is not sent along."""
    cancelled_by: Id | None = None
    """The buyer, seller or admin who cancelled it; None where it is not sent along."""
    refund_amount: Money | None = None
    """Amount that goes back to the buyer, in whole units of ``currency``, such as 4650.75; None where not sent."""
    currency: Currency | None = None
    """ISO 4217 code of ``refund_amount``; None where no amount is sent along."""
    cancelled_at: Timestamp | None = None
    """When it was cancelled; None where the event's own ``time`` says it."""
