"""Clients that can do nothing more: after a fatal error, or as librdkafka's issue 5301 leaves them, without brokers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka._confluent import consumer, producer
from eventzr_kafka._confluent.oauth import make_client
from eventzr_kafka.errors import DeliveryError, TransportError
from eventzr_kafka.testing.kafka_server import start_kafka

if TYPE_CHECKING:
    from eventzr_kafka.testing.kafka_server import KafkaServer

FirstClients: TypeAlias = Callable[[dict[str, Any]], list[str]]
_NO_BROKER: Final = {"bootstrap.servers": ""}
_GAPLESS: Final = {"enable.gapless.guarantee": True}
_FENCED: Final = r"_FATAL: Fatal error: Broker: Static consumer fenced"


@pytest.fixture
def first_clients(monkeypatch: pytest.MonkeyPatch) -> FirstClients:
    """Have the first client of each kind configured differently; returns the kinds of the clients that are made."""

    def begin(difference: dict[str, Any]) -> list[str]:
        kinds: list[str] = []

        def make(kind: type[Any], config: dict[str, Any]) -> object:
            kinds.append(kind.__name__)
            return make_client(kind, {**config, **difference} if kinds.count(kind.__name__) == 1 else config)

        monkeypatch.setattr(consumer, "make_client", make)
        monkeypatch.setattr(producer, "make_client", make)
        return kinds

    return begin


@pytest.fixture
def settings(kafka: KafkaServer) -> KafkaSettings:
    return KafkaSettings(brokers=kafka.bootstrap_servers)


@pytest.fixture
def name(kafka: KafkaServer) -> str:
    name = f"ended.{uuid.uuid4().hex[:8]}.v1"
    kafka.create_topic(name, partitions=1, configs={"max.message.bytes": "2000"})
    return name


async def test_clients_without_brokers_are_given_up_and_others_publish_and_consume(
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
    assert [line for line in caplog.messages if "for good" in line and "not published" not in line] == [
        "producer: the client has lost its brokers for good; what it held fails, going on with another",
        "forgotten: the client has lost its brokers for good; joining anew, once the old session has ended",
    ]


async def test_a_producer_goes_on_with_another_client_after_a_fatal_error(
    settings: KafkaSettings, name: str, first_clients: FirstClients, caplog: pytest.LogCaptureFixture
) -> None:
    made = first_clients(_GAPLESS)  # a refused record is fatal to such a client
    async with asyncio.timeout(60), EventProducer(settings=settings) as events:
        await events.publish(event(name, "before"))
        with pytest.raises(DeliveryError, match="MSG_SIZE_TOO_LARGE"):
            await events.publish(event(name, "x" * 4000))
        refusals = await until_published(events, event(name, "after"))

    assert made == ["Producer"] * 2
    assert all("_FATAL: " in refusal and refusal.endswith("publish it again") for refusal in refusals)
    assert len([line for line in caplog.messages if "what it held fails, going on with another" in line]) == 1


async def test_a_consumer_with_a_fatal_error_stops_its_runner(settings: KafkaSettings, name: str) -> None:
    """A second member with the same group.instance.id takes the first one's place."""
    handled: asyncio.Queue[Any] = asyncio.Queue()

    @kafka_consumer(group_id=f"fenced.{name}")
    class Handler:
        @on_message(name)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.put_nowait(event.data)

    static = replace(settings, client={"group.instance.id": "one"})
    async with asyncio.timeout(60):
        first = ConsumerRunner(Handler(), settings=static)
        running = asyncio.create_task(first.run(handle_signals=False))
        await first.ready()
        async with ConsumerRunner(Handler(), settings=static), EventProducer(settings=settings) as events:
            with pytest.raises(TransportError, match=_FENCED):
                await running
            await events.publish(event(name, "for the second"))
            assert await handled.get() == "for the second"


async def test_brokers_without_the_new_group_protocol_are_told_with_the_mend() -> None:
    @kafka_consumer(group_id="new", group_protocol="consumer")
    class Handler:
        @on_message("thing.happened.v1")
        async def handle(self, event: CloudEvent[Any]) -> None:
            """Never called."""

    with start_kafka(properties={"group.coordinator.rebalance.protocols": "classic"}) as old:
        old.create_topic("thing.happened.v1")
        runner = ConsumerRunner(Handler(), settings=KafkaSettings(brokers=old.bootstrap_servers))
        with pytest.raises(TransportError, match='API version not supported; use group_protocol="classic"'):
            await asyncio.wait_for(runner.run(handle_signals=False), 60)


async def until_published(events: EventProducer, event: CloudEvent[Any]) -> list[str]:
    """Publish until it succeeds; returns what was said before."""
    refusals: list[str] = []
    while True:
        try:
            await events.publish(event)
        except DeliveryError as error:
            refusals.append(str(error))
            await asyncio.sleep(0.1)
        else:
            return refusals


def event(name: str, data: str) -> CloudEvent[Any]:
    return CloudEvent[Any](id=data[:20], source="test", type=name, tenantid="t-1", data=data)
