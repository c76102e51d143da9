"""Requests for proposals, broadcast to the sellers who have an open listing in one of the lanes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from eventzr_marketplace_events import RfpBroadcast
from examples.marketplace_service.database import now
from examples.marketplace_service.domain.errors import DeadlinePassedError
from examples.marketplace_service.domain.models import Listing, Rfp
from examples.marketplace_service.domain.states import OPEN_LISTING
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["broadcast"]


async def broadcast(
    unit: UnitOfWork, *, buyer_id: str, title: str, requirements: list[str], target_lanes: list[str], deadline: datetime
) -> Rfp:
    """Broadcast a request to all matching sellers.

    Raises:
        DeadlinePassedError: The deadline is not in the future.
    """
    if deadline <= now():
        raise DeadlinePassedError(deadline)
    matching = unit.select(Listing).where(Listing.lane.in_(target_lanes), Listing.state.in_(OPEN_LISTING))
    asked: dict[str, Any] = {
        "buyer_id": buyer_id,
        "title": title,
        "requirements": requirements,
        "target_lanes": target_lanes,
        "deadline": deadline,
    }
    sellers = await unit.session.scalars(matching.with_only_columns(Listing.seller_id).distinct())
    rfp = unit.add(Rfp, sellers=sorted(sellers), **asked)
    unit.publish(RfpBroadcast(id=rfp.id, **asked, matched_seller_ids=rfp.sellers, broadcast_at=now()))
    return rfp
