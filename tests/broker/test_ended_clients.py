"""Clients that can do nothing more: after a fatal error, or as librdkafka's issue 5301 leaves them, without brokers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka._confluent import client_owner, producer
from eventzr_kafka._confluent.oauth import make_client
from eventzr_kafka.errors import DeliveryError, TransportError

if TYPE_CHECKING:
    from eventzr_kafka.testing.kafka_server import KafkaServer

FirstClients: TypeAlias = Callable[[dict[str, Any]], list[str]]
_NO_BROKER: Final = {"bootstrap.servers": ""}
_ACLS: Final = "org.apache.kafka.tools.AclCommand"
_FENCED: Final = r"_FATAL: Fatal error: Broker: Static consumer fenced"


@pytest.fixture
def first_clients(monkeypatch: pytest.MonkeyPatch) -> FirstClients:
    """Have the first client of each kind configured differently; returns the kinds of the clients that are made."""

    def begin(difference: dict[str, Any]) -> list[str]:
        kinds: list[str] = []

        def make(kind: type[Any], config: dict[str, Any]) -> object:
            kinds.append(kind.__name__)
            return make_client(kind, {**config, **difference} if kinds.count(kind.__name__) == 1 else config)

        monkeypatch.setattr(client_owner, "make_client", make)
        monkeypatch.setattr(producer, "make_client", make)
        return kinds

    return begin


@pytest.fixture
def name(kafka: KafkaServer) -> str:
    name = f"ended.{uuid.uuid4().hex[:8]}.v1"
    kafka.create_topic(name, partitions=1)
    return name


async def test_clients_without_brokers_are_replaced(
    settings: KafkaSettings, name: str, first_clients: FirstClients, caplog: pytest.LogCaptureFixture
) -> None:
    made = first_clients(_NO_BROKER)
    handled: asyncio.Queue[Any] = asyncio.Queue()

    @kafka_consumer(group_id="forgotten")
    class Handler:
        @on_message(name)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.put_nowait(event.data)

    async with asyncio.timeout(60), EventProducer(settings=settings) as events:
        with pytest.raises(DeliveryError, match="_PURGE_QUEUE"):
            await events.publish(event(name, "with the first client"))
        await until_published(events, event(name, "still here"))
        async with ConsumerRunner(Handler(), settings=settings):
            assert await handled.get() == "still here"

    assert made.count("Consumer") == 2
    assert [line for line in caplog.messages if "forgotten its brokers" in line and "not published" not in line] == [
        "producer: the client is dead; its records fail, a new client takes over: it has forgotten its brokers",
        "forgotten: the client has forgotten its brokers; a new one joins once the session of the old one has ended",
    ]


async def test_producer_without_the_right_to_write_recovers_with_it(
    guarded_kafka: KafkaServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The first refusal is fatal to the client: it would never try again."""
    name = "refused.thing.happened.v1"
    guarded_kafka.create_topic(name)
    refuse = ["--deny-principal", "User:*", "--operation", "IdempotentWrite", "--cluster"]
    for rule in (
        ["--allow-principal", "User:*", "--cluster"],
        ["--deny-principal", "User:*", "--operation", "Write", "--topic", "*"],
        refuse,
    ):
        await asyncio.to_thread(guarded_kafka.tool, _ACLS, "--add", *rule)
    settings = KafkaSettings(brokers=guarded_kafka.bootstrap_servers)
    async with asyncio.timeout(60), EventProducer(settings=settings) as events:
        while not ended(caplog):
            with pytest.raises(DeliveryError):
                await events.publish(event(name, "too early"))
        await asyncio.to_thread(guarded_kafka.tool, _ACLS, "--remove", "--force", "--topic", "*")
        await asyncio.to_thread(guarded_kafka.tool, _ACLS, "--remove", "--force", *refuse)
        await until_published(events, event(name, "in time"))

    assert all("; allow IdempotentWrite, on MSK" in line for line in ended(caplog))


def ended(caplog: pytest.LogCaptureFixture) -> list[str]:
    begin = "producer: the client is dead; its records fail, a new client takes over: CLUSTER_AUTHORIZATION_FAILED: "
    return [line for line in caplog.messages if line.startswith(begin)]


async def test_fatal_consumer_error_stops_runner(settings: KafkaSettings, name: str) -> None:
    """A second member with the same group.instance.id takes the first one's place."""
    handled: asyncio.Queue[Any] = asyncio.Queue()

    @kafka_consumer(group_id=f"fenced.{name}")
    class Handler:
        @on_message(name)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.put_nowait(event.data)

    static = replace(settings, librdkafka={"group.instance.id": "one"})
    async with asyncio.timeout(60):
        first = ConsumerRunner(Handler(), settings=static)
        running = asyncio.create_task(first.run(handle_signals=False))
        await first.ready()
        async with ConsumerRunner(Handler(), settings=static), EventProducer(settings=settings) as events:
            with pytest.raises(TransportError, match=_FENCED):
                await running
            await events.publish(event(name, "for the second"))
            assert await handled.get() == "for the second"


async def test_older_brokers_are_reported_with_a_hint(guarded_kafka: KafkaServer) -> None:
    @kafka_consumer(group_id="new", group_protocol="consumer")
    class Handler:
        @on_message("thing.happened.v1")
        async def handle(self, event: CloudEvent[Any]) -> None:
            """Never called."""

    guarded_kafka.create_topic("thing.happened.v1")
    runner = ConsumerRunner(Handler(), settings=KafkaSettings(brokers=guarded_kafka.bootstrap_servers))
    with pytest.raises(TransportError, match='API version not supported; use group_protocol="classic"'):
        await asyncio.wait_for(runner.run(handle_signals=False), 60)


async def until_published(events: EventProducer, event: CloudEvent[Any]) -> None:
    """Publish until it succeeds."""
    while True:
        try:
            await events.publish(event)
        except DeliveryError:
            await asyncio.sleep(0.1)
        else:
            return


def event(name: str, data: str) -> CloudEvent[Any]:
    return CloudEvent[Any](id=data[:20], source="test", type=name, tenantid="t-1", data=data)
