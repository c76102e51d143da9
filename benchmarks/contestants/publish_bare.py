"""Bare ``produce`` + ``model_dump_json``, without delivery reports. Modes: ``payload`` (no envelope), ``event``."""

from datetime import UTC, datetime
from uuid import uuid4

from confluent_kafka import Producer

from benchmarks.contestants.events import BareEvent
from benchmarks.contestants.kit import LISTING, TENANTS, TOPIC, Stopwatch, Task, event_numbers, task

TASK = task()
HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json; charset=utf-8")]
CONFIG = {  # as this package sets it up
    "bootstrap.servers": TASK.brokers,
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",
    "linger.ms": 0,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
}


def payload(_tenant: str) -> str:
    """Return the payload alone as JSON."""
    return LISTING.model_dump_json(by_alias=True)


def event(tenant: str) -> str:
    """Return the whole event as JSON, from a model too."""
    whole = BareEvent(
        id=str(uuid4()),
        source="marketplace-svc",
        type=TOPIC,
        time=datetime.now(UTC),
        datacontenttype="application/json",
        subject="listing:listing-uuid",
        tenantid=tenant,
        data=LISTING,
    )
    return whole.model_dump_json(by_alias=True, exclude_none=True)


def produce(producer: Producer, work: Task) -> int:
    """Queue events as fast as there is room; returns how many."""
    write = payload if work.mode == "payload" else event
    count = 0
    for number in event_numbers(work):
        tenant = TENANTS[number % len(TENANTS)]
        put(producer, tenant, write(tenant))
        count += 1
    producer.flush(30)
    return count


def put(producer: Producer, tenant: str, value: str) -> None:
    """Queue one event; wait while there is no room."""
    while True:
        try:
            producer.produce(TOPIC, value=value, key=tenant, headers=HEADERS)
        except BufferError:
            producer.poll(0.005)
        else:
            producer.poll(0)
            return


client = Producer(CONFIG)
client.produce(TOPIC, value=payload(""), key=TENANTS[0])
client.flush(10)
watch = Stopwatch()
watch.stop(produce(client, TASK))
