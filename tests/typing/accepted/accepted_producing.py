"""Publishing: no event without its tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type

from eventzr_kafka import CloudEvent, Delivery, EventProducer, KafkaSettings, PublishKeywords, PublishResult
from eventzr_kafka.events.context import current_event, current_tenant
from eventzr_marketplace_events import ListingCreated


async def publish(listing: ListingCreated, event: CloudEvent[ListingCreated], anything: CloudEvent[Any]) -> None:
    async with EventProducer(source="marketplace-svc", settings=KafkaSettings.from_env()) as producer:
        assert_type(producer, EventProducer)
        result = await producer.publish(listing, tenant_id="t1")
        assert_type(result, PublishResult)
        assert_type(result.offset, int | None)
        await producer.publish(
            listing,
            tenant_id="t1",
            subject="listing:1",
            event_id="e1",
            time=datetime.now(UTC),
            extensions={"traceparent": "00-1-2-03", "sampled": True},
        )
        await producer.publish(event)
        await producer.publish(anything)
        delivery = producer.enqueue(listing, tenant_id="t1")
        assert_type(delivery, Delivery)
        assert_type(await delivery, PublishResult)
        assert_type(await producer.flush(), int)
        pairs: list[tuple[ListingCreated, PublishKeywords]] = [(listing, {"subject": "listing:1"})]
        assert_type(await producer.publish_many([listing, event], tenant_id="t1"), list[PublishResult])
        assert_type(await producer.publish_many(pairs, tenant_id="t1"), list[PublishResult])


async def in_a_handler(producer: EventProducer, listing: ListingCreated, event: CloudEvent[ListingCreated]) -> None:
    assert_type(current_event(), CloudEvent[Any] | None)
    assert_type(current_tenant(), str | None)
    assert_type(await producer.publish(listing), PublishResult)
    assert_type(producer.enqueue(listing, subject="listing:1"), Delivery)
    await producer.publish(listing, tenant_id="t2", allow_cross_tenant=True)
    await producer.publish(event, allow_cross_tenant=True)


def without_a_loop(listing: ListingCreated) -> None:
    with EventProducer() as producer:
        assert_type(producer.enqueue(listing, tenant_id="t1").result(), PublishResult)
