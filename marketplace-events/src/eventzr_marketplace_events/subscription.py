"""Subscriptions of sellers, as subscriptions-svc announces them."""

from eventzr_kafka import EventData, Written, WrittenOrNone
from eventzr_marketplace_events._shapes import Texts
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Count, Id, Timestamp

__all__ = ["SubscriptionChanged"]


class SubscriptionChanged(
    EventData,
    topic="eventzr.subscriptions.subscription.changed.v1",
    source="subscriptions-svc",
    accepts=spellings_of("subscriptions-svc"),
    subject="subscription:{id}",
    partial=True,
):
    """Consumed to update seller tier entitlements and listing limits.

    Made whole and read partial: a listing limit that is null (no limit) is not one that is absent (not sent along),
    and ``model_fields_set`` tells them apart. The constructor demands the whole state after the change, because
    entitlements pieced together from many events would be wrong after the first one missed.
    """

    id: Id
    """The subscription."""
    seller_id: Written[Id]
    """The seller who holds it; absent from a subscription of another kind, such as an organizer's."""
    tier: Written[str]
    """Tier after the change; an open set, such as ``free`` or ``pro``."""
    entitlements: Written[Texts]
    """All that the tier allows after the change; an open set, such as ``featured_listings``; may be empty."""
    listing_limit: WrittenOrNone[Count]
    """How many listings may be open at once, such as 50; null means no limit, and absent means not sent along."""
    effective_at: Timestamp | None = None
    """From when it holds; None means from the event's own ``time``."""
    changed_at: Timestamp | None = None
    """When it was changed; None where the event's own ``time`` says it."""
