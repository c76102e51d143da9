"""One member of the group under torture: writes down what it is assigned and what it has handled.

``python member.py BROKERS TOPIC GROUP JOURNAL``. Journal lines: ``A partition…`` (an epoch of these partitions begins)
``H tenant number partition offset`` (a handler has ended) and ``F text`` (a position that was wrong).
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, MessageContext, kafka_consumer, on_message
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned

BROKERS, TOPIC, GROUP, JOURNAL = sys.argv[1:]
FILE = os.open(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(*words: object) -> None:
    os.write(FILE, (" ".join(map(str, words)) + "\n").encode())  # one write a line: a SIGKILL cuts none in two


@kafka_consumer(group_id=GROUP)
class Journalist:
    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any], context: MessageContext) -> None:
        await asyncio.sleep(random.random() / 200)  # noqa: S311
        note("H", event.tenantid, event.data["n"], context.record.partition, context.record.offset)


def assigned(fact: PartitionsAssigned) -> None:
    note("A", *(partition.partition for partition in fact.partitions))


sys.path.append(str(Path(__file__).parents[2]))
from tests.recorder import Recorder  # noqa: E402 -- of the tests, found by its place

Recorder(lambda fault: note("F", fault), gapless=True).watch_runners()
settings = KafkaSettings(brokers=BROKERS, librdkafka={"session.timeout.ms": 2000, "heartbeat.interval.ms": 300})
asyncio.run(ConsumerRunner(Journalist(), settings=settings, hooks=ConsumerHooks(on_partitions_assigned=assigned)).run())
