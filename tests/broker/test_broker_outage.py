"""A broker that goes away and comes back while a runner consumes and a producer publishes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.waiting import until

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.testing.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SECONDS: Final = 60.0
AWAY: Final = 10.0
TENANTS: Final = 20
TOPIC: Final = "outage"
GROUP: Final = f"group.{uuid.uuid4().hex[:8]}"


class Traffic:
    """What was acknowledged, and what was handled, by tenant and in order."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, list[int]] = defaultdict(list)
        self.handled: dict[str, list[int]] = defaultdict(list)

    @property
    def count(self) -> int:
        return sum(map(len, self.handled.values()))

    @property
    def complete(self) -> bool:
        return all(set(numbers) <= set(self.handled[tenant]) for tenant, numbers in self.acknowledged.items())


@pytest.fixture(scope="session")
def kafka(own_kafka: KafkaServer) -> KafkaServer:
    """One that may be ended."""
    own_kafka.create_topic(TOPIC)
    return own_kafka


@pytest.fixture
def runner(kafka: KafkaServer, traffic: Traffic) -> ConsumerRunner:
    @kafka_consumer(group_id=GROUP)
    class Handler:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            await asyncio.sleep(0)
            traffic.handled[event.tenantid].append(event.data)

    return ConsumerRunner(Handler(), settings=KafkaSettings(brokers=kafka.bootstrap_servers))


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


async def publish_on(producer: EventProducer, tenant: str, traffic: Traffic) -> None:
    """Publish the tenant's next event when the one before is acknowledged, until cancelled."""
    number = 0
    while True:
        event_id = f"{tenant}-{number}"
        await producer.publish(CloudEvent(id=event_id, source="test", type=TOPIC, tenantid=tenant, data=number))
        traffic.acknowledged[tenant].append(number)
        number += 1
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def publishing(settings: KafkaSettings, traffic: Traffic) -> AsyncGenerator[None]:
    """Publish for all tenants; a publisher that fails fails the test."""
    async with EventProducer(settings=settings) as producer, asyncio.TaskGroup() as group:
        tasks = [group.create_task(publish_on(producer, f"tenant-{at}", traffic)) for at in range(TENANTS)]
        yield
        for task in tasks:
            task.cancel()


async def stay_away(kafka: KafkaServer) -> None:
    await asyncio.to_thread(kafka.kill)  # one that says goodbye may be forgotten for good: see test_forgotten_brokers
    await asyncio.sleep(AWAY)
    await asyncio.to_thread(kafka.start)


def lines(caplog: pytest.LogCaptureFixture) -> dict[str, list[str]]:
    """Warnings and errors of each client, without what differs from run to run."""
    found: dict[str, list[str]] = defaultdict(list)
    for record in caplog.records:
        if record.levelno >= logging.WARNING and record.name.startswith("eventzr_kafka"):
            found[record.name].append(re.sub(r" \(.*\)|[\d.]+ s$", "", record.getMessage()))
    return found


def two_lines(who: str, brokers: str) -> list[str]:
    return [
        f"{who}: no connection to {brokers}; retrying until it is back: is it running, and reachable from here?",
        f"{who}: connected to {brokers} again after ",
    ]


async def test_outage_loses_nothing_and_logs_two_lines(
    kafka: KafkaServer, runner: ConsumerRunner, traffic: Traffic, caplog: pytest.LogCaptureFixture
) -> None:
    brokers = kafka.bootstrap_servers
    async with runner:
        async with publishing(KafkaSettings(brokers=brokers), traffic):
            await until(lambda: traffic.count > 1000)
            await stay_away(kafka)
            before = traffic.count
            await until(lambda: traffic.count > before + 1000)
        await until(lambda: traffic.complete)
        assert runner.error is None

    assert lines(caplog) == {
        "eventzr_kafka.consumer": two_lines(GROUP, brokers),
        "eventzr_kafka.producer": two_lines("producer", brokers),
    }
    for numbers in traffic.handled.values():  # what was handled twice stands where it was handled first
        assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))
