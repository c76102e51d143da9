"""Sellers: what subscriptions, reviews and profiles say about them."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

from sqlalchemy.exc import IntegrityError

from eventzr_marketplace_events import ListingUpdated, ReviewCreated, SubscriptionChanged, UserProfileUpdated
from examples.marketplace_service.domain.models import Listing, Seller
from examples.marketplace_service.domain.states import LISTING, OPEN_LISTING
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["apply_profile", "apply_review", "apply_subscription", "known_seller"]

_STARS, _POINTS = 5, 100


async def known_seller(unit: UnitOfWork, seller_id: str) -> Seller:
    """The seller, made when it is first heard of; another transaction may do so at the same time."""
    seller = await unit.find(Seller, seller_id)
    if seller is not None:
        return seller
    with suppress(IntegrityError):
        async with unit.session.begin_nested():
            unit.add(Seller, id=seller_id)
    return await unit.get(Seller, seller_id)


async def apply_review(unit: UnitOfWork, review: ReviewCreated) -> None:
    """Count a review towards the seller's rating and the listing's quality score."""
    listing = await unit.get(Listing, review.listing_id)
    seller = await unit.get(Seller, review.seller_id)
    share = review.rating / Decimal(review.rating_scale)
    seller.rating_points += share * _STARS
    seller.rating_count += 1
    listing.quality_points += share * _POINTS
    listing.quality_count += 1


async def apply_subscription(unit: UnitOfWork, subscription: SubscriptionChanged) -> None:
    """Take over tier, entitlements and listing limit. Listings that are open already stay open."""
    seller = await known_seller(unit, subscription.seller_id)
    seller.tier = subscription.tier
    seller.entitlements = subscription.entitlements
    seller.listing_limit = subscription.listing_limit


async def apply_profile(unit: UnitOfWork, profile: UserProfileUpdated) -> None:
    """Copy display info to the seller and all its listings, and tell who shows the open ones."""
    seller = await known_seller(unit, profile.id)
    for name in profile.model_fields_set & {"display_name", "avatar_url", "bio"}:
        setattr(seller, name, getattr(profile, name))
    for listing in await unit.all(unit.select(Listing).where(Listing.seller_id == profile.id)):
        renamed = listing.seller_name != seller.display_name
        listing.seller_name = seller.display_name
        listing.seller_avatar_url = seller.avatar_url
        if renamed and listing.state in OPEN_LISTING:
            listing.state = LISTING.after(listing.state, "update")
            unit.publish(ListingUpdated(id=listing.id, seller_name=seller.display_name))
