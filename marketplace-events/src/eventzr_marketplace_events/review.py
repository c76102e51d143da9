"""Reviews, as reviews-svc announces them."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from eventzr_kafka import EventData, Written
from eventzr_marketplace_events._shapes import OrElse
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Id, Number, Timestamp

__all__ = ["ReviewCreated"]

_STARS = 5


def _usual_scale(_: None) -> int:
    return _STARS


class ReviewCreated(
    EventData,
    topic="eventzr.reviews.review.created.v1",
    source="reviews-svc",
    accepts=spellings_of("reviews-svc"),
    subject="review:{id}",
):
    """Consumed to update seller ratings and listing quality scores."""

    id: Id
    """The review."""
    seller_id: Written[Id]
    """The seller whose rating it counts towards; absent from a review of something else, such as a venue."""
    listing_id: Written[Id]
    """The listing whose quality score it counts towards; absent from a review of the seller alone."""
    rating: Number
    """Points given, from 0 to ``rating_scale``, fractions allowed, such as 4.5; more is better."""
    rating_scale: Annotated[
        Annotated[int, Field(ge=1)],
        OrElse(None, _usual_scale, should_be="a whole number of 1 or more"),
        Field(validate_default=True),
    ] = _STARS
    """The most points that can be given; five stars where it is absent or null."""
    order_id: Id | None = None
    """The order that was reviewed; None for a review without a purchase."""
    created_at: Timestamp | None = None
    """When it was written; None where the event's own ``time`` says it."""

    # A validator of the field and not of the whole class: refusing a record stays cheap, whatever else is in it.
    @field_validator("rating_scale")
    @classmethod
    def _not_below_rating(cls, scale: int, info: ValidationInfo) -> int:
        rating = info.data.get("rating")
        if rating is not None and rating > scale:
            msg = "rating is above ratingScale"
            raise ValueError(msg)
        return scale
