"""Records of other producers that look wrong and are valid, through a real Kafka to a handler."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Producer, TopicPartition

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.testing.kafka_server import KafkaServerError
from eventzr_marketplace_events import ListingUpdated

if TYPE_CHECKING:
    from collections.abc import Callable

    Headers = list[tuple[str, str | bytes | None]]

    from eventzr_kafka.testing.kafka_server import KafkaServer

STRUCTURED: Headers = [("content-type", b"application/cloudevents+json")]


def events(topic: str) -> list[tuple[bytes, Headers]]:
    """Value and headers of each."""
    base = {"specversion": "1.0", "source": "svc", "type": topic, "tenantid": "acme"}
    in_headers: Headers = [(f"ce_{name}", text.encode()) for name, text in base.items()]
    structured: list[dict[str, Any]] = [
        {"id": "empty extension", "tracestate": "", "data": {}},
        {"id": "leap second", "time": "2016-12-31T23:59:60Z", "data": {}},
        {"id": "lone surrogate", "data": {"text": "@"}},
    ]
    texts = [json.dumps({**base, **members}).replace("@", r"\ud83c").encode() for members in structured]
    nulls: Headers = [("ce_id", b"null headers"), ("ce_subject", None), ("ce_time", None), ("ce_tracestate", b"")]
    return [*((text, [*STRUCTURED]) for text in texts), (b"{}", [*in_headers, *nulls])]


async def test_odd_valid_records_reach_handlers(kafka: KafkaServer, topic: Callable[..., str]) -> None:
    name = topic()
    written = events(name)
    received: dict[str, CloudEvent[Any]] = {}
    enough = asyncio.Event()

    @kafka_consumer(group_id=f"odd-{uuid.uuid4()}", lone_surrogates="replace")
    class Handler:
        @on_message(name)
        async def handle(self, event: CloudEvent) -> None:
            received[event.id] = event
            if len(received) == len(written):
                enough.set()

    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for value, headers in written:
        producer.produce(name, value, b"acme", headers=headers)
    producer.flush()
    async with asyncio.timeout(60), ConsumerRunner(Handler(), settings=KafkaSettings(brokers=kafka.bootstrap_servers)):
        await enough.wait()

    assert received["empty extension"].tracestate == ""
    assert received["leap second"].time == datetime(2016, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert received["lone surrogate"].data == {"text": "\ufffd"}
    bare = received["null headers"]
    assert (bare.subject, bare.time, bare.extensions) == (None, None, {"tracestate": ""})


async def test_undeclared_decimal_is_a_number(kafka: KafkaServer) -> None:
    with suppress(KafkaServerError):
        kafka.create_topics([ListingUpdated.__topic__ or ""])
    update = ListingUpdated.model_validate({"id": "1", "depositAmount": Decimal("12.50"), "more": {"a": [Decimal(5)]}})
    with EventProducer(settings=KafkaSettings(brokers=kafka.bootstrap_servers)) as producer:
        result = producer.enqueue(update, tenant_id="acme").result(20)

    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"}
    with closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition(result.topic, result.partition or 0, result.offset or 0)])
        message = consumer.poll(20)
    assert message is not None
    assert b'"data":{"id":"1","depositAmount":12.5,"more":{"a":[5]}}' in (message.value() or b"")
