"""Quotes: submitted → accepted, which creates an order."""

from __future__ import annotations

import uuid
from decimal import Decimal

from eventzr_marketplace_events import OrderCreated, QuoteAccepted, QuoteSubmitted
from examples.marketplace_service.database import now
from examples.marketplace_service.domain.amounts import require_digits
from examples.marketplace_service.domain.errors import NotOpenError
from examples.marketplace_service.domain.models import Listing, Order, Quote
from examples.marketplace_service.domain.states import OPEN_LISTING, ORDER, QUOTE
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["accept", "submit"]


async def submit(unit: UnitOfWork, listing_id: str, *, buyer_id: str, amount: Decimal, message: str) -> Quote:
    """Bid on an open listing, in its currency."""
    listing = await _open_listing(unit, listing_id)
    require_digits(amount, listing.currency)
    quote = unit.add(
        Quote,
        listing_id=listing.id,
        buyer_id=buyer_id,
        amount=amount,
        currency=listing.currency,
        message=message,
        state=QUOTE.initial,
        created_at=now(),
    )
    unit.publish(
        QuoteSubmitted(
            id=quote.id,
            listing_id=listing.id,
            amount=amount,
            currency=listing.currency,
            message=message,
            buyer_id=buyer_id,
            seller_id=listing.seller_id,
            submitted_at=quote.created_at,
        )
    )
    return quote


async def accept(unit: UnitOfWork, quote_id: str) -> Order:
    """Accept a quote and create its order, in one transaction."""
    listing = await _open_listing(unit, await unit.fixed(Quote.listing_id, quote_id))
    quote = await unit.lock(Quote, quote_id)
    quote.state = QUOTE.after(quote.state, "accept")
    order_id = str(uuid.uuid4())
    unit.publish(
        QuoteAccepted(
            id=quote.id,
            listing_id=listing.id,
            accepted_amount=quote.amount,
            currency=quote.currency,
            seller_id=listing.seller_id,
            buyer_id=quote.buyer_id,
            order_id=order_id,
            accepted_at=now(),
        )
    )
    return _create_order(unit, order_id, quote, listing)


async def _open_listing(unit: UnitOfWork, listing_id: str) -> Listing:
    listing = await unit.lock(Listing, listing_id)
    if listing.state not in OPEN_LISTING:
        raise NotOpenError(listing.id, listing.state)
    return listing


def _create_order(unit: UnitOfWork, order_id: str, quote: Quote, listing: Listing) -> Order:
    order = unit.add(
        Order,
        id=order_id,
        quote_id=quote.id,
        listing_id=listing.id,
        buyer_id=quote.buyer_id,
        seller_id=listing.seller_id,
        amount=quote.amount,
        currency=quote.currency,
        state=ORDER.initial,
        paid=Decimal(0),
        refunded=Decimal(0),
        created_at=now(),
    )
    unit.publish(
        OrderCreated(
            id=order.id,
            quote_id=quote.id,
            buyer_id=order.buyer_id,
            seller_id=order.seller_id,
            listing_id=listing.id,
            amount=order.amount,
            currency=order.currency,
            created_at=order.created_at,
        )
    )
    return order
