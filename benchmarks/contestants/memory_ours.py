"""Memory of a backlog while handlers are slow: the highest RSS minus that before the first event."""

import asyncio

from benchmarks.contestants.kit import report, rss_mib, task
from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned
from eventzr_marketplace_events import ListingCreated

TASK = task()
idle: list[float] = []


@kafka_consumer(group_id=TASK.group, max_concurrency=TASK.workers)
class Slow:
    """Sleeps."""

    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None:  # noqa: ARG002
        """Sleep."""
        await asyncio.sleep(TASK.wait)


def assigned(_fact: PartitionsAssigned) -> None:
    """Measure the idle memory, before the first record."""
    idle.append(rss_mib())


async def main() -> None:
    """Measure every 50 ms until the time is over."""
    runner = ConsumerRunner(
        Slow(), settings=KafkaSettings(brokers=TASK.brokers), hooks=ConsumerHooks(on_partitions_assigned=assigned)
    )
    highest = 0.0
    async with runner:
        await runner.ready()
        for _ in range(int(TASK.seconds / 0.05)):
            await asyncio.sleep(0.05)
            highest = max(highest, rss_mib())
    report(highest - idle[0], idle=idle[0])


asyncio.run(main())
