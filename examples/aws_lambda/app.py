"""A Lambda function that handles an event and publishes another; template.yaml calls `handler`.

The objects at the bottom are made once, when the container is loaded, and kept between invocations.
"""

from collections.abc import Callable

from eventzr_kafka import CloudEvent, EventProducer, Reject, kafka_consumer, on_message
from eventzr_kafka.aws_lambda import LambdaProducer, lambda_handler
from eventzr_marketplace_events import EscrowReleased, OrderCompleted

SELLERS = {"order-uuid": "seller-uuid"}  # stands for the service's own store


@kafka_consumer(group_id="wallet-svc-escrow")
class EscrowHandler:
    """Releases the money that is held for an order when the order is completed."""

    def __init__(self, producer: EventProducer, seller_of: Callable[[str], str | None]) -> None:
        self.producer = producer
        self.seller_of = seller_of

    @on_message(OrderCompleted)
    async def release(self, event: CloudEvent[OrderCompleted]) -> None:
        order = event.data
        seller = self.seller_of(order.id)
        if seller is None:
            raise Reject("no escrow is held for this order")  # to the dead letters
        released = EscrowReleased(
            id=f"escrow-{order.id}",
            order_id=order.id,
            seller_id=seller,
            amount=order.final_amount,
            currency=order.currency,
        )
        # The tenant is inherited. The id is the same each time, because a record may be redelivered.
        await self.producer.publish(released, event_id=f"escrow-released-{order.id}")


producer = LambdaProducer(source="wallet-svc")
handler = lambda_handler(lambda: EscrowHandler(producer, SELLERS.get), producer=producer)
