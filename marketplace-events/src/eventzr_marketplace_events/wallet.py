"""Payments and escrows, as wallet-svc announces them."""

from eventzr_kafka import EventData, Written
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Currency, Id, Money, Timestamp

__all__ = ["EscrowReleased", "PaymentCompleted"]


class PaymentCompleted(
    EventData,
    topic="eventzr.wallet.payment.completed.v1",
    source="wallet-svc",
    accepts=spellings_of("wallet-svc"),
    subject="payment:{id}",
):
    """Consumed to transition orders to paid status."""

    id: Id
    """The payment."""
    order_id: Written[Id]
    """The order that is now paid; absent from a payment for something else, such as a ticket."""
    amount: Written[Money]
    """Amount that the buyer paid, in whole units of ``currency``, such as 4650.75."""
    currency: Written[Currency]
    """ISO 4217 code of ``amount``."""
    completed_at: Timestamp | None = None
    """When the money arrived; None where the event's own ``time`` says it."""


class EscrowReleased(
    EventData,
    topic="eventzr.wallet.escrow.released.v1",
    source="wallet-svc",
    accepts=spellings_of("wallet-svc"),
    subject="escrow:{id}",
):
    """Consumed to complete seller payouts on order delivery."""

    id: Id
    """The escrow."""
    order_id: Written[Id]
    """The delivered order that the money was held for; absent from an escrow for something else."""
    seller_id: Written[Id]
    """The seller who is paid out."""
    amount: Written[Money]
    """Amount that is paid out, in whole units of ``currency``, such as 4650.75."""
    currency: Written[Currency]
    """ISO 4217 code of ``amount``."""
    released_at: Timestamp | None = None
    """When it was released; None where the event's own ``time`` says it."""
