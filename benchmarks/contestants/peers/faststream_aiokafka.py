"""FastStream on aiokafka, acks first. Mode ``gather`` or ``single`` publishes, none consumes."""

import os
from typing import Any

from faststream import FastStream
from faststream.kafka import KafkaBroker

from benchmarks.contestants.events import BareEvent, read_event
from benchmarks.contestants.kit import TOPIC, Meter, run, task
from benchmarks.contestants.publishing import publish_in

TASK = task()
BROKER = KafkaBroker(TASK.brokers, logger=None)
METER = Meter(TASK, lambda: os._exit(0))  # stopping is not measured


async def decode(message: Any) -> BareEvent:
    """Decode as the bare loop does: FastStream does not read application/cloudevents+json as JSON."""
    return read_event(message.body)


async def consume() -> None:
    """Run one handler of the same signature as ours."""

    @BROKER.subscriber(TOPIC, group_id=TASK.group, auto_offset_reset="earliest", decoder=decode)
    async def handle(event: BareEvent) -> None:  # noqa: ARG001
        METER.count += 1
        if METER.count >= METER.mark:
            METER.look()

    await FastStream(BROKER).run()


async def publish() -> None:
    """Publish payloads."""
    await BROKER.start()
    await publish_in(TASK, lambda listing, key: BROKER.publish(listing, TOPIC, key=key.encode()))
    os._exit(0)


run(publish() if TASK.mode else consume(), TASK)
