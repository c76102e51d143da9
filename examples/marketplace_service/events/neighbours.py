"""The playground: this service publishes events in the name of other services. Only for demonstrations."""

from __future__ import annotations

import uuid
from typing import Any

from eventzr_kafka import EventData, EventProducer, KafkaSettings, PublishResult, topic_of
from eventzr_marketplace_events import (
    EscrowReleased,
    EventCreated,
    PaymentCompleted,
    ReviewCreated,
    SubscriptionChanged,
    UserProfileUpdated,
)
from examples.marketplace_service.domain.errors import NotFoundError

__all__ = ["Neighbours"]

_KINDS: dict[str, type[EventData]] = {
    topic: kind
    for kind in (EventCreated, ReviewCreated, PaymentCompleted, EscrowReleased, SubscriptionChanged, UserProfileUpdated)
    if (topic := topic_of(kind)) is not None
}


class Neighbours:
    """Publishes events of the other services, each with its own source."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Take the configuration; the producer starts when this is entered."""
        self.producer = EventProducer(settings=kafka)

    async def publish(self, tenant_id: str, topic: str, payload: Any, *, key: str) -> PublishResult:
        """Publish one event of a neighbour.

        Args:
            key: The request's idempotency key; a repeated request publishes the same event again.

        Raises:
            NotFoundError: The topic does not belong to another service.
            ValidationError: The payload does not fit the class of the topic.
        """
        kind = _KINDS.get(topic)
        if kind is None:
            raise NotFoundError("neighbour's event", topic)
        event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant_id} {key}"))
        return await self.producer.publish(kind.model_validate(payload), tenant_id=tenant_id, event_id=event_id)
