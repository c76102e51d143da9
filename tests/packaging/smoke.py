"""All 18 events through the codec and through a consumer in memory: run on the versions that PYTHONPATH names.

It uses only what `docs/compatibility.md` promises, so that it runs on the previous version, too.
"""

import asyncio
import sys
from typing import Any

import eventzr_marketplace_events as marketplace
from eventzr_kafka import CloudEvent, EventData, Record, decode, encode, kafka_consumer, on_message
from eventzr_kafka.testing import Events
from eventzr_marketplace_events import example, topics

TOPICS = (*topics.PRODUCED, *topics.CONSUMED)
KINDS = [getattr(marketplace, name) for name in marketplace.__all__]
CLASSES = {kind.__topic__: kind for kind in KINDS if isinstance(kind, type) and issubclass(kind, EventData)}
handled: list[CloudEvent[Any]] = []


def consumer_of(topic: str, kind: type[EventData]) -> Any:
    """A consumer that notes the events of one topic."""

    class Smoke:
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.append(event)

        handle.__annotations__["event"] = CloudEvent[kind]  # type: ignore[valid-type]  # of each class in its turn
        on_message(topic)(handle)

    return kafka_consumer(group_id=f"smoke-{topic}")(Smoke)()


async def main() -> None:
    with Events() as events:
        events.subscribe(*(consumer_of(topic, CLASSES[topic]) for topic in TOPICS))
        for topic in TOPICS:
            payload = example(CLASSES[topic])
            event = await events.emit(payload, tenant_id="t1")
            for mode in ("structured", "binary"):
                sent = encode(event, mode)
                read = decode(Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers))
                assert (type(read.data), read.data, read.id) == (CLASSES[topic], payload, event.id)
    assert [type(event.data) for event in handled] == [CLASSES[topic] for topic in TOPICS]
    sys.stdout.write(f"{len(handled)} events\n")


asyncio.run(main())
