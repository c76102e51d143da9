"""Sellers, and the subscriptions, reviews and profiles that change them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError

from eventzr_marketplace_events import ListingUpdated, ReviewCreated, SubscriptionChanged, UserProfileUpdated
from examples.marketplace_service.database import now, sessions
from examples.marketplace_service.domain.errors import ContradictionError, NotFoundError, required
from examples.marketplace_service.domain.models import Listing, Member, Order, Review, SubscriptionChange
from examples.marketplace_service.domain.states import LISTING, OPEN_LISTING
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["apply_due_changes", "apply_profile", "apply_review", "apply_subscription", "get_seller", "known_seller"]

_STARS, _POINTS = 5, 100
_AT_ONCE = 500
_SUBSCRIBED = frozenset({"tier", "entitlements", "listing_limit"})
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
        MissingFieldError: The review names neither a seller nor a listing.
    """
    seller = await _known_member(unit, await _reviewed_seller(unit, review))
    listing = None if review.listing_id is None else await unit.lock(Listing, review.listing_id)
    if await unit.find(Review, review.id) is not None:
        return
    share = review.rating / Decimal(review.rating_scale)
    unit.add(Review, id=review.id, seller_id=seller.id, listing_id=review.listing_id, share=share)
    seller.rating_count, average = await _reviews(unit, Review.seller_id == seller.id)
    seller.rating = round(average * _STARS, 2)
    if listing is not None:
        _, average = await _reviews(unit, Review.listing_id == listing.id)
        listing.quality_score = round(average * _POINTS, 1)


async def apply_subscription(
    unit: UnitOfWork, subscription: SubscriptionChanged, *, change_id: str, announced_at: datetime
) -> None:
    """Keep a change of tier, entitlements and listing limit, and apply it if it is due. Open listings stay open.

    Changes are valid in the order of their own times, whenever they are handled: of the due ones, the last that names
    a value counts, and one for the future waits for `apply_due_changes`.

    Args:
        change_id: Id of the event.
        announced_at: Time of the event, from which the change is valid unless it names a time itself.
    """
    seller = await known_seller(unit, required(subscription.seller_id, "subscription", subscription.id, "seller"))
    if await unit.find(SubscriptionChange, change_id) is None:
        unit.add(
            SubscriptionChange,
            id=change_id,
            seller_id=seller.id,
            effective_at=subscription.effective_at or announced_at,
            announced_at=announced_at,
            noted_at=now(),
            named=_named(subscription),
        )
    await _apply_due(unit, seller)


def _named(subscription: SubscriptionChanged) -> dict[str, Any]:
    """Return the values that it names. A null limit means no limit; another null names nothing."""
    names = subscription.model_fields_set & _SUBSCRIBED
    values = {name: getattr(subscription, name) for name in names}
    return {name: value for name, value in values.items() if value is not None or name == "listing_limit"}


async def apply_due_changes() -> None:
    """Apply the changes of all tenants that have become due. All replicas may do it at the same time."""
    is_due = (SubscriptionChange.effective_at <= now()) & ~SubscriptionChange.applied
    async with sessions() as session:
        found = select(SubscriptionChange.tenant_id, SubscriptionChange.seller_id).where(is_due).distinct()
        sellers = (await session.execute(found.limit(_AT_ONCE))).all()
    for tenant_id, seller_id in sellers:
        async with sessions.begin() as session:
            unit = UnitOfWork(session, tenant_id)
            await _apply_due(unit, await unit.lock(Member, seller_id))


async def _apply_due(unit: UnitOfWork, seller: Member) -> None:
    """Give the seller's locked row what the last due changes name; delete those with nothing left to say."""
    its = SubscriptionChange
    due = unit.select(its).where(its.seller_id == seller.id, its.effective_at <= now())
    newest_first = due.order_by(its.effective_at.desc(), its.announced_at.desc(), its.noted_at.desc())
    valid: dict[str, Any] = {}
    for change in await unit.all(newest_first):
        change.applied = bool(change.named.keys() - valid.keys())
        if not change.applied:
            await unit.session.delete(change)
        seller.subscribed_at = max(seller.subscribed_at or change.effective_at, change.effective_at)
        valid = {**change.named, **valid}
    for name, value in valid.items():
        setattr(seller, name, value)


async def apply_profile(unit: UnitOfWork, profile: UserProfileUpdated, at: datetime) -> None:
    """Copy the profile to the member and all its listings, and publish an update of each open one.

    Args:
        at: Time of the event. Each field of the profile has its own time, because an event has only the changed fields.
            Of two events with the same time, the one that is handled last counts.
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


async def _reviewed_seller(unit: UnitOfWork, review: ReviewCreated) -> str:
    if review.listing_id is None:
        return required(review.seller_id, "review", review.id, "seller")
    seller_id = await unit.fixed(Listing.seller_id, review.listing_id)
    if review.seller_id not in (None, seller_id):
        raise ContradictionError(review.id, "seller", "listing")
    if review.order_id is not None and await unit.fixed(Order.listing_id, review.order_id) != review.listing_id:
        raise ContradictionError(review.id, "listing", "order")
    return seller_id


async def _reviews(unit: UnitOfWork, which: ColumnElement[bool]) -> tuple[int, Decimal]:
    """Count reviews, and return the average of their shares too."""
    counted = unit.select(Review).where(which).with_only_columns(func.count(), func.avg(Review.share))
    count, average = (await unit.session.execute(counted)).one()
    return count, Decimal(average)


def _is_newer(at: datetime, known: datetime | None) -> bool:
    return known is None or at >= known
