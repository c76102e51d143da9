"""Requests and answers as JSON, in camelCase like the events."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from examples.marketplace_service.domain.disputes import Outcome

__all__ = [
    "Cancellation",
    "DisputeView",
    "EventContextView",
    "Evidence",
    "ListingChanges",
    "ListingView",
    "NewDispute",
    "NewListing",
    "NewQuote",
    "NewRfp",
    "OrderView",
    "PayoutView",
    "QuoteView",
    "Reason",
    "Resolution",
    "RfpView",
    "SellerView",
    "SponsorshipView",
    "View",
]

Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Words: TypeAlias = Annotated[str, StringConstraints(max_length=4_000)]
Price: TypeAlias = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=4)]
Currency: TypeAlias = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
Number: TypeAlias = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]


class Body(BaseModel):
    """A request; a misspelt field is an error."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class View(BaseModel):
    """An answer, read from a row."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class NewListing(Body):
    seller_id: Text
    title: Text
    lane: Text
    price: Price
    currency: Currency


class ListingChanges(Body):
    title: Text | None = None
    lane: Text | None = None
    price: Price | None = None
    currency: Currency | None = None

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if not self.changes():
            raise ValueError("give at least one field")
        return self

    def changes(self) -> dict[str, Any]:
        """Return the new values by column name."""
        return self.model_dump(exclude_none=True)


class Reason(Body):
    reason: Text


class Cancellation(Reason):
    cancelled_by: Annotated[Text | None, Field(description="The buyer, seller or admin.")] = None


class NewQuote(Body):
    buyer_id: Text
    amount: Price
    message: Words = ""


class Evidence(Body):
    kind: Text
    url: Words | None = None
    description: Words | None = None


class NewDispute(Body):
    reason: Text
    opened_by: Annotated[Text | None, Field(description="The buyer or seller.")] = None
    evidence: Annotated[list[Evidence], Field(max_length=50)] = []


class Resolution(Body):
    outcome: Outcome
    refund: Annotated[Price | None, Field(description="What the buyer gets back; needed for a split only.")] = None
    notes: Words = ""


class NewRfp(Body):
    buyer_id: Text
    title: Text
    requirements: Annotated[list[Text], Field(max_length=50)]
    target_lanes: Annotated[list[Text], Field(min_length=1, max_length=50)]
    deadline: AwareDatetime


class ListingView(View):
    id: str
    seller_id: str
    title: str
    lane: str
    price: Number
    currency: str
    state: str
    views: int
    seller_name: str | None
    seller_avatar_url: str | None
    quality_score: Number | None


class QuoteView(View):
    id: str
    listing_id: str
    buyer_id: str
    amount: Number
    currency: str
    message: str
    state: str


class OrderView(View):
    id: str
    quote_id: str
    listing_id: str
    buyer_id: str
    seller_id: str
    amount: Number
    currency: str
    state: str
    payment_id: str | None
    paid: Number
    refunded: Number


class PayoutView(View):
    id: str
    seller_id: str
    amount: Number
    currency: str
    state: str
    escrow_id: str | None


class DisputeView(View):
    id: str
    order_id: str
    reason: str
    state: str
    refund: Number | None
    outcome: str | None
    notes: str | None


class RfpView(View):
    id: str
    buyer_id: str
    title: str
    requirements: list[str]
    target_lanes: list[str]
    sellers: list[str]
    deadline: datetime


class SellerView(View):
    id: str
    display_name: str | None
    avatar_url: str | None
    tier: str
    entitlements: list[str]
    listing_limit: int | None
    rating: Number | None
    rating_count: int


class SponsorshipView(View):
    title: str | None
    price: Number | None
    currency: str | None


class EventContextView(View):
    id: str
    title: str | None
    organizer_id: str | None
    exhibitor_slots: int
    sponsorships: list[SponsorshipView]
