"""Sellers, and the subscriptions, reviews and profiles that change them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, func
from sqlalchemy.exc import IntegrityError

from eventzr_marketplace_events import ListingUpdated, ReviewCreated, SubscriptionChanged, UserProfileUpdated
from examples.marketplace_service.domain.errors import ContradictionError, NotFoundError, required
from examples.marketplace_service.domain.models import Listing, Member, Order, Review
from examples.marketplace_service.domain.states import LISTING, OPEN_LISTING
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["apply_profile", "apply_review", "apply_subscription", "get_seller", "known_seller"]

_STARS, _POINTS = 5, 100
_SHOWN = frozenset({"display_name", "avatar_url", "bio"})


async def get_seller(unit: UnitOfWork, seller_id: str) -> Member:
    """Return a seller, for reading.

    Raises:
        NotFoundError: The tenant does not have this member, or it is not a seller.
    """
    member = await unit.find(Member, seller_id)
    if member is None or not member.sells:
        raise NotFoundError("seller", seller_id)
    return member


async def known_seller(unit: UnitOfWork, seller_id: str) -> Member:
    """Return the member, locked, and make it a seller: it offers a listing or subscribes."""
    member = await _known_member(unit, seller_id)
    member.sells = True
    return member


async def apply_review(unit: UnitOfWork, review: ReviewCreated) -> None:
    """Store a review, once for each id, and compute the seller's rating and the listing's quality score.

    Raises:
        ContradictionError: Listing, seller and order do not belong together.
        MissingFieldError: The review names no seller or no listing.
    """
    seller_id = required(review.seller_id, "review", review.id, "seller")
    listing_id = required(review.listing_id, "review", review.id, "listing")
    await _require_consistent(unit, review, listing_id)
    seller = await unit.lock(Member, seller_id)
    listing = await unit.lock(Listing, listing_id)
    if await unit.find(Review, review.id) is not None:
        return
    share = review.rating / Decimal(review.rating_scale)
    unit.add(Review, id=review.id, seller_id=seller.id, listing_id=listing.id, share=share)
    seller.rating_count, average = await _reviews(unit, Review.seller_id == seller.id)
    seller.rating = round(average * _STARS, 2)
    _, average = await _reviews(unit, Review.listing_id == listing.id)
    listing.quality_score = round(average * _POINTS, 1)


async def apply_subscription(unit: UnitOfWork, subscription: SubscriptionChanged, at: datetime) -> None:
    """Set tier, entitlements and listing limit. Open listings stay open.

    Args:
        at: Time from which it is valid. An event with an earlier time than the stored one changes nothing.
    """
    seller = await known_seller(unit, required(subscription.seller_id, "subscription", subscription.id, "seller"))
    if _is_newer(at, seller.subscribed_at):
        seller.subscribed_at = at
        seller.tier = subscription.tier or seller.tier
        if subscription.entitlements is not None:
            seller.entitlements = subscription.entitlements
        if "listing_limit" in subscription.model_fields_set:
            seller.listing_limit = subscription.listing_limit


async def apply_profile(unit: UnitOfWork, profile: UserProfileUpdated, at: datetime) -> None:
    """Copy the profile to the member and all its listings, and publish an update of each open one.

    Args:
        at: Time of the event. Each field of the profile has its own time, because an event has only the changed fields.
    """
    member = await _known_member(unit, profile.id)
    for name in profile.model_fields_set & _SHOWN:
        if _is_newer(at, getattr(member, f"{name}_at")):
            setattr(member, f"{name}_at", at)
            setattr(member, name, getattr(profile, name))
    theirs = unit.select(Listing).where(Listing.seller_id == member.id).order_by(Listing.id).with_for_update()
    for listing in await unit.all(theirs):
        _show_seller(unit, listing, member)


def _show_seller(unit: UnitOfWork, listing: Listing, seller: Member) -> None:
    renamed = listing.seller_name != seller.display_name
    listing.seller_name = seller.display_name
    listing.seller_avatar_url = seller.avatar_url
    if renamed and listing.state in OPEN_LISTING:
        listing.state = LISTING.after(listing.state, "update")
        unit.publish(ListingUpdated(id=listing.id, seller_name=seller.display_name))


async def _known_member(unit: UnitOfWork, member_id: str) -> Member:
    """Return the member, locked; create it if it is new, which another transaction may do at the same time."""
    member = await unit.find(Member, member_id, lock=True)
    if member is not None:
        return member
    with suppress(IntegrityError):
        async with unit.session.begin_nested():
            unit.add(Member, id=member_id)
    return await unit.lock(Member, member_id)


async def _require_consistent(unit: UnitOfWork, review: ReviewCreated, listing_id: str) -> None:
    if await unit.fixed(Listing.seller_id, listing_id) != review.seller_id:
        raise ContradictionError(review.id, "seller", "listing")
    if review.order_id is not None and await unit.fixed(Order.listing_id, review.order_id) != listing_id:
        raise ContradictionError(review.id, "listing", "order")


async def _reviews(unit: UnitOfWork, which: ColumnElement[bool]) -> tuple[int, Decimal]:
    """Count reviews, and return the average of their shares too."""
    counted = unit.select(Review).where(which).with_only_columns(func.count(), func.avg(Review.share))
    count, average = (await unit.session.execute(counted)).one()
    return count, Decimal(average)


def _is_newer(at: datetime, known: datetime | None) -> bool:
    return known is None or at >= known
