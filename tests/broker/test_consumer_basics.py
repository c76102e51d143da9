"""At least once on a real Kafka: order, failures, restarts, stops, hand-overs, topics that are missing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.broker.consuming import SECONDS, Seen, committed, event, handler, letters, publish, run, running
from tests.waiting import eventually

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    EventProducer,
    KafkaSettings,
    kafka_consumer,
    on_message,
)
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.errors import DeliveryError, EventStoppedError
from eventzr_kafka.testing.kafka_server import KafkaServer, start_kafka

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    TopicFactory = Callable[..., str]

TENANT: Final = "tenant-1"
QUICK_GROUP: Final = {"heartbeat.interval.ms": 200, "session.timeout.ms": 2000}


def put(settings: KafkaSettings, topic: str, key: bytes | None, value: bytes | None) -> None:
    """Write a record that the SDK would not write."""
    client = Producer({"bootstrap.servers": settings.brokers})
    client.produce(topic, key=key, value=value)
    assert client.flush(SECONDS) == 0


def script(text: str, *args: str, **environment: str) -> list[str]:
    """Run a program of its own and return the lines that it printed."""
    command = [sys.executable, "-c", text, *args]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


# Order


async def test_tenants_events_run_in_order(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen, inside, most = topic(), Seen(), Counter[str](), 0

    async def handle(event: CloudEvent[Any]) -> None:
        nonlocal most
        inside[event.tenantid] += 1
        most = max(most, inside.total())
        assert inside[event.tenantid] == 1
        for _ in range(event.data % 5):
            await asyncio.sleep(0)
        inside[event.tenantid] -= 1
        await seen.handle(event)

    await publish(producer, name, [f"tenant-{number % 70}" for number in range(1400)])
    async with running(handler(name, group, handle), settings=settings):
        await seen.until(1400)

    assert seen.by_tenant() == {f"tenant-{first}": list(range(first, 1400, 70)) for first in range(70)}
    assert most > 10


async def test_hanging_tenant_blocks_no_other(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen, others_are_done = topic(partitions=1), Seen(), asyncio.Event()

    async def handle(event: CloudEvent[Any]) -> None:
        if event.data == 0:
            await others_are_done.wait()
        await seen.handle(event)

    await publish(producer, name, [TENANT, "tenant-2", TENANT, "tenant-3", "tenant-2"])
    async with running(handler(name, group, handle), settings=settings):
        await seen.until(3)
        others_are_done.set()
        await seen.until(5)

    assert seen.numbers == [1, 3, 4, 0, 2]


# Failures


async def fail_at(number: int, seen: Seen, event: CloudEvent[Any]) -> None:
    if event.data == number:
        raise ValueError(f"no sale of {event.id}")
    await seen.handle(event)


async def test_failing_handler_stops_before_its_commit(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    name, seen = topic(partitions=1), Seen()
    await publish(producer, name, [TENANT] * 6)

    with pytest.raises(EventStoppedError) as caught:
        await run(handler(name, group, lambda event: fail_at(3, seen, event)), settings=settings)

    error = caught.value
    assert f"{name}[0]@3, event event-3: " in str(error)
    assert "Handler.handle: raised ValueError at " in str(error)
    assert (error.topic, error.partition, error.offset) == (name, 0, 3)
    assert isinstance(error.__cause__, ValueError)
    assert "no sale" not in str(error) + caplog.text
    assert seen.numbers == [0, 1, 2]
    assert committed(settings, group, name) == 3


async def test_restart_redelivers_only_the_failed_event(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, before, after = topic(partitions=1), Seen(), Seen()
    await publish(producer, name, ["tenant-1", "tenant-2", "tenant-1", "tenant-2", "tenant-3"])

    async def fail_late(event: CloudEvent[Any]) -> None:
        if event.data == 0:
            await before.until(3)  # the other tenants are through
        await fail_at(0, before, event)

    with pytest.raises(EventStoppedError):
        await run(handler(name, group, fail_late), settings=settings)
    await publish(producer, name, ["tenant-2"], first=5)
    async with running(handler(name, group, after.handle), settings=settings):
        await after.until(3)

    assert sorted(before.numbers) == [1, 3, 4]
    assert sorted(after.numbers) == [0, 2, 5]
    assert after.by_tenant()["tenant-1"] == [0, 2]
    assert committed(settings, group, name) == 6


VALID: Final = b'{"specversion":"1.0","id":"1","source":"test","type":"%s","tenantid":"tenant-1","data":"hunter2"}'
POISON: Final = {
    "cut off": (b"tenant-1", VALID[:-1], "Invalid JSON"),
    "no envelope": (b"tenant-1", b'{"password":"hunter2"}', "Field required"),
    "another tenant's key": (b"tenant-2", VALID, "the key is not the event's tenantid"),
    "tombstone": (b"tenant-1", None, "tombstone"),
}


@pytest.mark.parametrize("kind", POISON)
async def test_record_without_an_event_becomes_a_dead_letter(
    kafka: KafkaServer,
    producer: EventProducer,
    topic: TopicFactory,
    group: str,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    settings, name, seen = producer.settings, topic(partitions=1), Seen()
    kafka.create_topic(dead_letter_topic(group), partitions=1)
    key, value, reason = POISON[kind]
    value = value.replace(b"%s", name.encode()) if value else None
    await publish(producer, name, [TENANT])
    put(settings, name, key, value)
    await publish(producer, name, [TENANT], first=2)

    async with running(handler(name, group, seen.handle), settings=settings):
        await seen.until(2)
        await eventually(lambda: committed(settings, group, name) == 3)

    (letter,) = letters(settings, group)
    assert (letter.origin, letter.record.key, letter.record.value) == ((name, 0, 1), key, value)
    assert reason in letter.facts.reason
    assert f"{name}[0]@1, tenant {key.decode()}: Handler.handle: " in caplog.text
    assert "hunter2" not in f"{letter.facts}{caplog.text}"
    assert seen.numbers == [0, 2]


# Commits, stops and hand-overs


async def test_progress_is_committed_meanwhile(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen = topic(partitions=1), Seen()
    await publish(producer, name, [TENANT] * 3)

    async with running(handler(name, group, seen.handle), settings=settings):
        await seen.until(3)
        await eventually(lambda: committed(settings, group, name) == 3)


@pytest.fixture
def guard() -> Iterator[None]:
    """Keep a SIGTERM that the runner does not handle from ending the test session."""

    def fail(_number: int, _frame: object) -> None:
        pytest.fail("nobody handled SIGTERM")

    before = signal.signal(signal.SIGTERM, fail)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("way", ["stop", "SIGTERM"])
async def test_stop_finishes_running_handler_and_begins_no_other(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str, way: str
) -> None:
    name, seen, may_finish = topic(partitions=1), Seen(), asyncio.Event()

    async def handle(event: CloudEvent[Any]) -> None:
        if event.tenantid == TENANT:
            await may_finish.wait()
        await seen.handle(event)

    await publish(producer, name, [TENANT, TENANT, TENANT, "tenant-2"])
    runner = ConsumerRunner(handler(name, group, handle), settings=settings)
    async with asyncio.timeout(SECONDS):
        task = asyncio.create_task(runner.run())
        await seen.until(1)  # the last one is through: the others are in memory
        runner.stop() if way == "stop" else signal.raise_signal(signal.SIGTERM)
        done, _ = await asyncio.wait({task}, timeout=0.3)
        assert not done
        may_finish.set()
        await task

    assert seen.numbers == [3, 0]
    assert committed(settings, group, name) == 1


CRASHING: Final = """
import asyncio, sys
from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message

brokers, topic, group = sys.argv[1:]

@kafka_consumer(group_id=group)
class Crashing:
    @on_message(topic)
    async def handle(self, event: CloudEvent) -> None:
        print(event.data, flush=True)
        if event.data == 5:
            await asyncio.Event().wait()

client = {"heartbeat.interval.ms": 200, "session.timeout.ms": 1000}
asyncio.run(ConsumerRunner(Crashing(), settings=KafkaSettings(brokers=brokers, librdkafka=client)).run())
"""


async def test_killed_members_events_are_redelivered(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen = topic(partitions=1), Seen()
    await publish(producer, name, [TENANT] * 10)
    args = ("-c", CRASHING, settings.brokers, name, group)

    async with asyncio.timeout(SECONDS):
        member = await asyncio.create_subprocess_exec(sys.executable, *args, stdout=subprocess.PIPE)
        assert member.stdout is not None
        await member.stdout.readuntil(b"5\n")
        member.kill()
        await member.communicate()
    async with running(handler(name, group, seen.handle), settings=settings):
        await eventually(lambda: 9 in seen.numbers)

    assert seen.numbers == list(range(seen.numbers[0], 10))
    assert seen.numbers[0] <= 5


async def test_leaving_member_loses_nothing(
    kafka: KafkaServer, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen, second, total = topic(partitions=6), Seen(), Seen(), 0
    settings = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka=QUICK_GROUP)
    tenants = [f"tenant-{number}" for number in range(20)]

    async def handle(event: CloudEvent[Any]) -> None:
        await asyncio.sleep(0)
        await seen.handle(event)

    async def handle_second(event: CloudEvent[Any]) -> None:
        await second.handle(event)
        await handle(event)

    def publish_round() -> int:
        for number, tenant in enumerate(tenants, total):
            producer.enqueue(event(name, tenant, number))
        return len(tenants)

    async with running(handler(name, group, handle), settings=settings) as first_member:
        await first_member.ready()
        async with running(handler(name, group, handle_second), settings=settings):
            while not second.events:
                total += publish_round()
                await seen.until(total)
            shared_at = total
            for _ in range(100):
                total += publish_round()
            await seen.until(shared_at + 1000)
        total += publish_round()
        await seen.until(total)

    assert sorted(seen.numbers) == list(range(total))
    assert seen.by_tenant() == {tenant: list(range(first, total, 20)) for first, tenant in enumerate(tenants)}
    alone = set(seen.numbers) - set(second.numbers)
    assert {number for number in alone if shared_at <= number < total - 20}


async def test_stop_during_a_join_commits_and_leaves(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen = topic(partitions=1), Seen()
    slow = replace(settings, librdkafka={"heartbeat.interval.ms": 2000, "session.timeout.ms": 40_000})
    admin: Any = AdminClient({"bootstrap.servers": settings.brokers})

    def described() -> Any:
        return admin.describe_consumer_groups([group])[group].result(SECONDS)

    await publish(producer, name, [TENANT] * 20)
    async with running(handler(name, group, seen.handle), settings=slow):
        await seen.until(20)
        async with running(handler(name, group, seen.handle), settings=slow):
            await eventually(lambda: described().state == ConsumerGroupState.PREPARING_REBALANCING)

    assert described().members == []
    assert committed(settings, group, name) == 20


async def test_new_group_starts_at_earliest(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, seen = topic(partitions=2), Seen()
    await publish(producer, name, [f"tenant-{number}" for number in range(20)])

    async with running(handler(name, group, seen.handle), settings=settings):
        await seen.until(20)

    assert sorted(seen.numbers) == list(range(20))


# Topics


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_missing_topic_is_reported_once_and_found_later(
    kafka: KafkaServer, producer: EventProducer, topic: TopicFactory, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    there, missing, seen = topic(), f"missing.{uuid.uuid4().hex[:8]}", Seen()
    client = {"topic.metadata.refresh.interval.ms": 100}
    settings = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka=client)
    handlers = [handler(name, group, seen.handle) for name in (there, missing)]

    async with running(*handlers, settings=settings):
        await eventually(lambda: missing in caplog.text)
        await publish(producer, there, [TENANT])
        await seen.until(1)
        kafka.create_topic(missing)
        await publish(producer, missing, [TENANT], first=1)
        await seen.until(2)

    assert seen.numbers == [0, 1]
    assert warnings(caplog) == [f"{group}: topic {missing} does not exist; waiting until it is created"]


@pytest.fixture(scope="module")
def generous_kafka(kafka: KafkaServer) -> Iterator[KafkaServer]:
    """A broker that creates a topic for whoever asks, as Kafka does unless it is told not to."""
    assert kafka.running
    with start_kafka(properties={"auto.create.topics.enable": "true"}) as server:
        yield server


async def test_consuming_creates_no_topic(
    generous_kafka: KafkaServer, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    address, seen = generous_kafka.bootstrap_servers, Seen()
    settings = KafkaSettings(brokers=address, librdkafka={"topic.metadata.refresh.interval.ms": 100})
    generous_kafka.create_topic("somebody.made.this")
    handlers = [handler(name, group, seen.handle) for name in ("somebody.made.this", "nobody.made.this")]

    async with running(*handlers, settings=settings), EventProducer(settings=settings) as producer:
        await eventually(lambda: "nobody.made.this" in caplog.text)
        await publish(producer, "somebody.made.this", [TENANT])
        await seen.until(1)  # the client has asked for the other one a few times by now

    assert "nobody.made.this" not in AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).topics


async def test_publishing_creates_no_topic(generous_kafka: KafkaServer) -> None:
    address = generous_kafka.bootstrap_servers
    client = {"topic.metadata.propagation.max.ms": 500}

    async with EventProducer(settings=KafkaSettings(brokers=address, librdkafka=client)) as producer:
        with pytest.raises(DeliveryError, match="create the topic"):
            await producer.publish(event("nobody.made.that", TENANT, 0))

    assert "nobody.made.that" not in AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).topics


# Threads


async def test_plain_function_runs_off_loop(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str
) -> None:
    name, loop, started, may_finish = topic(), asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    threads: list[threading.Thread] = []

    @kafka_consumer(group_id=group)
    class Blocking:
        @on_message(name)
        def handle(self, event: CloudEvent[Any]) -> None:
            threads.append(threading.current_thread())
            loop.call_soon_threadsafe(started.set)
            assert may_finish.wait(SECONDS), event.id

    await publish(producer, name, [TENANT])
    async with running(Blocking(), settings=settings):
        await started.wait()  # the loop turns while the handler blocks
        may_finish.set()

    assert threads
    assert threading.main_thread() not in threads


DISABLED: Final = """
import asyncio, os, sys, threading
from eventzr_kafka import CloudEvent, ConsumerRunner, kafka_consumer, on_message

@kafka_consumer(group_id="group")
class Handler:
    @on_message("some.topic")
    async def handle(self, event: CloudEvent) -> None: ...

def sockets():
    return sum(os.readlink(entry.path).startswith("socket:") for entry in os.scandir("/proc/self/fd"))

async def main():
    before = sockets()
    async with ConsumerRunner(Handler()) as runner:
        await runner.ready()
        print("client", "confluent_kafka" in sys.modules)
        print("threads", threading.active_count(), len(os.listdir("/proc/self/task")))
        print("sockets", sockets() - before)
    await ConsumerRunner(Handler()).run()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_disabled_means_no_client_and_no_thread() -> None:
    facts = script(DISABLED, KAFKA_ENABLED="false", KAFKA_BROKERS="127.0.0.1:1")

    assert facts == ["client False", "threads 1 1", "sockets 0"]


async def test_group_of_another_protocol_is_joined_later(
    settings: KafkaSettings, producer: EventProducer, topic: TopicFactory, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a service of another language is replaced by one in Python, and keeps its group."""
    name, seen = topic(), Seen()
    strategy = {"partition.assignment.strategy": "roundrobin"}
    with other_member(settings, name, group, strategy) as leave:
        async with running(handler(name, group, seen.handle), settings=settings) as runner:
            await eventually(lambda: "INCONSISTENT_GROUP_PROTOCOL" in caplog.text)
            await asyncio.sleep(5)
            await publish(producer, name, [TENANT])
            assert seen.events == []
            leave.set()
            await runner.ready()
            await seen.until(1)

    said = [line.partition("; ")[2] for line in caplog.messages if "INCONSISTENT_GROUP_PROTOCOL" in line]
    assert said == [
        "waiting: other members use a different partition assignment strategy; will join when they have left"
    ]


@contextlib.contextmanager
def other_member(settings: KafkaSettings, topic: str, group: str, config: dict[str, str]) -> Generator[threading.Event]:
    """A client without the SDK that has joined the group; it reads and commits nothing."""
    joined, leave = threading.Event(), threading.Event()

    def on_assign(_client: Consumer, _partitions: list[TopicPartition]) -> None:
        joined.set()

    def belong() -> None:
        client = Consumer(
            {"bootstrap.servers": settings.brokers, "group.id": group, "enable.auto.commit": False, **config}
        )
        client.subscribe([topic], on_assign=on_assign)
        while not leave.is_set():
            client.poll(0.1)
        client.close()

    thread = threading.Thread(target=belong)
    thread.start()
    try:
        assert joined.wait(SECONDS)
        yield leave
    finally:
        leave.set()
        thread.join(SECONDS)
