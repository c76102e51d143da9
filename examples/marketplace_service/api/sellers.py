"""Sellers, requests to them, and the marketplace around events."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter

from examples.marketplace_service.api.models import EventContextView, NewRfp, RfpView, SellerView, SponsorshipView
from examples.marketplace_service.api.transactions import Command, TransactionalRoute, Unit
from examples.marketplace_service.domain import rfps, sellers
from examples.marketplace_service.domain.models import EventContext, ExhibitorSlot, Member, Rfp, Sponsorship

__all__ = ["router"]

router = APIRouter(route_class=TransactionalRoute)
_PAGE = 200


@router.get("/sellers", response_model=list[SellerView])
async def list_sellers(unit: Unit) -> list[Member]:
    return list(await unit.all(unit.select(Member).where(Member.sells).order_by(Member.id).limit(_PAGE)))


@router.get("/sellers/{seller_id}", response_model=SellerView)
async def show_seller(unit: Unit, seller_id: str) -> Member:
    return await sellers.get_seller(unit, seller_id)


@router.post("/rfps", status_code=HTTPStatus.CREATED, response_model=RfpView)
async def broadcast_rfp(unit: Command, body: NewRfp) -> Rfp:
    """Send a request for proposals to all sellers in its lanes. Refused if its deadline has passed."""
    return await rfps.broadcast(unit, **body.model_dump())


@router.get("/rfps/{rfp_id}", response_model=RfpView)
async def show_rfp(unit: Unit, rfp_id: str) -> Rfp:
    return await unit.get(Rfp, rfp_id)


@router.get("/event-contexts/{event_id}")
async def show_event_context(unit: Unit, event_id: str) -> EventContextView:
    context = await unit.get(EventContext, event_id)
    offers = await unit.all(unit.select(Sponsorship).where(Sponsorship.event_id == event_id))
    return EventContextView(
        id=context.id,
        title=context.title,
        organizer_id=context.organizer_id,
        exhibitor_slots=await unit.count(unit.select(ExhibitorSlot).where(ExhibitorSlot.event_id == event_id)),
        sponsorships=[SponsorshipView.model_validate(offer) for offer in offers],
    )
