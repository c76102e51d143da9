"""A member of a group that meets poison, and whose handler fails twice at 3 % of the events.

``python poison_member.py BROKERS TOPIC GROUP JOURNAL``. Journal lines: ``A partition…`` (an epoch of these partitions
begins), ``H tenant number partition offset`` (a handler has ended well) and ``F text`` (a position that was wrong).
"""

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    KafkaSettings,
    MessageContext,
    RetryPolicy,
    kafka_consumer,
    on_message,
)
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned
from eventzr_marketplace_events import ListingCreated

BROKERS, TOPIC, GROUP, JOURNAL = sys.argv[1:]
FILE = os.open(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(*words: object) -> None:
    os.write(FILE, (" ".join(map(str, words)) + "\n").encode())  # one write a line: a SIGKILL cuts none in two


class Listing(ListingCreated, topic=TOPIC):
    pass


@kafka_consumer(group_id=GROUP, retry=RetryPolicy(wait_initial=0.1))
class Journalist:
    def __init__(self) -> None:
        self.failures: Counter[int] = Counter()

    @on_message(Listing)
    async def handle(self, event: CloudEvent[Listing], context: MessageContext) -> None:
        await asyncio.sleep(random.random() / 200)  # noqa: S311
        number = int(event.data.id)
        if number % 100 in {3, 33, 66} and self.failures[number] < 2:
            self.failures[number] += 1
            raise ConnectionError
        note("H", event.tenantid, number, context.record.partition, context.record.offset)


def assigned(fact: PartitionsAssigned) -> None:
    note("A", *(partition.partition for partition in fact.partitions))


sys.path.append(str(Path(__file__).parents[2]))
from tests.recorder import Recorder  # noqa: E402 -- of the tests, found by its place

Recorder(lambda fault: note("F", fault), gapless=True).watch_runners()
settings = KafkaSettings(brokers=BROKERS, librdkafka={"session.timeout.ms": 2000, "heartbeat.interval.ms": 300})
asyncio.run(ConsumerRunner(Journalist(), settings=settings, hooks=ConsumerHooks(on_partitions_assigned=assigned)).run())
