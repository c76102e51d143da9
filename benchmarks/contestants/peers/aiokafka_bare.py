"""Bare aiokafka: ``--mode`` is ``gather`` or ``single`` to publish, else it consumes and decodes."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.contestants.events import read_event
from benchmarks.contestants.kit import TOPIC, Meter, run, task
from benchmarks.contestants.publishing import publish_in
from eventzr_marketplace_events import ListingCreated

TASK = task()
done: list[bool] = []
METER = Meter(TASK, lambda: done.append(True))


async def consume() -> None:
    """Read batches until the meter has enough."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=TASK.brokers, group_id=TASK.group, auto_offset_reset="earliest"
    )
    await consumer.start()
    while not done:
        for messages in (await consumer.getmany(timeout_ms=100, max_records=2000)).values():
            if METER.mark == 1:
                METER.look()
            for message in messages:
                read_event(message.value)
            METER.count += len(messages)
            if METER.count >= METER.mark:
                METER.look()
    await consumer.stop()


async def publish() -> None:
    """Publish payloads."""
    async with AIOKafkaProducer(bootstrap_servers=TASK.brokers, acks="all", enable_idempotence=True) as producer:

        async def send(listing: ListingCreated, key: str) -> None:
            await producer.send_and_wait(TOPIC, listing.model_dump_json(by_alias=True).encode(), key=key.encode())

        await publish_in(TASK, send)


run(publish() if TASK.mode else consume(), TASK)
