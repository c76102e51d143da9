"""All events of the marketplace through a real Kafka in both content modes, byte for byte."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from tests.guide import GUIDE_EVENT

from eventzr_kafka import EventProducer, KafkaSettings, Record, decode
from eventzr_kafka.testing.kafka_server import KafkaServerError
from eventzr_marketplace_events import ListingCreated, example, topics
from eventzr_marketplace_events.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eventzr_kafka import Delivery, PublishResult
    from eventzr_kafka.events.event_data import EventData
    from eventzr_kafka.kafka.record import Header
    from eventzr_kafka.testing.kafka_server import KafkaServer

    Records = Mapping[str, Record]

Mode: TypeAlias = Literal["structured", "binary"]

MODES: Final[tuple[Mode, ...]] = ("structured", "binary")
TOPICS: Final = (*topics.PRODUCED, *topics.CONSUMED)
NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
TENANT: Final = "00000000-0000-0000-0000-000000000001"


def read(kafka: KafkaServer, results: Iterable[PublishResult]) -> list[Record]:
    """Read published records as they lie on the broker, without the SDK's own consumer."""
    wanted = {(each.topic, cast("int", each.partition), cast("int", each.offset)) for each in results}
    found: list[Record] = []
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"}
    with contextlib.closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition(*first) for first in first_of_each_partition(wanted)])
        while len(found) < len(wanted):
            message = consumer.poll(20)
            assert message is not None, f"{len(found)} of {len(wanted)} records in 20 s"
            record = as_record(message)
            if (record.topic, record.partition, record.offset) in wanted:
                found.append(record)
    return found


def first_of_each_partition(positions: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    backwards = sorted(positions, reverse=True)
    return list({(topic, partition): (topic, partition, offset) for topic, partition, offset in backwards}.values())


def as_record(message: Message) -> Record:
    assert message.error() is None
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    headers = cast("list[Header]", message.headers() or [])
    return Record(
        cast("str", topic), cast("int", partition), cast("int", offset), message.key(), message.value(), headers
    )


def source_of(event: EventData) -> str:
    return type(event).__source__ or "nobody"


@pytest.fixture(scope="module", autouse=True)
def guide_topics(kafka: KafkaServer) -> None:
    """Create the topics of the guide; those that another test has left are as good."""
    with contextlib.suppress(KafkaServerError):
        kafka.create_topics(TOPICS)


@pytest.fixture(scope="module")
def records(kafka: KafkaServer) -> Records:
    """Every event in each mode, published by the SDK and read back raw; by event id, ``<topic>/<mode>``."""
    deliveries: list[Delivery] = []
    for mode in MODES:
        with EventProducer(settings=KafkaSettings(brokers=kafka.bootstrap_servers), mode=mode) as producer:
            deliveries += [
                producer.enqueue(
                    event, tenant_id=TENANT, subject="entity:ü", event_id=f"{type(event).__topic__}/{mode}", time=NOON
                )
                for event in EXAMPLES.values()
            ]
    return {decode(record).id: record for record in read(kafka, [delivery.result(20) for delivery in deliveries])}


every_event = pytest.mark.parametrize("event", EXAMPLES.values(), ids=lambda event: type(event).__name__)
every_mode = pytest.mark.parametrize("mode", MODES)


def test_all_18_events_of_the_guide_come_through(records: Records) -> None:
    assert len(TOPICS) == 18
    assert records.keys() == {f"{topic}/{mode}" for topic, mode in product(TOPICS, MODES)}


@every_event
@every_mode
def test_event_reads_back_as_written(records: Records, event: EventData, mode: Mode) -> None:
    topic = type(event).__topic__

    read_back = decode(records[f"{topic}/{mode}"], type(event))

    assert read_back.data == event
    assert read_back.data.model_fields_set == event.model_fields_set
    assert (read_back.type, read_back.source) == (topic, source_of(event))
    assert (read_back.subject, read_back.time, read_back.tenantid) == ("entity:ü", NOON, TENANT)
    assert (read_back.datacontenttype, dict(read_back.extensions)) == ("application/json", {})


@every_event
@every_mode
def test_record_lies_under_its_tenant(records: Records, event: EventData, mode: Mode) -> None:
    record = records[f"{type(event).__topic__}/{mode}"]

    assert record.topic == type(event).__topic__
    assert record.key == TENANT.encode()


@every_event
def test_binary_mode_puts_attributes_into_headers(records: Records, event: EventData) -> None:
    topic = str(type(event).__topic__)
    record = records[f"{topic}/binary"]

    assert sorted(record.headers) == [
        ("ce_id", f"{topic}/binary".encode()),
        ("ce_source", source_of(event).encode()),
        ("ce_specversion", b"1.0"),
        ("ce_subject", "entity:ü".encode()),
        ("ce_tenantid", TENANT.encode()),
        ("ce_time", b"2026-03-02T12:00:00.000Z"),
        ("ce_type", topic.encode()),
        ("content-type", b"application/json"),
    ]
    assert json.loads(record.value or b"") == envelope(records, event)["data"]


@every_event
def test_structured_mode_puts_all_into_the_value(records: Records, event: EventData) -> None:
    record = records[f"{type(event).__topic__}/structured"]

    assert record.headers == [("content-type", b"application/cloudevents+json; charset=utf-8")]
    assert list(envelope(records, event)) == list(json.loads(GUIDE_EVENT))
    assert envelope(records, event)["time"] == "2026-03-02T12:00:00.000Z"


def envelope(records: Records, event: EventData) -> dict[str, Any]:
    """The event in structured mode, as any JSON parser reads it."""
    return cast("dict[str, Any]", json.loads(records[f"{type(event).__topic__}/structured"].value or b""))


def round_trip(kafka: KafkaServer, event: EventData, mode: Mode, **envelope: Any) -> Record:
    settings = KafkaSettings(brokers=kafka.bootstrap_servers)
    with EventProducer(source="marketplace-svc", settings=settings, mode=mode) as producer:
        result = producer.enqueue(event, tenant_id=TENANT, **envelope).result(20)
    return read(kafka, [result])[0]


def test_listing_is_json_of_the_guide(kafka: KafkaServer) -> None:
    guide = json.loads(GUIDE_EVENT)
    attributes = {"event_id": guide["id"], "subject": guide["subject"], "time": NOON}

    value = round_trip(kafka, example(ListingCreated), "structured", **attributes).value or b""

    assert json.loads(value) == guide
    assert list(json.loads(value)["data"]) == list(guide["data"])
    assert b'"price":5000,' in value
    assert b'"time":"2026-03-02T12:00:00.000Z"' in value


@every_mode
def test_extensions_and_unicode_come_through(kafka: KafkaServer, mode: Mode) -> None:
    changes = {"title": 'Größe "L" \u2028 日本 🎪', "id": "a\\b", "price": Decimal("9999999999999.99")}
    listing = example(ListingCreated).model_copy(update=changes)
    traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "note": "naïve ☕"}

    event = decode(round_trip(kafka, listing, mode, extensions=traced), ListingCreated)

    assert event.data == listing
    assert dict(event.extensions) == traced
