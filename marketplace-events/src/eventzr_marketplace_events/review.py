"""Reviews, as reviews-svc announces them."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from eventzr_kafka import EventData
from eventzr_marketplace_events._types import Id

__all__ = ["ReviewCreated"]


class ReviewCreated(
    EventData,
    topic="eventzr.reviews.review.created.v1",
    source="reviews-svc",
    subject="review:{id}",
):
    """Consumed to update seller ratings and listing quality scores."""

    id: Id
    """The review."""
    seller_id: Id
    """The seller whose rating it counts towards."""
    listing_id: Id
    """The listing whose quality score it counts towards."""
    rating: Annotated[Decimal, Field(ge=0, max_digits=15)]
    """Points given, from 0 to ``rating_scale``, fractions allowed; more is better."""
    rating_scale: Annotated[int, Field(ge=1)] = 5
    """The most points that can be given; five stars where it is absent."""
    order_id: Id | None = None
    """The order that was reviewed; None for a review without a purchase."""

    @model_validator(mode="after")
    def _rating_within_scale(self) -> Self:
        if self.rating > self.rating_scale:
            msg = "rating is above ratingScale"
            raise ValueError(msg)
        return self
