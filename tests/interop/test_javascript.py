"""Events go both ways between this SDK and the JavaScript SDK, over a real Kafka, in both content modes."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections import Counter
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import pytest

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    EventProducer,
    KafkaSettings,
    MessageContext,
    kafka_consumer,
    on_message,
)
from eventzr_marketplace_events import topics
from eventzr_marketplace_events.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from eventzr_kafka.events.event_data import EventData
    from eventzr_kafka.kafka.record import Record
    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]
    Received: TypeAlias = "Mapping[str, tuple[CloudEvent[Any], Record]]"

Json: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["structured", "binary"]

SECONDS: Final = 60.0
MODES: Final[tuple[Mode, ...]] = ("structured", "binary")
TOPICS: Final = (*topics.PRODUCED, *topics.CONSUMED)
SOURCES: Final = {str(kind.__topic__): str(kind.__source__) for kind in EXAMPLES}
NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
TENANT: Final = "00000000-0000-0000-0000-000000000001"

every_event = pytest.mark.parametrize("event", EXAMPLES.values(), ids=lambda event: type(event).__name__)
every_mode = pytest.mark.parametrize("mode", MODES)


class Node(Protocol):
    def run(self, script: str, *args: str, stdin: str = "") -> str: ...


def attributes(event_id: str, topic: str, **others: Any) -> Json:
    """An event with every attribute that the guide's event has, and the data in `others`."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "type": topic,
        "source": SOURCES.get(topic, "marketplace-svc"),
        "time": "2026-03-02T12:00:00.000Z",
        "datacontenttype": "application/json",
        "subject": "listing:uuid",
        "tenantid": TENANT,
        **others,
    }


def payload(event: EventData) -> Json:
    """The payload as it stands in JSON, amounts as numbers."""
    partial = type(event).__partial__
    found: Json = json.loads(event.model_dump_json(by_alias=True, exclude_unset=partial, exclude_none=not partial))
    return found


# Both directions


def write_with_javascript(node: Node, kafka: KafkaServer, wanted: Iterable[Json]) -> list[Json]:
    """Write ``{"topic": …, "mode": …, "event": …}`` and return where each is."""
    places: list[Json] = json.loads(node.run("publish.cjs", kafka.bootstrap_servers, stdin=json.dumps(list(wanted))))
    return places


def read_with_javascript(node: Node, kafka: KafkaServer, topics: Iterable[str], count: int) -> list[Json]:
    """Read so many records and return them as the JavaScript SDK sees them."""
    lines = node.run("read.cjs", kafka.bootstrap_servers, str(count), *topics)
    return [json.loads(line) for line in lines.split("\n") if line]


def read_with_us(kafka: KafkaServer, topics: Iterable[str], count: int) -> Received:
    """Let our runner and handlers have so many events; by id."""
    received: dict[str, tuple[CloudEvent[Any], Record]] = {}
    group = f"python-{uuid.uuid4()}"

    def handler(topic: str, enough: asyncio.Event) -> object:
        @kafka_consumer(group_id=group)
        class Handler:
            @on_message(topic)
            async def handle(self, event: CloudEvent, context: MessageContext) -> None:
                received[event.id] = (event, context.record)
                if len(received) == count:
                    enough.set()

        return Handler()

    async def receive() -> None:
        enough = asyncio.Event()
        handlers = [handler(topic, enough) for topic in topics]
        settings = KafkaSettings(brokers=kafka.bootstrap_servers)
        async with asyncio.timeout(SECONDS), ConsumerRunner(*handlers, settings=settings):
            await enough.wait()

    asyncio.run(receive())
    return received


def write_with_us(kafka: KafkaServer, events: Iterable[CloudEvent[Any]], mode: Mode) -> list[int | None]:
    """Publish events and return the partition of each."""
    with EventProducer(settings=KafkaSettings(brokers=kafka.bootstrap_servers), mode=mode) as producer:
        deliveries = [producer.enqueue(event) for event in events]
    return [delivery.result(SECONDS).partition for delivery in deliveries]


def empty_topics(kafka: KafkaServer) -> None:
    """Make the guide's topics anew, whatever another test has left in them."""
    kafka.tool("org.apache.kafka.tools.TopicCommand", "--delete", "--if-exists", "--topic", "|".join(TOPICS))
    kafka.create_topics(TOPICS)


# The marketplace's events, from JavaScript to us


@pytest.fixture(scope="module")
def from_javascript(node: Node, kafka: KafkaServer) -> Received:
    """Every event in each mode, written by the JavaScript SDK; by id, ``<topic>/<mode>``."""
    wanted: list[Json] = []
    for mode, event in product(MODES, EXAMPLES.values()):
        topic = str(type(event).__topic__)
        written = attributes(f"{topic}/{mode}", topic, data=payload(event), partitionkey=TENANT)
        wanted.append({"topic": topic, "mode": mode, "event": written})
    empty_topics(kafka)
    write_with_javascript(node, kafka, wanted)
    return read_with_us(kafka, TOPICS, len(wanted))


@every_event
@every_mode
def test_javascript_event_is_handled(from_javascript: Received, event: EventData, mode: Mode) -> None:
    topic = str(type(event).__topic__)

    read, record = from_javascript[f"{topic}/{mode}"]

    assert type(read.data) is type(event)
    assert read.data == event
    assert read.data.model_fields_set == event.model_fields_set
    assert attributes_of(read) == attributes(f"{topic}/{mode}", topic, partitionkey=TENANT)
    assert record.key == TENANT.encode()


def attributes_of(event: CloudEvent[Any]) -> Json:
    found: Json = json.loads(event.to_json())
    return {name: value for name, value in found.items() if not name.startswith("data_") and name != "data"}


def test_javascript_wrote_both_modes(from_javascript: Received) -> None:
    content_types = Counter(dict(record.headers)["content-type"] for _, record in from_javascript.values())
    names = Counter(name for _, record in from_javascript.values() for name, _ in record.headers)

    assert content_types == {b"application/cloudevents+json; charset=utf-8": 18, b"application/json": 18}
    assert names["ce_id"] == names["ce_datacontenttype"] == 18


# The marketplace's events, from us to JavaScript


@pytest.fixture(scope="module")
def in_javascript(node: Node, kafka: KafkaServer) -> Mapping[str, Json]:
    """Every event in each mode, published by us, as the JavaScript SDK reads it; by id, ``<topic>/<mode>``."""
    empty_topics(kafka)
    for mode in MODES:
        with EventProducer(settings=KafkaSettings(brokers=kafka.bootstrap_servers), mode=mode) as producer:
            for event in EXAMPLES.values():
                name = f"{type(event).__topic__}/{mode}"
                producer.enqueue(event, tenant_id=TENANT, subject="listing:uuid", event_id=name, time=NOON)
    found = read_with_javascript(node, kafka, TOPICS, len(MODES) * len(TOPICS))
    return {each["event"]["id"]: each for each in found}


@every_event
@every_mode
def test_javascript_reads_our_event(in_javascript: Mapping[str, Json], event: EventData, mode: Mode) -> None:
    topic = str(type(event).__topic__)

    read = in_javascript[f"{topic}/{mode}"]

    source = type(event).__source__
    expected = attributes(f"{topic}/{mode}", topic, source=source, data=payload(event), partitionkey=TENANT)
    assert read["event"] == expected
    assert read["topic"] == topic


# Whatever else an event may hold


OTHERS: Final[Mapping[str, Json]] = {
    "text": {"datacontenttype": "text/plain", "data": "Größe L, 日本 🎪"},
    "bytes": {"datacontenttype": "application/octet-stream", "dataInBase64": "AAH/gA=="},
    "unicode": {"data": {"größe": '日本 🎪 \u2028 \\ " </script>'}},
    "numbers": {"data": {"amounts": [0, -1, 4650.75, 99999999999.9999, 1e21, 2**53]}},
    "nesting": {"data": {"a": [{"b": [None, True, {}]}, []]}},
    "array": {"datacontenttype": "application/vnd.eventzr+json", "data": [1, "two"]},
    "extensions": {"data": {}, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "note": "☕"},
    "an empty extension": {"data": {}, "tracestate": ""},
    "typed extensions": {"data": {}, "sequence": -7, "sampled": True},
}

every_other = pytest.mark.parametrize("kind", OTHERS)


def given(event_id: str, topic: str, kind: str) -> Json:
    return attributes(event_id, topic, **OTHERS[kind])


def in_mode(event: Json, mode: Mode) -> Json:
    """The attributes of an event as a reader sees them: all are texts in headers, numbers and booleans too."""
    plain = {name: value for name, value in event.items() if name not in {"data", "dataInBase64"}}
    if mode == "structured":
        return plain
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in plain.items()}


def data_of(event: Json) -> Any:
    return base64.b64decode(event["dataInBase64"]) if "dataInBase64" in event else event["data"]


@pytest.fixture(scope="module")
def others_from_javascript(node: Node, kafka: KafkaServer) -> Received:
    topic = f"others.from.javascript.{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic)
    cases = list(product(OTHERS, MODES))
    wanted = [{"topic": topic, "mode": mode, "event": given(f"{kind}/{mode}", topic, kind)} for kind, mode in cases]
    write_with_javascript(node, kafka, wanted)
    return read_with_us(kafka, [topic], len(cases))


@every_other
@every_mode
def test_javascript_data_is_handled(others_from_javascript: Received, kind: str, mode: Mode) -> None:
    event, record = others_from_javascript[f"{kind}/{mode}"]

    written = given(event.id, record.topic, kind)
    assert event.data == data_of(written)
    assert attributes_of(event) == in_mode(written, mode)


@pytest.fixture(scope="module")
def others_in_javascript(node: Node, kafka: KafkaServer) -> Mapping[str, Json]:
    topic = f"others.in.javascript.{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic)
    for mode in MODES:
        events = [given(f"{kind}/{mode}", topic, kind) for kind in OTHERS]
        write_with_us(kafka, [as_event(event) for event in events], mode)
    found = read_with_javascript(node, kafka, [topic], len(MODES) * len(OTHERS))
    return {each["event"]["id"]: each for each in found}


def as_event(given: Json) -> CloudEvent[Any]:
    return CloudEvent[Any](**{**in_mode(given, "structured"), "data": data_of(given)})


@every_other
@every_mode
def test_javascript_reads_other_data(others_in_javascript: Mapping[str, Json], kind: str, mode: Mode) -> None:
    read = others_in_javascript[f"{kind}/{mode}"]

    written = given(f"{kind}/{mode}", read["topic"], kind)
    assert read["event"] == {**in_mode(written, mode), **data_in_javascript(written, mode), "partitionkey": TENANT}


def data_in_javascript(event: Json, mode: Mode) -> Json:
    """The data as that SDK shows it; in binary mode it parses ``application/json`` and hands on the rest as bytes."""
    data = data_of(event)
    if mode == "binary" and not isinstance(data, bytes) and event["datacontenttype"] != "application/json":
        data = data.encode() if isinstance(data, str) else json.dumps(data, separators=(",", ":")).encode()
    return {"data_base64": base64.b64encode(data).decode()} if isinstance(data, bytes) else {"data": data}


def test_tenant_has_one_partition_in_both_sdks(node: Node, kafka: KafkaServer, topic: TopicFactory) -> None:
    tenants = [str(uuid.UUID(int=number**7)) for number in range(100)] + ["ü", "日本", "🎪", "t" * 1001]
    theirs, ours = topic(partitions=11), topic(partitions=11)
    events = {name: [attributes("1", name, tenantid=tenant, data=1) for tenant in tenants] for name in (theirs, ours)}

    places = write_with_javascript(
        node, kafka, [{"topic": theirs, "mode": "structured", "event": event} for event in events[theirs]]
    )
    partitions = write_with_us(kafka, [as_event(event) for event in events[ours]], "structured")

    assert partitions == [place["partition"] for place in places]
    assert set(partitions) == set(range(11))
