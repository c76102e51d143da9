"""Failures on a real Kafka: an event that fails again and again costs the lanes of others nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    EventProducer,
    KafkaSettings,
    RetryPolicy,
    kafka_consumer,
    on_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 120.0  # to end what hangs
TENANTS: Final = 1_000
EVENTS: Final = 6  # of each tenant
OTHERS: Final = (TENANTS - 1) * EVENTS
FAILING: Final = "tenant-7"
FAILURES: Final = 4  # at least
FOR_EVER: Final = RetryPolicy(attempts=1_000_000, wait_initial=0.02, wait_max=0.02, jitter=False)


class Run:
    """One group over the whole topic: a tenant's first event fails until all events of the others are handled.

    Attributes:
        others_at_failure: Events of the others that were handled before each failure.
    """

    def __init__(self) -> None:
        self.handled: dict[str, list[int]] = defaultdict(list)
        self.others_at_failure: list[int] = []
        self.others = 0
        self.complete = asyncio.Event()

    async def handle(self, event: CloudEvent[Any]) -> None:
        if event.tenantid != FAILING:
            self.others += 1
        elif self.others < OTHERS or len(self.others_at_failure) < FAILURES:
            self.others_at_failure.append(self.others)
            raise ConnectionError
        self.handled[event.tenantid].append(event.data)
        if len(self.handled.get(FAILING, ())) == EVENTS:
            self.complete.set()


def event(topic: str, tenant: str, number: int) -> CloudEvent[Any]:
    return CloudEvent[Any](id=f"{tenant}-{number}", source="test", type=topic, tenantid=tenant, data=number)


async def publish(settings: KafkaSettings, topic: str) -> None:
    async with EventProducer(settings=settings) as producer:
        for number in range(EVENTS):
            for tenant in range(TENANTS):
                producer.enqueue(event(topic, f"tenant-{tenant}", number))


async def test_failing_event_lets_999_tenants_pass(kafka: KafkaServer, topic: TopicFactory) -> None:
    settings, name, run = KafkaSettings(brokers=kafka.bootstrap_servers), topic(partitions=6), Run()
    await publish(settings, name)

    # One handler at a time: an event that kept its place while it waits for its next attempt would let no other pass.
    @kafka_consumer(group_id=f"group.{uuid.uuid4().hex[:8]}", max_concurrency=1, retry=FOR_EVER)
    class Handler:
        @on_message(name)
        async def handle(self, event: CloudEvent[Any]) -> None:
            await run.handle(event)

    async with asyncio.timeout(SECONDS), ConsumerRunner(Handler(), settings=settings):
        await run.complete.wait()

    assert run.others_at_failure[0] < OTHERS
    assert len(run.others_at_failure) >= FAILURES
    assert run.handled == {f"tenant-{number}": list(range(EVENTS)) for number in range(TENANTS)}
