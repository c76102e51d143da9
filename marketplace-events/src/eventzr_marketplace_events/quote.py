"""Quotes: what a buyer bids on a listing."""

from eventzr_kafka import EventData, Written
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Currency, Id, Money, Timestamp

__all__ = ["QuoteAccepted", "QuoteSubmitted"]


class QuoteSubmitted(
    EventData,
    topic="eventzr.marketplace.quote.submitted.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="quote:{id}",
):
    """Emitted when a buyer submits a quote on a listing."""

    id: Id
    """The quote."""
    listing_id: Id
    """The listing it bids on."""
    amount: Written[Money]
    """Amount that the buyer offers, in whole units of ``currency``, such as 4500."""
    currency: Written[Currency]
    """ISO 4217 code of ``amount``."""
    message: Written[str]
    """The buyer's words to the seller; may be empty."""
    buyer_id: Id | None = None
    """The buyer who submitted it; None where it is not sent along."""
    seller_id: Id | None = None
    """The seller of the listing, who may accept it; None where it is not sent along."""
    submitted_at: Timestamp | None = None
    """When it was submitted; None where the event's own ``time`` says it."""


class QuoteAccepted(
    EventData,
    topic="eventzr.marketplace.quote.accepted.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="quote:{id}",
):
    """Emitted when a seller accepts a quote."""

    id: Id
    """The quote."""
    listing_id: Id
    """The listing it bids on."""
    accepted_amount: Written[Money]
    """Amount that both sides agreed on, in whole units of ``currency``, such as 4650.75."""
    currency: Written[Currency]
    """ISO 4217 code of ``accepted_amount``."""
    seller_id: Id | None = None
    """The seller who accepted it; None where it is not sent along."""
    buyer_id: Id | None = None
    """The buyer whose quote it is; None where it is not sent along."""
    order_id: Id | None = None
    """The order that is created from it; None where it is not sent along."""
    accepted_at: Timestamp | None = None
    """When it was accepted; None where the event's own ``time`` says it."""
