"""kstreams, one event at a time, decoded in the handler."""

import asyncio
import os
from typing import Any

from kstreams import ConsumerRecord, create_engine
from kstreams.backends.kafka import Kafka

from benchmarks.contestants.events import read_event
from benchmarks.contestants.kit import TOPIC, Meter, run, task

TASK = task()
METER = Meter(TASK, lambda: os._exit(0))  # stopping is not measured
engine = create_engine(title="bench", backend=Kafka(bootstrap_servers=[TASK.brokers]))


@engine.stream(TOPIC, group_id=TASK.group, auto_offset_reset="earliest")
async def handle(record: ConsumerRecord[Any, Any]) -> None:
    """Decode, and count."""
    read_event(record.value)
    METER.count += 1
    if METER.count >= METER.mark:
        METER.look()


async def main() -> None:
    """Run until the meter ends it."""
    await engine.start()
    await asyncio.sleep(TASK.seconds * 4)


run(main(), TASK)
