"""ConsumerRunner: at least once, in order. Modes: none, ``awaits``, ``batch``, ``sync``, ``latency``.

With ``--wait`` each handler sleeps; in mode ``awaits`` it only lets other tasks run, once.
"""

import asyncio
import threading

from benchmarks.contestants.kit import LatencyMeter, Meter, new_loop, task
from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_batch, on_message
from eventzr_marketplace_events import ListingCreated

TASK = task()
LOOP = new_loop(TASK)
LOCK = threading.Lock()


def finish() -> None:
    """Stop the runner from any thread."""
    LOOP.call_soon_threadsafe(runner.stop)


METER = Meter(TASK, finish)
AGES = LatencyMeter(TASK, finish)


@kafka_consumer(group_id=TASK.group, max_concurrency=TASK.workers)
class NoOp:
    """Only counts."""

    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None:  # noqa: ARG002
        """Count."""
        METER.count += 1
        if METER.count >= METER.mark:
            METER.look()


@kafka_consumer(group_id=TASK.group, max_concurrency=TASK.workers)
class Waits:
    """Sleeps, then counts."""

    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None:  # noqa: ARG002
        """Sleep."""
        await asyncio.sleep(TASK.wait)
        METER.count += 1
        if METER.count >= METER.mark:
            METER.look()


@kafka_consumer(group_id=TASK.group, max_concurrency=TASK.workers)
class Batches:
    """Counts many at once."""

    @on_batch(ListingCreated, max_size=500, max_wait=0.1)
    async def handle(self, events: list[CloudEvent[ListingCreated]]) -> None:
        """Count."""
        METER.count += len(events)
        if METER.count >= METER.mark:
            METER.look()


@kafka_consumer(group_id=TASK.group, max_concurrency=TASK.workers)
class Sync:
    """Counts in threads."""

    @on_message(ListingCreated)
    def handle(self, event: CloudEvent[ListingCreated]) -> None:  # noqa: ARG002
        """Count."""
        with LOCK:
            METER.count += 1
            if METER.count >= METER.mark:
                METER.look()


@kafka_consumer(group_id=TASK.group, max_concurrency=TASK.workers)
class Ages:
    """Measures the age of events."""

    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None:
        """Add the age of the event."""
        AGES.take(event.id)


MODES = {"awaits": Waits, "batch": Batches, "sync": Sync, "latency": Ages}
HANDLER = Waits if TASK.wait else MODES.get(TASK.mode, NoOp)
asyncio.set_event_loop(LOOP)
runner = ConsumerRunner(HANDLER(), settings=KafkaSettings(brokers=TASK.brokers))
LOOP.run_until_complete(runner.run())
