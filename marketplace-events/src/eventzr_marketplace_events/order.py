"""Orders: accepted quotes on their way to delivery."""

from eventzr_kafka import EventData
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Currency, Id, Money, Timestamp

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
    """The accepted quote it comes from; its `QuoteAccepted` holds the amount."""
    buyer_id: Id
    """The buyer, who pays."""
    seller_id: Id
    """The seller, who delivers."""
    listing_id: Id | None = None
    """The listing that was quoted; None where it is not sent along."""


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
    completed_at: Timestamp
    """When it was marked as completed."""
    final_amount: Money
    """Amount that the buyer pays in the end, in whole units of ``currency``."""
    currency: Currency
    """ISO 4217 code of ``final_amount``."""


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
    reason: str
    """Cancellation reason; an open set, such as ``buyer_request`` or ``seller_unavailable``."""
    refund_status: str
    """State of the buyer's refund; an open set, such as ``not_required``, ``pending`` or ``refunded``."""
