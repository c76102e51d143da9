"""A consumer of a topic on a real Kafka, what it has seen, and what its group has committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    EventProducer,
    KafkaSettings,
    RetryPolicy,
    kafka_consumer,
    on_message,
)
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.dead_letters.letter import Letter, dead_letter_topic, read_letter

__all__ = ["SECONDS", "STOP", "Seen", "committed", "event", "handler", "letters", "publish", "run", "running"]

Handle: TypeAlias = Callable[[CloudEvent[Any]], Awaitable[None]]

SECONDS: Final = 60.0  # they end what hangs
STOP: Final = RetryPolicy(attempts=1, on_exhausted="stop")


class Seen:
    """Events in the order in which their handlers finished."""

    def __init__(self) -> None:
        self.events: list[CloudEvent[Any]] = []
        self._news = asyncio.Event()

    async def handle(self, event: CloudEvent[Any]) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, count: int) -> None:
        while len(self.events) < count:
            self._news.clear()
            await self._news.wait()

    @property
    def numbers(self) -> list[int]:
        return [event.data for event in self.events]

    def by_tenant(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for event in self.events:
            found[event.tenantid].append(event.data)
        return found


def handler(topic: str, group: str, handle: Handle) -> object:
    @kafka_consumer(group_id=group, retry=STOP)
    class Handler:
        @on_message(topic)
        async def handle(self, event: CloudEvent[Any]) -> None:
            await handle(event)

    return Handler()


def event(topic: str, tenant: str, number: int) -> CloudEvent[Any]:
    return CloudEvent(id=f"event-{number}", source="test", type=topic, tenantid=tenant, data=number)


async def publish(producer: EventProducer, topic: str, tenants: Iterable[str], *, first: int = 0) -> None:
    """Publish one event for each of `tenants`, numbered in that order."""
    deliveries = [producer.enqueue(event(topic, tenant, number)) for number, tenant in enumerate(tenants, first)]
    async with asyncio.timeout(SECONDS):
        for delivery in deliveries:
            await delivery


def committed(settings: KafkaSettings, group: str, topic: str) -> int:
    """The offset that the group has committed for the topic's only partition."""
    with contextlib.closing(Consumer({"bootstrap.servers": settings.brokers, "group.id": group})) as consumer:
        try:
            (partition,) = consumer.committed([TopicPartition(topic, 0)], timeout=SECONDS)
        except KafkaException:  # of a coordinator that has just been chosen
            return OFFSET_INVALID
    return partition.offset


def letters(settings: KafkaSettings, group: str) -> list[Letter]:
    """The dead letters of the group."""
    batches = ConfluentLogReader(settings, group).read(dead_letter_topic(group)) or ()
    return [letter for records in batches for letter in map(read_letter, records) if letter is not None]


async def run(*handlers: object, settings: KafkaSettings) -> None:
    async with asyncio.timeout(SECONDS):
        await ConsumerRunner(*handlers, settings=settings).run(handle_signals=False)


@contextlib.asynccontextmanager
async def running(*handlers: object, settings: KafkaSettings) -> AsyncGenerator[ConsumerRunner]:
    async with asyncio.timeout(SECONDS), ConsumerRunner(*handlers, settings=settings) as runner:
        yield runner
