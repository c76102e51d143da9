"""EventProducer. Modes: ``enqueue``, ``binary`` (enqueue too), ``gather``, ``many`` (publish_many), ``single``."""

import time

from benchmarks.contestants.kit import LISTING, TENANTS, Stopwatch, Task, event_numbers, run, task
from benchmarks.contestants.publishing import publish_in
from eventzr_kafka import EventProducer, KafkaSettings
from eventzr_kafka.errors import QueueFullError

TASK = task()
PRODUCER = EventProducer(
    source="marketplace-svc",
    settings=KafkaSettings(brokers=TASK.brokers),
    mode="binary" if TASK.mode == "binary" else "structured",
)


def enqueue(work: Task) -> int:
    """Queue events as fast as there is room; returns how many."""
    count = 0
    for number in event_numbers(work):
        put(TENANTS[number % len(TENANTS)])
        count += 1
    PRODUCER.flush_sync()
    return count


def put(tenant: str) -> None:
    """Queue one event; wait while there is no room."""
    while True:
        try:
            PRODUCER.enqueue(LISTING, tenant_id=tenant)
        except QueueFullError:
            time.sleep(0.005)
        else:
            return


async def send_many(tenants: list[str]) -> None:
    """Publish one event for each tenant, with one call."""
    await PRODUCER.publish_many([(LISTING, {"tenant_id": tenant}) for tenant in tenants])


def measure_queue() -> None:
    """Measure from the first call until the last acknowledgement."""
    with PRODUCER:
        PRODUCER.enqueue(LISTING, tenant_id=TENANTS[0]).result(10)
        watch = Stopwatch()
        watch.stop(enqueue(TASK))


async def measure_awaited() -> None:
    """Await acknowledgements."""
    async with PRODUCER:
        await publish_in(
            TASK,
            lambda listing, tenant: PRODUCER.publish(listing, tenant_id=tenant),
            send_many if TASK.mode == "many" else None,
        )


if TASK.mode in ("enqueue", "binary"):
    measure_queue()
else:
    run(measure_awaited(), TASK)
