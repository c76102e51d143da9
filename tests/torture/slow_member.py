"""A member with default options whose handlers wait: ``python slow_member.py BROKERS GROUP SECONDS``.

Prints ``ready`` when it has handled the first event, and the number of events when SIGTERM ends it.
"""

import asyncio
import sys

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message
from eventzr_marketplace_events import ListingCreated

BROKERS, GROUP, SECONDS = sys.argv[1:]


def tell(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@kafka_consumer(group_id=GROUP)
class Slow:
    def __init__(self, seconds: float) -> None:
        self.count = 0
        self._seconds = seconds

    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None:  # noqa: ARG002
        if self._seconds:
            await asyncio.sleep(self._seconds)
        self.count += 1
        if self.count == 1:
            tell("ready")


slow = Slow(float(SECONDS))
asyncio.run(ConsumerRunner(slow, settings=KafkaSettings(brokers=BROKERS)).run())
tell(slow.count)
