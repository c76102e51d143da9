"""Processes and services that end in unusual ways, on a real Kafka: nothing stays behind, nothing ends in silence."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from confluent_kafka import Consumer, TopicPartition

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.testing.kafka_server import KafkaServer

SECONDS: Final = 60.0
SCRIPT: Final = Path(__file__).with_name("ending_process.py")


class Ending:
    """A process of `ending_process`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def said(self) -> str:
        """The next word; empty when the process has ended."""
        return cast("IO[str]", self.process.stdout).readline().strip()

    def end(self, text: str = "") -> tuple[int, str]:
        """Wait for its end; returns the exit code and all that is in its log."""
        _, errors = self.process.communicate(text, timeout=SECONDS)
        return self.process.returncode, errors


@contextmanager
def ending(way: str, brokers: str, topic: str, group: str) -> Generator[Ending]:
    arguments = [sys.executable, str(SCRIPT), way, brokers, topic, group]
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield Ending(process)
    finally:
        process.kill()
        process.communicate()


class Counted:
    """Events by number, in the order in which their handlers were called."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.gate = asyncio.Event()

    def handler(self, topic: str, group: str, **options: Any) -> object:
        @kafka_consumer(group_id=group, **options)
        class Handler:
            @on_message(topic)
            async def handle(_self, event: CloudEvent[Any]) -> None:  # noqa: N805
                self.seen.append(event.data)
                await self.gate.wait()

        return Handler()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while len(set(self.seen)) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def publish(settings: KafkaSettings, topic: str, numbers: range) -> None:
    async with EventProducer(source="svc", settings=settings) as producer:
        for number in numbers:
            event = CloudEvent(id=f"e{number}", source="svc", type=topic, tenantid=f"t{number}", data=number)
            producer.enqueue(event)


async def test_service_cancelled_in_its_drain_leaves(
    settings: KafkaSettings, topic: Callable[..., str], group: str
) -> None:
    name, first, second = topic(partitions=4), Counted(), Counted()
    second.gate.set()
    await publish(settings, name, range(22))
    runner = ConsumerRunner(first.handler(name, group, drain_timeout=1.0), settings=settings)

    async def serve() -> None:
        async with runner:
            await asyncio.Event().wait()

    service = asyncio.create_task(serve())
    await first.until(22)
    for _ in range(2):
        service.cancel()
        await asyncio.sleep(0.1)
    await asyncio.wait({service}, timeout=SECONDS)
    assert service.cancelled()
    await publish(settings, name, range(22, 44))
    async with ConsumerRunner(second.handler(name, group), settings=settings):
        await second.until(44)
    assert sorted(second.seen) == list(range(44))


async def test_one_sigterm_stops_two_runners(settings: KafkaSettings, topic: Callable[..., str], group: str) -> None:
    with ending("two-runners", settings.brokers, topic(), group) as process:
        assert await asyncio.to_thread(process.said) == "ready"
        process.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.said) == "ended"
        assert process.end()[0] == 0


async def test_hanging_def_handler_holds_no_process(
    settings: KafkaSettings, topic: Callable[..., str], group: str
) -> None:
    name = topic()
    await publish(settings, name, range(1))
    with ending("hanging-def", settings.brokers, name, group) as process:
        assert await asyncio.to_thread(process.said) == "in hand"
        process.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.said) == "ended"
        code, log = await asyncio.to_thread(process.end)
    assert code == 0
    assert "1 handlers still run after 0.5 s" in log


async def test_member_of_a_closed_loop_leaves(settings: KafkaSettings, topic: Callable[..., str], group: str) -> None:
    name, second = topic(partitions=4), Counted()
    second.gate.set()
    with ending("closed-loop", settings.brokers, name, group) as process:
        assert await asyncio.to_thread(process.said) == "closed"
        await publish(settings, name, range(22))
        async with ConsumerRunner(second.handler(name, group), settings=settings):
            await second.until(22)  # long before the session of the other member ends
        _, log = await asyncio.to_thread(process.end)
    assert f"{group}: the event loop was closed without stop(): leaving the group" in log


def test_open_consumer_leaves_at_exit(settings: KafkaSettings, topic: Callable[..., str], group: str) -> None:
    with ending("forgotten-consumer", settings.brokers, topic(), group) as process:
        code, log = process.end()
    assert code == 0
    assert f"{group}: the process ends without stop(): leaving the group" in log


def test_open_producer_delivers_at_exit(
    kafka: KafkaServer, settings: KafkaSettings, topic: Callable[..., str], group: str
) -> None:
    name = topic(partitions=1)
    with ending("forgotten-producer", settings.brokers, name, group) as process:
        code, log = process.end()
    assert code == 0
    assert "the process ends with an open producer: delivering 100 events" in log
    assert "not delivered" not in log
    assert end_of(kafka, name) == 100


def test_undelivered_events_are_counted(group: str) -> None:
    with ending("forgotten-producer", "127.0.0.1:1", "nowhere.thing.happened.v1", group) as process:
        code, log = process.end()
    assert code == 0
    assert "100 events were not delivered before the process ended" in log
    assert log.count("not published: ") == 100


def end_of(kafka: KafkaServer, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "ends"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1]
    finally:
        consumer.close()
