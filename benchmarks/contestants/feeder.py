"""Publishes 200 events a second, with the monotonic clock as their ids, until it is killed or a minute too late."""

import time

from confluent_kafka import Producer

from benchmarks.contestants.kit import LISTING, TENANTS, TOPIC, task
from eventzr_kafka import CloudEvent, encode
from eventzr_marketplace_events import ListingCreated

RATE = 200
TASK = task()


def send(producer: Producer, number: int) -> None:
    """Publish one event, stamped as late as possible."""
    event = CloudEvent[ListingCreated](
        id=str(time.monotonic_ns()),
        source="marketplace-svc",
        type=TOPIC,
        tenantid=TENANTS[number % len(TENANTS)],
        data=LISTING,
    )
    record = encode(event)
    producer.produce(TOPIC, value=record.value, key=record.key, headers=list(record.headers))
    producer.poll(0)


client = Producer({"bootstrap.servers": TASK.brokers, "linger.ms": 0, "partitioner": "murmur2_random"})
began = time.monotonic()
for sent in range(int(RATE * TASK.seconds)):
    time.sleep(max(0.0, began + sent / RATE - time.monotonic()))
    send(client, sent)
client.flush(5)
