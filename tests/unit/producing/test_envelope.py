"""The source of an event: the producer's, the class's, both, or none; and a producer that is not started."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from eventzr_kafka import CloudEvent, EventData, EventProducer, KafkaSettings
from eventzr_kafka.errors import EncodeError, MissingTenantError, ProducerStateError
from eventzr_kafka.producing.envelope import Enveloper

SETTINGS = KafkaSettings(brokers="127.0.0.1:1")
NOT_STARTED = "the producer is not started: use it inside `async with` or `with`, or call start()"


class Bare(EventData, topic="envelope.bare.v1"):
    id: str = "1"


class Declared(EventData, topic="envelope.declared.v1", source="orders-svc"):
    id: str = "1"


class Topicless(EventData):
    id: str = "1"


@pytest.mark.parametrize(
    ("producer", "data", "source"),
    [
        ("orders-svc", Bare(), "orders-svc"),
        ("orders-svc", Declared(), "orders-svc"),
        (None, Declared(), "orders-svc"),
    ],
)
def test_source_is_producers_or_classs(producer: str | None, data: EventData, source: str) -> None:
    assert Enveloper(producer).build_event(data, tenant_id="t1").source == source


@pytest.mark.parametrize(
    ("producer", "data", "problem"),
    [
        (
            None,
            Bare(),
            "envelope.bare.v1: no source: pass EventProducer(source=…) or declare class X(EventData, source=…)",
        ),
        (
            "",
            Bare(),
            "envelope.bare.v1: no source: pass EventProducer(source=…) or declare class X(EventData, source=…)",
        ),
        (
            "mail-svc",
            Declared(),
            "envelope.declared.v1: Declared is emitted by 'orders-svc'; this producer is 'mail-svc'",
        ),
        ("orders-svc", Topicless(), "Topicless: declares no topic: write class X(EventData, topic=…)"),
    ],
    ids=["none", "empty", "foreign", "no-topic"],
)
def test_foreign_event_is_refused(producer: str | None, data: EventData, problem: str) -> None:
    with pytest.raises(EncodeError) as caught:
        Enveloper(producer).build_event(data, tenant_id="t1")

    assert problem in str(caught.value)


def test_bad_source_is_named() -> None:
    with pytest.raises(EncodeError, match="source: "):
        Enveloper("orders svc").build_event(Bare(), tenant_id="t1")


def test_event_needs_a_tenant() -> None:
    with pytest.raises(MissingTenantError, match=r"envelope\.bare\.v1"):
        Enveloper("orders-svc").build_event(Bare())


def test_own_argument_is_no_extension() -> None:
    with pytest.raises(EncodeError, match=r"extensions={'source': …}: that attribute is "):
        Enveloper("orders-svc").build_event(Bare(), tenant_id="t1", extensions={"source": "mail-svc"})


def test_whole_event_keeps_attributes() -> None:
    event = CloudEvent[Any](id="1", source="mail-svc", type="envelope.bare.v1", tenantid="t1", data=1)
    wrap = Enveloper("orders-svc").prepare_event

    assert wrap(event) is event
    with pytest.raises(TypeError, match="subject= belongs to a payload; a CloudEvent brings its own attributes"):
        wrap(event, subject="s")


class NeverMade:
    """A transport that must not be made."""

    made: ClassVar[int] = 0

    def __call__(self, _settings: KafkaSettings) -> Any:
        type(self).made += 1
        raise AssertionError


async def test_unstarted_producer_has_a_hint() -> None:
    producer = EventProducer(source="orders-svc", settings=SETTINGS, transport=NeverMade())

    with pytest.raises(ProducerStateError) as caught:
        await producer.publish(Bare(), tenant_id="t1")
    assert str(caught.value) == NOT_STARTED
    with pytest.raises(ProducerStateError) as caught:
        producer.enqueue(Bare(), tenant_id="t1")
    assert str(caught.value) == NOT_STARTED
    assert NeverMade.made == 0


async def test_unstarted_producer_may_close() -> None:
    producer = EventProducer(source="orders-svc", settings=SETTINGS, transport=NeverMade())

    assert await producer.flush() == 0
    producer.close()
    assert NeverMade.made == 0
