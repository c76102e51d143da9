"""Listings: draft → published → updated → closed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from eventzr_marketplace_events import (
    ListingClosed,
    ListingCreated,
    ListingPublished,
    ListingStatistics,
    ListingUpdated,
)
from examples.marketplace_service.database import now
from examples.marketplace_service.domain.amounts import require_digits
from examples.marketplace_service.domain.errors import LimitReachedError, UnchangedError
from examples.marketplace_service.domain.models import Listing, Member, Order, Quote
from examples.marketplace_service.domain.sellers import known_seller
from examples.marketplace_service.domain.states import LISTING, OPEN_LISTING
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["close", "create", "publish", "update"]


async def create(unit: UnitOfWork, *, seller_id: str, title: str, lane: str, price: Decimal, currency: str) -> Listing:
    """Create a draft."""
    require_digits(price, currency)
    seller = await known_seller(unit, seller_id)
    listing = unit.add(
        Listing,
        seller_id=seller_id,
        title=title,
        lane=lane,
        price=price,
        currency=currency,
        state=LISTING.initial,
        views=0,
        seller_name=seller.display_name,
        seller_avatar_url=seller.avatar_url,
        created_at=now(),
    )
    unit.publish(
        ListingCreated(
            id=listing.id,
            title=title,
            lane=lane,
            seller_id=seller_id,
            price=price,
            currency=currency,
            seller_name=seller.display_name,
            status=listing.state,
            created_at=listing.created_at,
        )
    )
    return listing


async def publish(unit: UnitOfWork, listing_id: str) -> Listing:
    """Publish a draft, if the seller's tier allows another open listing."""
    seller = await known_seller(unit, await unit.fixed(Listing.seller_id, listing_id))
    listing = await unit.lock(Listing, listing_id)
    state = LISTING.after(listing.state, "publish")
    await _require_room(unit, seller)
    listing.state = state
    unit.publish(ListingPublished(id=listing.id, seller_id=listing.seller_id, lane=listing.lane, published_at=now()))
    return listing


async def update(unit: UnitOfWork, listing_id: str, changes: dict[str, Any]) -> Listing:
    """Change some columns, and announce those that have another value now.

    Args:
        changes: New values by column name.

    Raises:
        UnchangedError: The listing has all these values already.
        AmountDigitsError: The price cannot be paid in the currency.
    """
    listing = await unit.lock(Listing, listing_id)
    listing.state = LISTING.after(listing.state, "update")
    changes = {name: value for name, value in changes.items() if getattr(listing, name) != value}
    if not changes:
        raise UnchangedError("listing", listing.id)
    for name, value in changes.items():
        setattr(listing, name, value)
    require_digits(listing.price, listing.currency)
    unit.publish(ListingUpdated(id=listing.id, **changes))
    return listing


async def close(unit: UnitOfWork, listing_id: str, reason: str) -> Listing:
    """Close a listing for good."""
    listing = await unit.lock(Listing, listing_id)
    listing.state = LISTING.after(listing.state, "close")
    statistics = ListingStatistics(
        views=listing.views,
        quotes=await unit.count(unit.select(Quote).where(Quote.listing_id == listing_id)),
        orders=await unit.count(unit.select(Order).where(Order.listing_id == listing_id)),
    )
    unit.publish(
        ListingClosed(id=listing.id, reason=reason, statistics=statistics, seller_id=listing.seller_id, closed_at=now())
    )
    return listing


async def _require_room(unit: UnitOfWork, seller: Member) -> None:
    """Check the seller's limit. Its row is locked, so two of its listings cannot be published at the same time."""
    if seller.listing_limit is None:
        return
    theirs = unit.select(Listing).where(Listing.seller_id == seller.id, Listing.state.in_(OPEN_LISTING))
    if await unit.count(theirs) >= seller.listing_limit:
        raise LimitReachedError(seller.tier, seller.listing_limit)
