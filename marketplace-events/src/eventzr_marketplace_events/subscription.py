"""Subscriptions of sellers, as subscriptions-svc announces them."""

from eventzr_kafka import EventData
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Count, Id, Timestamp

__all__ = ["SubscriptionChanged"]


class SubscriptionChanged(
    EventData,
    topic="eventzr.subscriptions.subscription.changed.v1",
    source="subscriptions-svc",
    accepts=spellings_of("subscriptions-svc"),
    subject="subscription:{id}",
):
    """Consumed to update seller tier entitlements and listing limits.

    Not partial: it carries the whole state after the change, because entitlements pieced together from many
    events would be wrong after the first one missed.
    """

    id: Id
    """The subscription."""
    seller_id: Id
    """The seller who holds it."""
    tier: str
    """Tier after the change; an open set, such as ``free`` or ``pro``."""
    entitlements: list[str]
    """All that the tier allows after the change; an open set, such as ``featured_listings``; may be empty."""
    listing_limit: Count | None
    """How many listings may be open at once; null means no limit, and absent is refused: it must be said."""
    effective_at: Timestamp | None = None
    """From when it holds; None means from the event's own ``time``."""
