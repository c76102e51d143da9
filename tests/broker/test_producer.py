"""Publishing to a real Kafka: what is acknowledged, what fails and with which hint, and what disabled means."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from eventzr_kafka import CloudEvent, EventProducer, KafkaSettings, PublishResult
from eventzr_kafka.errors import DeliveryError, ProducerError
from eventzr_kafka.testing.kafka_server import KafkaServer
from eventzr_marketplace_events import ListingCreated, example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
TENANT: Final = "tenant-1"
SOON: Final = {
    "topic.metadata.propagation.max.ms": 200,
    "delivery.timeout.ms": 1500,
    "reconnect.backoff.max.ms": 100,
}


@pytest.fixture(scope="session")
def kafka(own_kafka: KafkaServer) -> KafkaServer:
    """One that may be ended."""
    return own_kafka


def event(topic: str, number: int = 0, *, data: Any = None, event_id: str | None = None) -> CloudEvent[Any]:
    given = number if data is None else data
    return CloudEvent(id=event_id or f"event-{number}", source="test", type=topic, tenantid=TENANT, data=given)


def read(kafka: KafkaServer, topic: str, count: int) -> list[Message]:
    """Read the records of a topic with one partition, without the SDK's own consumer."""
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"}
    with contextlib.closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        found = consumer.consume(count, timeout=SECONDS)
    assert [message.error() for message in found] == [None] * count
    return found


def values(kafka: KafkaServer, topic: str, count: int) -> list[int]:
    return [int(message.value() or b"") for message in read(kafka, topic, count)]


def run_script(text: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, to its good end."""
    command = [sys.executable, "-c", text, *args]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


async def until_acknowledged(producer: EventProducer, again: CloudEvent[Any]) -> PublishResult:
    """Publish until the client has heard that the broker or the topic is there, which takes it a second or two."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(DeliveryError):
                return await producer.publish(again)
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def hasty(kafka: KafkaServer) -> KafkaSettings:
    """Settings of a client that gives up after a second or two."""
    return KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka=SOON)


# Acknowledged


async def test_publish_returns_where_event_is(kafka: KafkaServer, settings: KafkaSettings, topic: TopicFactory) -> None:
    name = topic(partitions=1)

    async with asyncio.timeout(SECONDS), EventProducer(settings=settings) as producer:
        results = [await producer.publish(event(name, number)) for number in range(3)]

    assert results == [PublishResult("acknowledged", f"event-{offset}", name, 0, offset) for offset in range(3)]
    assert [(message.offset(), message.key()) for message in read(kafka, name, 3)] == [
        (offset, TENANT.encode()) for offset in range(3)
    ]


async def test_events_lie_in_call_order(kafka: KafkaServer, settings: KafkaSettings, topic: TopicFactory) -> None:
    name = topic(partitions=1)

    async with asyncio.timeout(SECONDS), EventProducer(settings=settings, mode="binary") as producer:
        for number in range(2000):
            if number % 100 == 99:
                await producer.publish(event(name, number))
            else:
                producer.enqueue(event(name, number))

    assert values(kafka, name, 2000) == list(range(2000))


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Let the threads take turns a thousand times as often as usual, so that they meet at bad moments too."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("busy_threads")
async def test_order_holds_beyond_the_clients_queue(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(partitions=1)
    small = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka={"queue.buffering.max.messages": 50})

    async with asyncio.timeout(SECONDS), EventProducer(settings=small, mode="binary") as producer:
        await producer.publish(event(name, 0))
        deliveries = [producer.enqueue(event(name, number)) for number in range(1, 3000)]
        results = [await delivery for delivery in deliveries]

    assert [result.offset for result in results] == list(range(1, 3000))
    assert values(kafka, name, 3000) == list(range(3000))


async def test_flush_returns_0_when_all_is_acknowledged(settings: KafkaSettings, topic: TopicFactory) -> None:
    name = topic()

    async with asyncio.timeout(SECONDS), EventProducer(settings=settings) as producer:
        deliveries = [producer.enqueue(event(name, number)) for number in range(500)]
        left = await producer.flush(SECONDS)
        done = [delivery.done() for delivery in deliveries]

    assert left == 0
    assert all(done)


def test_it_works_without_an_event_loop(kafka: KafkaServer, settings: KafkaSettings, topic: TopicFactory) -> None:
    name = topic(partitions=1)

    with EventProducer(settings=settings, mode="binary") as producer:
        result = producer.enqueue(event(name, 7)).result(SECONDS)
        producer.enqueue(event(name, 8))
        assert producer.flush_sync(SECONDS) == 0
        producer.enqueue(event(name, 9))

    assert result == PublishResult("acknowledged", "event-7", name, 0, 0)
    assert values(kafka, name, 3) == [7, 8, 9]


def test_threads_may_share_one_producer(kafka: KafkaServer, settings: KafkaSettings, topic: TopicFactory) -> None:
    name = topic(partitions=1)

    def publish(thread: int) -> list[int | None]:
        deliveries = [producer.enqueue(event(name, thread * 1000 + number)) for number in range(300)]
        return [delivery.result(SECONDS).offset for delivery in deliveries]

    with EventProducer(settings=settings, mode="binary") as producer, ThreadPoolExecutor(8) as pool:
        offsets = list(pool.map(publish, range(8)))

    written = values(kafka, name, 2400)
    assert sorted(written) == [thread * 1000 + number for thread in range(8) for number in range(300)]
    assert offsets == [[written.index(thread * 1000 + number) for number in range(300)] for thread in range(8)]


async def test_event_loops_share_one_producer(settings: KafkaSettings, topic: TopicFactory) -> None:
    name = topic(partitions=1)

    async def publish() -> int | None:
        async with asyncio.timeout(SECONDS):
            return (await producer.publish(event(name))).offset

    async with asyncio.timeout(SECONDS), EventProducer(settings=settings) as producer:
        elsewhere = [asyncio.to_thread(asyncio.run, publish()) for _ in range(4)]
        offsets = await asyncio.gather(publish(), *elsewhere)

    assert sorted(offset for offset in offsets if offset is not None) == [0, 1, 2, 3, 4]


# Refused by the broker


async def test_unknown_topic_says_create_it(kafka: KafkaServer, hasty: KafkaSettings) -> None:
    missing = f"missing.{uuid.uuid4().hex[:8]}"

    async with asyncio.timeout(SECONDS), EventProducer(settings=hasty) as producer:
        with pytest.raises(DeliveryError, match="create the topic; the SDK never does") as caught:
            await producer.publish(event(missing))

        kafka.create_topic(missing)
        await until_acknowledged(producer, event(missing))

    assert (caught.value.event_id, caught.value.topic) == ("event-0", missing)


async def test_record_too_large_fails_and_the_next_passes(
    kafka: KafkaServer, settings: KafkaSettings, topic: TopicFactory, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(partitions=1, configs={"max.message.bytes": "2000"})

    async with asyncio.timeout(SECONDS), EventProducer(settings=settings) as producer:
        with pytest.raises(DeliveryError, match=r"MSG_SIZE_TOO_LARGE.*raise max.message.bytes of the topic"):
            await producer.publish(event(name, data="hunter2" * 1000))
        assert "sent again one by one" not in caplog.text
        result = await producer.publish(event(name))

    assert result.offset == 0
    assert len(read(kafka, name, 1)) == 1


async def test_exit_raises_for_unacknowledged_events(hasty: KafkaSettings, caplog: pytest.LogCaptureFixture) -> None:
    missing = f"missing.{uuid.uuid4().hex[:8]}"
    producer = EventProducer(settings=hasty)
    await producer.__aenter__()
    delivery = producer.enqueue(event(missing))

    with pytest.raises(ProducerError, match="1 events were not acknowledged"):
        await producer.__aexit__(None, None, None)

    assert f"not published: event event-0 for {missing}: " in caplog.text
    with pytest.raises(DeliveryError):
        await delivery


def test_exit_does_not_hide_the_blocks_error(hasty: KafkaSettings) -> None:
    def fail() -> None:
        with EventProducer(settings=hasty) as producer:
            producer.enqueue(event(f"missing.{uuid.uuid4().hex[:8]}"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


# Without a broker


async def test_timed_out_event_may_arrive_and_keeps_its_id(
    kafka: KafkaServer, hasty: KafkaSettings, topic: TopicFactory
) -> None:
    name = topic(partitions=1)

    async with (
        asyncio.timeout(SECONDS),
        EventProducer(source="marketplace-svc", settings=hasty, mode="binary") as producer,
    ):
        await producer.publish(event(name, 1))
        kafka.stop()
        late = producer.enqueue(event(name, 3))
        assert await producer.flush(0.1) == 1
        with pytest.raises(DeliveryError, match="the same event id: it may have arrived") as caught:
            await producer.publish(event(name, 2, event_id="the-order"))
        with pytest.raises(DeliveryError, match="_MSG_TIMED_OUT"):
            await late
        kafka.start()
        result = await until_acknowledged(producer, event(name, 2, event_id=caught.value.event_id))

    assert result == PublishResult("acknowledged", "the-order", name, 0, 1)
    assert values(kafka, name, 2) == [1, 2]


async def test_outage_is_two_lines_and_no_loss(
    kafka: KafkaServer, settings: KafkaSettings, topic: TopicFactory, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(partitions=1)

    async with asyncio.timeout(SECONDS), EventProducer(settings=settings, mode="binary") as producer:
        await producer.publish(event(name, 0))
        kafka.stop()
        deliveries = [producer.enqueue(event(name, number)) for number in range(1, 200)]
        kafka.start()
        results = [await delivery for delivery in deliveries]

    assert [result.offset for result in results] == list(range(1, 200))
    assert values(kafka, name, 200) == list(range(200))
    lost, back = [record.getMessage() for record in caplog.records]
    assert lost.startswith(f"producer: no connection to {settings.brokers} (")
    assert back.startswith(f"producer: connected to {settings.brokers} again after ")


# Processes


FORK: Final = """
import os, signal, sys, warnings
from eventzr_kafka import EventProducer, KafkaSettings
from eventzr_marketplace_events import ListingCreated, example

def enqueue(producer): producer.enqueue(example(ListingCreated), tenant_id="tenant-1")
def flush_sync(producer): producer.flush_sync(1)
def close(producer): producer.close(1)

warnings.simplefilter("ignore", DeprecationWarning)
brokers, method = sys.argv[1:]
with EventProducer(settings=KafkaSettings(brokers=brokers)) as producer:
    if os.fork() == 0:
        signal.alarm(3)
        try:
            globals()[method](producer)
            print("no error", flush=True)
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    print("child ended with", os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.parametrize("method", ["enqueue", "flush_sync", "close"])
def test_forked_child_may_not_use_the_producer(settings: KafkaSettings, method: str) -> None:
    said, ended = run_script(FORK, settings.brokers, method).stdout.splitlines()

    assert ended == "child ended with 0"
    assert said == "ProducerStateError the producer was made before this process was forked: make one in each process"


DISABLED: Final = """
import asyncio, logging, os, sys
from eventzr_kafka import EventProducer
from eventzr_marketplace_events import ListingCreated, example

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
listing = example(ListingCreated)

def sockets():
    return sum(os.readlink(entry.path).startswith("socket:") for entry in os.scandir("/proc/self/fd"))

def tell(before):
    print("client", "confluent_kafka" in sys.modules)
    print("threads", len(os.listdir("/proc/self/task")))
    print("sockets", sockets() - before)

async def asynchronously():
    before = sockets()
    async with EventProducer(source="marketplace-svc") as producer:
        print(await producer.publish(listing, tenant_id="tenant-1", event_id="1"))
        print(await producer.enqueue(listing, tenant_id="tenant-1", event_id="2"))
        tell(before)

def synchronously():
    before = sockets()
    with EventProducer(source="marketplace-svc") as producer:
        print(producer.enqueue(listing, tenant_id="tenant-1", event_id="1").result())
        print(producer.enqueue(listing, tenant_id="tenant-1", event_id="2").result())
        producer.flush_sync()
        tell(before)

asyncio.run(asynchronously()) if sys.argv[1] == "async with" else synchronously()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("why", ["KAFKA_ENABLED=false", "AWS_LAMBDA_FUNCTION_NAME=publisher"])
@pytest.mark.parametrize("way", ["with", "async with"])
def test_disabled_producer_skips_without_client_or_thread(why: str, way: str) -> None:
    name, _, value = why.partition("=")

    done = run_script(DISABLED, way, KAFKA_BROKERS="127.0.0.1:1", **{name: value})

    skipped = [str(PublishResult("skipped", event_id, str(ListingCreated.__topic__))) for event_id in "12"]
    assert done.stderr == "INFO eventzr_kafka.producer Kafka is disabled (KAFKA_ENABLED): events are skipped\n"
    assert done.stdout.splitlines() == [*skipped, "client False", "threads 1", "sockets 0"]


def test_disabled_producer_refuses_what_enabled_refuses() -> None:
    with (
        EventProducer(source="marketplace-svc", settings=KafkaSettings(enabled=False)) as producer,
        pytest.raises(Exception, match="tenantid"),
    ):
        producer.enqueue(example(ListingCreated), tenant_id="")
