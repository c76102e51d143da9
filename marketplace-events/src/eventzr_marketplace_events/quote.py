"""Quotes: what a buyer bids on a listing."""

from eventzr_kafka import EventData
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Currency, Id, Money

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
    amount: Money
    """Amount that the buyer offers, in whole units of ``currency``."""
    currency: Currency
    """ISO 4217 code of ``amount``."""
    message: str
    """The buyer's words to the seller; may be empty."""
    buyer_id: Id | None = None
    """The buyer who submitted it; None where it is not sent along."""


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
    accepted_amount: Money
    """Amount that both sides agreed on, in whole units of ``currency``."""
    currency: Currency
    """ISO 4217 code of ``accepted_amount``."""
    seller_id: Id | None = None
    """The seller who accepted it; None where it is not sent along."""
