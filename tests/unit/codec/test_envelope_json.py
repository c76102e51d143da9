"""The quick way reads what it should, exactly as the careful way reads it, and leaves the rest."""

import json
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator
from tests.unit.codec.mutated_records import TENANT, decoders, look, parts_of, read_quickly, seeds

from eventzr_kafka import CloudEvent, Limits, Record, encode
from eventzr_kafka.codec import envelope_json
from eventzr_kafka.codec.decoder import Decoder, decoder_for
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_marketplace_events import ListingCreated, example

CREATED = str(ListingCreated.__topic__)
READ = decoder_for(ListingCreated, event_type=CREATED)
TIME = "2026-03-02T12:00:00.000Z"


def written(**attributes: Any) -> bytes:
    given: dict[str, Any] = {
        "id": "1",
        "source": "svc",
        "type": CREATED,
        "time": TIME,
        "tenantid": "acme",
        "data": example(ListingCreated),
    }
    return encode(CloudEvent(**{**given, **attributes})).value or b""


def record(value: bytes, key: bytes = b"acme") -> Record:
    return Record(CREATED, 0, 0, key, value, STRUCTURED_HEADERS)


def is_quick(value: bytes, decoder: Decoder = READ) -> bool:
    """Return True if a value is read the quick way, which is then right."""
    event = read_quickly(decoder, record(value))
    if event is not None:
        assert parts_of(event) == parts_of(decoder.read_carefully(record(value)))
    return event is not None


@pytest.mark.parametrize("number", range(10))
def test_mutated_records_are_read_the_same_both_ways(number: int) -> None:
    count, differences = look(seed=1_000_000 + number, count=400)
    assert differences == []
    assert count.quick > count.records * 0.2


def test_every_event_in_every_form_is_read_quickly() -> None:
    for topic, form in seeds():
        value = b"{" + ",".join(f"{name}:{part}" for name, part in form).encode() + b"}"
        event = read_quickly(decoders(topic)[0], Record(topic, 0, 0, TENANT.encode(), value, STRUCTURED_HEADERS))
        assert (event is None) == (b"123456789Z" in value)  # more than six digits


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"subject": "listing:1", "datacontenttype": "application/json", "dataschema": "https://a.example/b"},
        {"correlationid": "c", "causationid": "d", "traceparent": "00-1-2-03", "tracestate": "", "partitionkey": "p"},
        {"expirytime": TIME, "dataref": "x"},
        {"data": example(ListingCreated).model_copy(update={"title": 'Café "Ü" \\ \n'})},
        {"subject": "Café", "id": "☃"},
        {"region": "eu", "hops": -7, "flag": True},
    ],
    ids=["bare", "attributes", "causal", "others", "escapes in data", "not ASCII", "own extensions"],
)
def test_usual_records_are_read_quickly(more: dict[str, Any]) -> None:
    assert is_quick(written(**more))


@pytest.mark.parametrize("time", [TIME, "2026-03-02T12:00:00Z", "2026-03-02T12:00:00.123456+02:00"])
def test_usual_times_are_read_quickly(time: str) -> None:
    assert is_quick(written().replace(TIME.encode(), time.encode()))


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-02 12:00:00.000Z",
        "2026-03-02T12:00:00.0000000Z",
        "2026-03-02T24:00:00.000Z",
        "2016-12-31T23:59:60.000Z",
    ],
)
def test_other_times_are_left_to_the_careful_way(time: str) -> None:
    assert not is_quick(written().replace(TIME.encode(), time.encode()))


BLANKS = json.dumps(json.loads(written())).encode()


@pytest.mark.parametrize(
    "value",
    [
        b'{"tenantid":"acme",' + written()[1:],
        b'{"\\u0074enantid":"acme",' + written()[1:],
        b'{"data":{},' + written()[1:],
        b'{"data":{},' + BLANKS[1:],
        b'{"d\\u0061ta":{},' + BLANKS[1:],
        b'{"region":[[]],"region":"eu",' + written()[1:],
        b'{"data_base64":null,' + written()[1:],
        b'{"_rest":{"extensions":null,"has_data":true},' + written()[1:],
        b'{"_expirytime":"x",' + written()[1:],
        b'{"region":1.0,' + written()[1:],
        b'{"region":2147483648,' + written()[1:],
        b'{"Region":"eu",' + written()[1:],
        b'{"region":"\x7f",' + written()[1:],
        b'{"region":"\xc2\x85",' + written()[1:],
        b'{"traceparent":"\xc2\x85",' + written()[1:],
        b'{"traceparent":7,' + written()[1:],
        written().replace(b'"svc"', b'"a b"'),
        written().replace(b'"acme"', b'"other"'),
        written().replace(CREATED.encode(), b"other"),
        written().replace(b'"data":{', b'"data":{"more":' + b"[" * 200 + b"]" * 200 + b","),
        written().replace(b'"data":{', b'"data":{"more":NaN,'),
        written().partition(b',"data"')[0] + b"}",
        b"\xef\xbb\xbf" + written(),
        b"",
    ],
)
def test_odd_records_are_left_to_the_careful_way(value: bytes) -> None:
    assert not is_quick(value)


@pytest.mark.parametrize(
    "limits", [Limits(max_bytes=len(written()) - 1), Limits(max_containers=1), Limits(max_headers=0)]
)
def test_limits_hold_before_the_quick_way(limits: Limits) -> None:
    value = written(data=example(ListingCreated).model_copy(update={"more": [[]]}))
    assert is_quick(value)
    assert not is_quick(value, decoder_for(ListingCreated, event_type=CREATED, limits=limits))


def test_sources_of_the_consumer_hold() -> None:
    assert is_quick(written(), decoder_for(ListingCreated, event_type=CREATED, sources={"svc"}))
    assert not is_quick(written(), decoder_for(ListingCreated, event_type=CREATED, sources={"other"}))


@pytest.mark.parametrize("name", ["source", "dataschema", "datacontenttype"])
def test_long_values_are_read_and_not_remembered(name: str) -> None:
    starts = {"source": "s:", "dataschema": "s:", "datacontenttype": "application/json;charset="}
    value = written(**{name: starts[name] + "x" * 5000})
    caches = (envelope_json._is_source, envelope_json._is_uri, envelope_json._is_media_type)
    for cache in caches:
        cache.cache_clear()
    assert not is_quick(value)
    assert len(getattr(READ(record(value)), name)) > 5000
    assert [cache.cache_info().currsize for cache in caches] == [name != "source", 0, 0]


def test_an_error_of_the_payload_class_is_found_carefully() -> None:
    def refuse(_value: object) -> object:
        raise RuntimeError("broken")

    assert not is_quick(written(), decoder_for(Annotated[ListingCreated, AfterValidator(refuse)], event_type=CREATED))
