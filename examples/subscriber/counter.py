"""A consumer of all 12 events that marketplace-svc publishes: one typed method each.

Its constructor takes the counter, so `eventzr-kafka run` needs a function that makes the object.
"""

from collections import Counter
from typing import Any

from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_marketplace_events import (
    DisputeOpened,
    DisputeResolved,
    ListingClosed,
    ListingCreated,
    ListingPublished,
    ListingUpdated,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    QuoteAccepted,
    QuoteSubmitted,
    RfpBroadcast,
)


@kafka_consumer(group_id="your-service-marketplace-counter")
class EventCounter:
    def __init__(self, seen: Counter[tuple[str, str, str]]) -> None:
        """Take the counter: by topic, tenant and id of the event."""
        self.seen = seen

    @on_message(ListingCreated)
    async def on_listing_created(self, event: CloudEvent[ListingCreated]) -> None:
        self._count(event)

    @on_message(ListingPublished)
    async def on_listing_published(self, event: CloudEvent[ListingPublished]) -> None:
        self._count(event)

    @on_message(ListingUpdated)
    async def on_listing_updated(self, event: CloudEvent[ListingUpdated]) -> None:
        self._count(event)

    @on_message(ListingClosed)
    async def on_listing_closed(self, event: CloudEvent[ListingClosed]) -> None:
        self._count(event)

    @on_message(QuoteSubmitted)
    async def on_quote_submitted(self, event: CloudEvent[QuoteSubmitted]) -> None:
        self._count(event)

    @on_message(QuoteAccepted)
    async def on_quote_accepted(self, event: CloudEvent[QuoteAccepted]) -> None:
        self._count(event)

    @on_message(OrderCreated)
    async def on_order_created(self, event: CloudEvent[OrderCreated]) -> None:
        self._count(event)

    @on_message(OrderCompleted)
    async def on_order_completed(self, event: CloudEvent[OrderCompleted]) -> None:
        self._count(event)

    @on_message(OrderCancelled)
    async def on_order_cancelled(self, event: CloudEvent[OrderCancelled]) -> None:
        self._count(event)

    @on_message(DisputeOpened)
    async def on_dispute_opened(self, event: CloudEvent[DisputeOpened]) -> None:
        self._count(event)

    @on_message(DisputeResolved)
    async def on_dispute_resolved(self, event: CloudEvent[DisputeResolved]) -> None:
        self._count(event)

    @on_message(RfpBroadcast)
    async def on_rfp_broadcast(self, event: CloudEvent[RfpBroadcast]) -> None:
        self._count(event)

    def _count(self, event: CloudEvent[Any]) -> None:
        self.seen[event.type, event.tenantid, event.id] += 1
