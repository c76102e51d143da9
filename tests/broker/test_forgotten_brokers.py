"""Clients that have lost their brokers for good, as librdkafka's issue 5301 leaves them: others take their place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka._confluent import consumer, producer
from eventzr_kafka._confluent.oauth import make_client
from eventzr_kafka.errors import DeliveryError

if TYPE_CHECKING:
    from eventzr_kafka.testing.kafka_server import KafkaServer

TOPIC: Final = "forgotten.thing.happened.v1"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clients that were made; the first of each kind knows no broker."""
    kinds: list[str] = []

    def first_without_brokers(kind: type[Any], config: dict[str, Any]) -> object:
        without = {key: value for key, value in config.items() if key != "bootstrap.servers"}
        kinds.append(kind.__name__)
        return make_client(kind, without if kinds.count(kind.__name__) == 1 else config)

    monkeypatch.setattr(consumer, "make_client", first_without_brokers)
    monkeypatch.setattr(producer, "make_client", first_without_brokers)
    return kinds


@pytest.fixture
def settings(kafka: KafkaServer) -> KafkaSettings:
    kafka.create_topic(TOPIC, partitions=1)
    return KafkaSettings(brokers=kafka.bootstrap_servers)


async def test_clients_without_brokers_are_given_up_and_others_publish_and_consume(
    settings: KafkaSettings, made: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    handled: asyncio.Queue[Any] = asyncio.Queue()

    @kafka_consumer(group_id="forgotten")
    class Handler:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.put_nowait(event.data)

    async with asyncio.timeout(60), EventProducer(settings=settings) as events:
        with pytest.raises(DeliveryError, match="_PURGE_QUEUE"):
            await events.publish(event("with the first client"))
        await events.publish(event("still here"))
        async with ConsumerRunner(Handler(), settings=settings):
            assert await handled.get() == "still here"

    assert made.count("Consumer") == 2
    said = [record.getMessage() for record in caplog.records if "for good" in record.getMessage()]
    assert said == [
        "producer: the client has lost its brokers for good; going on with another, what it held fails",
        "forgotten: the client has lost its brokers for good; joining anew, once the old session has ended",
    ]


def event(data: str) -> CloudEvent[Any]:
    return CloudEvent[Any](id=data, source="test", type=TOPIC, tenantid="t-1", data=data)
