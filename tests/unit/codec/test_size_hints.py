"""Errors about sizes: each names the limit that was met, and the setting that raises it."""

from __future__ import annotations

import pytest

from eventzr_kafka import EventProducer, KafkaSettings, OutgoingRecord
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.codec.limits import Limits
from eventzr_kafka.codec.size_hints import size_hint
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.kafka.transport import DeliveryFailure, DeliveryOutcome


@pytest.mark.parametrize(
    ("reason", "local", "setting"),
    [
        ("MSG_SIZE_TOO_LARGE", False, "max.message.bytes of the topic, which counts the record after compression"),
        ("MSG_SIZE_TOO_LARGE", True, "KafkaSettings(librdkafka={'message.max.bytes': …})"),
        ("RECORD_LIST_TOO_LARGE", False, "segment.bytes"),
        ("_QUEUE_FULL", True, "KafkaSettings(librdkafka={'queue.buffering.max.kbytes': …})"),
    ],
)
def test_a_size_hint_names_the_setting(reason: str, local: bool, setting: str) -> None:  # noqa: FBT001
    assert setting in (size_hint(reason, local=local) or "")


def test_another_failure_has_no_size_hint() -> None:
    assert size_hint("_MSG_TIMED_OUT", local=False) is None


def test_the_clients_own_limit_is_named_by_the_producer() -> None:
    settings = KafkaSettings(brokers="127.0.0.1:1", librdkafka={"message.max.bytes": 1000})
    event = CloudEvent(id="1", source="s", type="a.b", tenantid="t", data="x" * 2000)
    producer = EventProducer(settings=settings)
    producer.start()
    with pytest.raises(DeliveryError, match=r"that is the client's own limit: raise KafkaSettings.*message.max.bytes"):
        producer.enqueue(event).result(10)
    producer.close(0)


def test_an_event_larger_than_the_clients_queue_fails_at_once() -> None:
    settings = KafkaSettings(brokers="127.0.0.1:1", librdkafka={"queue.buffering.max.kbytes": 100})
    event = CloudEvent(id="1", source="s", type="a.b", tenantid="t", data="x" * 200_000)
    producer = EventProducer(settings=settings, limits=Limits(max_bytes=300_000))
    producer.start()
    with pytest.raises(DeliveryError, match=r"raise KafkaSettings\(librdkafka={'queue.buffering.max.kbytes'"):
        producer.enqueue(event).result(10)
    producer.close(0)


def test_unwritable_headers_fail_their_own_record() -> None:
    outcomes: list[DeliveryOutcome] = []
    client = ConfluentProducer(KafkaSettings(brokers="127.0.0.1:1"))
    client.start(lambda: None)
    headers: list[tuple[str, bytes | None]] = [("number", 1)]  # type: ignore[list-item]
    assert client.produce(OutgoingRecord("a.b", b"t", b"v", headers), outcomes.append)
    client.close()
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, DeliveryFailure)] == ["_INVALID_ARG"]
