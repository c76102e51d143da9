"""The integration example of the platform's guide, in Python.

Try it:  eventzr-kafka dev examples.subscriber.handlers:MarketplaceEventHandler
"""

from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_marketplace_events import ListingCreated, OrderCompleted


@kafka_consumer(group_id="your-service-marketplace-consumer")
class MarketplaceEventHandler:
    @on_message(ListingCreated)
    async def handle_listing_created(self, event: CloudEvent[ListingCreated]) -> None:
        # Process the new listing in your service context
        print(f"New listing in lane {event.data.lane}: {event.data.title}")

    @on_message("eventzr.marketplace.order.completed.v1")
    async def handle_order_completed(self, event: CloudEvent[OrderCompleted]) -> None:
        # Trigger post-order workflows (review request, analytics, etc.)
        print(f"Order {event.data.id} completed for {event.tenantid}")
