"""Records that look wrong and are valid, and what becomes of them: read, written again, read alike."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from eventzr_kafka import CloudEvent, EventData, Record, decode, encode, kafka_consumer
from eventzr_kafka.aws_lambda.event import read_event
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.errors import InvalidEnvelopeError
from eventzr_kafka.events.context import inherited
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.marks import on_message
from eventzr_kafka.handlers.options import consumer_options
from eventzr_kafka.kafka.record import Header
from eventzr_kafka.producing.envelope import Enveloper
from eventzr_marketplace_events import ListingPublished

ODD = "test.oddities.odd.v1"
MODES: list[ContentMode] = ["structured", "binary"]
BASE: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "svc", "type": ODD, "tenantid": "acme"}
CE: list[Header] = [(f"ce_{name}", text.encode()) for name, text in BASE.items()]
LEAP = datetime(2016, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

both_modes = pytest.mark.parametrize("mode", MODES)


class Odd(EventData, topic=ODD, source="svc"):
    text: str = ""


def structured(text: str) -> Record:
    return Record(ODD, 0, 0, b"acme", text.encode(), encode(CloudEvent[Any](**BASE)).headers)


def read(**members: Any) -> CloudEvent[Any]:
    return decode(structured(json.dumps({**BASE, "datacontenttype": "application/json", "data": {}, **members})))


def again(event: CloudEvent[Any], mode: ContentMode) -> CloudEvent[Any]:
    out = encode(event, mode)
    return decode(Record(out.topic, 0, 0, out.key, out.value, out.headers))


# Empty extensions


@both_modes
def test_an_empty_extension_is_read_and_written_as_such(mode: ContentMode) -> None:
    event = read(tracestate="", ext="", data={"text": "é"})
    assert event.extensions == again(event, mode).extensions == {"tracestate": "", "ext": ""}
    assert (event.tracestate, again(event, mode)) == ("", event)


def test_an_empty_extension_in_a_header_is_an_empty_text() -> None:
    event = decode(Record(ODD, 0, 0, b"acme", b"{}", [*CE, ("ce_tracestate", b"")]))
    assert event.extensions == {"tracestate": ""}


def test_an_empty_extension_reaches_lambda() -> None:
    out = encode(CloudEvent[Any](**BASE, data={}, tracestate=""), "binary")
    headers = [{name: list(value or b"")} for name, value in out.headers]
    found = {"topic": ODD, "partition": 0, "offset": 7, "key": "YWNtZQ==", "value": "e30=", "headers": headers}
    [batch] = read_event({"eventSource": "aws:kafka", "records": {f"{ODD}-0": [found]}})
    assert decode(batch.records[0]).tracestate == ""


def test_an_empty_extension_can_be_made_and_published() -> None:
    assert CloudEvent[Any](**BASE).with_extensions(ext="").with_extensions(more="").extensions == {
        "ext": "",
        "more": "",
    }
    made = Enveloper("svc").build_event(Odd(), tenant_id="acme", extensions={"tracestate": ""})
    assert json.loads(encode(made).value or b"")["tracestate"] == ""


@pytest.mark.parametrize(
    "name", ["id", "source", "type", "subject", "dataschema", "time", "datacontenttype", "tenantid"]
)
def test_an_empty_attribute_of_the_core_is_refused(name: str) -> None:
    with pytest.raises(InvalidEnvelopeError, match=name):
        read(**{name: ""})


def test_an_empty_correlationid_names_no_flow_to_inherit() -> None:
    event = read(correlationid="")
    assert inherited(event, {})["extensions"]["correlationid"] == event.id


# Null headers


@pytest.mark.parametrize("name", ["ce_subject", "ce_time", "ce_dataschema", "ce_tracestate", "content-type"])
def test_a_null_header_of_an_optional_attribute_is_absence(name: str) -> None:
    headers = [*CE, ("ce_datacontenttype", b"application/json")]
    with_null = decode(Record(ODD, 0, 0, b"acme", b"{}", [*headers, (name, None)]))
    assert with_null == decode(Record(ODD, 0, 0, b"acme", b"{}", headers))


def test_a_null_content_type_leaves_the_mode_to_the_value() -> None:
    record = structured(json.dumps({**BASE, "data": {"text": "a"}}))
    assert decode(record._replace(headers=[("content-type", None)])).data == Odd(text="a")


# Leap seconds


@both_modes
@pytest.mark.parametrize(
    "text", ["2016-12-31T23:59:60Z", "2016-12-31t23:59:60.5z", "2017-01-01T00:59:60+01:00", "2016-12-31T15:59:60-08:00"]
)
def test_a_leap_second_is_the_last_instant_before_it(text: str, mode: ContentMode) -> None:
    event = read(time=text)
    assert event.time == LEAP
    assert json.loads(encode(event).value or b"")["time"] == "2016-12-31T23:59:59.999Z"
    assert again(event, mode).time == LEAP.replace(microsecond=999_000)


def test_a_leap_second_in_a_header_and_in_python_is_the_same() -> None:
    event = decode(Record(ODD, 0, 0, b"acme", b"{}", [*CE, ("ce_time", b"2016-12-31T23:59:60Z")]))
    given: dict[str, Any] = {**BASE, "time": "2016-12-31T23:59:60Z"}
    assert event.time == CloudEvent(**given).time == LEAP


@pytest.mark.parametrize("text", ["2016-12-31T23:59:60Z", "2017-01-01T00:59:60.25+01:00"])
def test_expirytime_may_be_a_leap_second(text: str) -> None:
    assert read(expirytime=text).expirytime == LEAP


def test_expirytime_at_another_second_60_is_none() -> None:
    assert read(expirytime="2016-12-31T12:00:60Z").expirytime is None


def test_a_moment_in_a_marketplace_payload_may_be_a_leap_second() -> None:
    text = '{"id":"1","sellerId":"2","lane":"a","publishedAt":"2016-12-31T23:59:60Z"}'
    assert ListingPublished.model_validate_json(text).published_at == LEAP


# Lone surrogates


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        (r"\ud83c", "\ufffd"),
        (r"\uDFFF!", "\ufffd!"),
        (r"\ud83c\ud83c\udf00", "\ufffd\U0001f300"),
        (r"\\ud83c", "\\ud83c"),
        (r"\\\ud83c", "\\\ufffd"),
        (r"\ud83c\u0041\"", '\ufffdA"'),
    ],
)
def test_a_lone_surrogate_can_be_read_as_u_fffd(text: str, read_as: str) -> None:
    value = json.dumps({**BASE, "data": {"text": "@"}}).replace("@", text)
    assert decode(structured(value), lone_surrogates="replace").data == Odd(text=read_as)
    binary = Record(ODD, 0, 0, b"acme", f'{{"text":"{text}"}}'.encode(), [*CE, ("content-type", b"application/json")])
    assert decode(binary, Odd, lone_surrogates="replace").data == Odd(text=read_as)


def test_a_consumer_can_read_lone_surrogates_as_u_fffd() -> None:
    @kafka_consumer(group_id="odd", lone_surrogates="replace")
    class Handler:
        @on_message(Odd)
        async def handle(self, event: CloudEvent[Odd]) -> None:
            """Do nothing: the route's decoder is what counts."""

    definition = definition_of(Handler())
    with ThreadPoolExecutor() as pool:
        [route] = bind(Handler(), definition.routes, definition.options, pool)
    value = json.dumps({**BASE, "data": {"text": "@"}}).replace("@", r"\ud83c")
    assert route.decoder(structured(value)).data == Odd(text="\ufffd")


def test_the_option_for_lone_surrogates_is_one_of_two() -> None:
    with pytest.raises(ValueError, match="lone_surrogates='drop': must be one of refuse, replace"):
        consumer_options(lone_surrogates="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
