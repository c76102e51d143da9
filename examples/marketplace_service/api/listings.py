"""Listings, and the quotes on them."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter

from examples.marketplace_service.api.models import (
    ListingChanges,
    ListingView,
    NewListing,
    NewQuote,
    OrderView,
    QuoteView,
    Reason,
)
from examples.marketplace_service.api.transactions import Command, TransactionalRoute, Unit
from examples.marketplace_service.domain import listings, quotes
from examples.marketplace_service.domain.models import Listing, Order, Quote

__all__ = ["router"]

router = APIRouter(route_class=TransactionalRoute)
_PAGE = 200


@router.post("/listings", status_code=HTTPStatus.CREATED, response_model=ListingView)
async def create_listing(unit: Command, body: NewListing) -> Listing:
    return await listings.create(unit, **body.model_dump())


@router.get("/listings", response_model=list[ListingView])
async def list_listings(unit: Unit) -> list[Listing]:
    return list(await unit.all(unit.select(Listing).order_by(Listing.created_at.desc()).limit(_PAGE)))


@router.get("/listings/{listing_id}", response_model=ListingView)
async def show_listing(unit: Unit, listing_id: str) -> Listing:
    listing = await unit.lock(Listing, listing_id)
    listing.views += 1
    return listing


@router.patch("/listings/{listing_id}", response_model=ListingView)
async def update_listing(unit: Unit, listing_id: str, body: ListingChanges) -> Listing:
    """Change a listing. Refused if it has all these values already."""
    return await listings.update(unit, listing_id, body.changes())


@router.post("/listings/{listing_id}/publish", response_model=ListingView)
async def publish_listing(unit: Command, listing_id: str) -> Listing:
    return await listings.publish(unit, listing_id)


@router.post("/listings/{listing_id}/close", response_model=ListingView)
async def close_listing(unit: Command, listing_id: str, body: Reason) -> Listing:
    return await listings.close(unit, listing_id, body.reason)


@router.post("/listings/{listing_id}/quotes", status_code=HTTPStatus.CREATED, response_model=QuoteView)
async def submit_quote(unit: Command, listing_id: str, body: NewQuote) -> Quote:
    return await quotes.submit(unit, listing_id, **body.model_dump())


@router.get("/quotes", response_model=list[QuoteView])
async def list_quotes(unit: Unit) -> list[Quote]:
    return list(await unit.all(unit.select(Quote).order_by(Quote.created_at.desc()).limit(_PAGE)))


@router.get("/quotes/{quote_id}", response_model=QuoteView)
async def show_quote(unit: Unit, quote_id: str) -> Quote:
    return await unit.get(Quote, quote_id)


@router.post("/quotes/{quote_id}/accept", status_code=HTTPStatus.CREATED, response_model=OrderView)
async def accept_quote(unit: Command, quote_id: str) -> Order:
    return await quotes.accept(unit, quote_id)
