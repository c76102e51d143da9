"""Users, as user-svc announces them."""

from eventzr_kafka import EventData
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Id, Timestamp

__all__ = ["UserProfileUpdated"]


class UserProfileUpdated(
    EventData,
    topic="eventzr.user.profile.updated.v1",
    source="user-svc",
    accepts=spellings_of("user-svc"),
    subject="user:{id}",
    partial=True,
):
    """Consumed to sync seller display info across listings.

    Partial: a profile is edited field by field, and a picture that was removed (null) is not one that is left
    alone (absent). A whole profile reads as well: then every field is present.
    """

    id: Id
    """The user; the ``seller_id`` of the listings that show this profile."""
    display_name: str | None = None
    """Name that listings show for the seller."""
    avatar_url: str | None = None
    """Address of the seller's picture."""
    bio: str | None = None
    """Description of the seller in its own words, as plain text."""
    updated_at: Timestamp | None = None
    """When it was edited; absent where the event's own ``time`` says it."""
