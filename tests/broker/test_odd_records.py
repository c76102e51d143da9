"""Records of other producers that look wrong and are valid, through a real Kafka to a handler."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message

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


async def test_odd_but_valid_records_reach_their_handler(kafka: KafkaServer, topic: Callable[..., str]) -> None:
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
