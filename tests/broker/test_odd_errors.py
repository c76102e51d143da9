"""Errors that are hard to judge, on a real Kafka: each costs its own event, and a restart finds nothing to repeat."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.broker.consuming import letters
from tests.odd_errors import ODD
from tests.waiting import until

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    EventProducer,
    KafkaSettings,
    RetryPolicy,
    kafka_consumer,
    on_message,
)
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.errors import EventStoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
RETRY: Final = RetryPolicy(attempts=2, wait_initial=0)


async def cancel_this() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


class Service:
    """One group on one topic, in as many runs as a test wants."""

    def __init__(self, kafka: KafkaServer, topic: str) -> None:
        self.settings = KafkaSettings(brokers=kafka.bootstrap_servers)
        self.topic = topic
        self.group = f"group.{uuid.uuid4().hex[:8]}"
        self.called: list[str] = []
        kafka.create_topic(dead_letter_topic(self.group), partitions=1)

    async def publish(self, ids: Sequence[str]) -> None:
        async with EventProducer(settings=self.settings) as producer:
            for name in ids:
                event = CloudEvent[Any](id=name, source="s", type=self.topic, tenantid="t1", data={})
                await producer.publish(event)

    async def run(self, reached: Callable[[], bool]) -> None:
        called, topic = self.called, self.topic

        @kafka_consumer(group_id=self.group, retry=RETRY)
        class Handler:
            @on_message(topic)
            async def handle(self, event: CloudEvent[Any]) -> None:
                called.append(event.id)
                if event.id == "exit":
                    raise SystemExit(3)
                if event.id == "cancel":
                    await cancel_this()
                if event.id in ODD:
                    ODD[event.id]()

        async with asyncio.timeout(SECONDS), ConsumerRunner(Handler(), settings=self.settings) as runner:
            waiting = asyncio.create_task(runner.wait())
            await until(lambda: reached() or waiting.done())
            waiting.cancel()

    async def letters(self) -> list[str | None]:
        found = await asyncio.to_thread(letters, self.settings, self.group)
        return [letter.facts.event_id for letter in found]


async def test_odd_error_costs_its_own_event(kafka: KafkaServer, topic: TopicFactory) -> None:
    service, odd = Service(kafka, topic(partitions=1)), [*ODD, "cancel"]
    await service.publish([name for each in odd for name in (each, f"good after {each}")])
    await service.run(lambda: service.called[-1:] == [f"good after {odd[-1]}"])
    good = [name for name in service.called if name.startswith("good")]
    assert good == [f"good after {name}" for name in odd]
    assert await service.letters() == odd

    service.called.clear()
    await service.publish(["one more"])
    await service.run(lambda: bool(service.called))
    assert service.called == ["one more"]


@pytest.mark.parametrize("before", [[], ["good"]])
async def test_exiting_event_stops_one_run(before: list[str], kafka: KafkaServer, topic: TopicFactory) -> None:
    service = Service(kafka, topic(partitions=1))
    if before:
        await service.publish(before)
        await service.run(lambda: service.called == before)
    await service.publish(["exit", "after"])
    with pytest.raises(EventStoppedError, match=f"event exit: Handler.handle: raised SystemExit at {__file__}"):
        await service.run(lambda: False)
    assert service.called == [*before, "exit"]

    await service.run(lambda: "after" in service.called)
    assert service.called == [*before, "exit", "exit", "exit", "after"]
    assert await service.letters() == ["exit"]
