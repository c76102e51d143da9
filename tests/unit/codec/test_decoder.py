"""Records are read in both content modes, within their limits."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from tests.unit.codec.codec_records import (
    BASE,
    CE,
    CREATED,
    GUIDE,
    JSON_EVENT,
    MODES,
    TENANT,
    TEXT,
    THING,
    Sized,
    both_modes,
    make,
    read,
    record,
    sent,
    written,
)

from eventzr_kafka import Limits, Record, decode, encode
from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.errors import RecordTooLargeError, TypeMismatchError
from eventzr_kafka.kafka.record import Header
from eventzr_marketplace_events import ListingClosed, ListingCreated


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
@pytest.mark.parametrize(
    "value",
    [
        b"application/cloudevents+json",
        b"application/cloudevents",
        b"application/cloudevents+json; charset=utf-8",
        b'Application/CloudEvents+JSON ;Charset="UTF-8"',
        b"application/cloudevents+json;a=b",
        b" application/cloudevents+json ",
    ],
)
def test_the_content_type_means_structured_in_any_spelling(name: str, value: bytes) -> None:
    assert read((name, value), data={"a": 1}).data == {"a": 1}


@pytest.mark.parametrize("headers", [[JSON_EVENT, *CE], [*CE, JSON_EVENT], [CE[1], JSON_EVENT, ("ce_time", b"\xff")]])
def test_ce_headers_beside_structured_mode_count_for_nothing(headers: list[Header]) -> None:
    event = read(*headers, id="from the value", tenantid="acme")
    assert (event.id, event.extensions) == ("from the value", {})


@pytest.mark.parametrize("headers", [[], [("traceparent", b"00-1-2-03")], [("x", None), ("cex", b"1"), ("ce", b"2")]])
def test_a_plain_json_object_without_content_type_is_structured(headers: list[Header]) -> None:
    value = b"\n " + json.dumps({**BASE, "data": 1}).encode() + b" \n"
    assert read(*headers, value=value).data == 1


def test_structured_events_of_the_javascript_sdk_are_read() -> None:
    event = read(
        ("content-type", b"application/cloudevents+json; charset=utf-8"),
        time="2026-03-02T12:00:00.000Z",
        partitionkey="acme",
        data={"a": "é"},
    )
    assert (event.partitionkey, event.data) == ("acme", {"a": "é"})


def test_what_the_javascript_sdk_writes_in_binary_mode_is_read() -> None:
    extra: list[Header] = [("ce_datacontenttype", b"application/json"), ("ce_time", b"2026-03-02T12:00:00.000Z")]
    event = read(*CE, *extra, ("content-type", b"application/json; charset=utf-8"), value=b'{"a":"\xc3\xa9"}')
    assert event.data == {"a": "é"}
    assert (event.datacontenttype, event.extensions) == ("application/json; charset=utf-8", {})


@pytest.mark.parametrize("name", ["Content-Type", "CONTENT-TYPE"])
def test_binary_mode_takes_the_content_type_in_any_case(name: str) -> None:
    assert read(*CE, (name, b"Application/JSON"), value=b"[1]").data == [1]


def test_ce_datacontenttype_counts_where_no_content_type_stands() -> None:
    assert read(*CE, ("ce_datacontenttype", b"application/json"), value=b"[1]").data == [1]


def test_headers_of_binary_mode_are_plain_utf_8() -> None:
    event = read(*CE, ("ce_subject", "100%25 Größe ☃".encode()), ("ce_ext", b"a%20b"), value=b"1")
    assert (event.subject, event.extensions) == ("100%25 Größe ☃", {"ext": "a%20b"})


@pytest.mark.parametrize(
    ("content_type", "value", "data"),
    [
        (b"application/json", b'{"a":1}', {"a": 1}),
        (b"application/vnd.eventzr+json", b"[1]", [1]),
        (b"image/json; charset=utf-8", b'"text"', "text"),
        (b"text/json", b'{"a":1}', {"a": 1}),
        (b"text/vnd.a+json", b"[1]", [1]),
        (b"application/json", b"null", None),
        (b"text/plain", "Größe".encode(), "Größe"),
        (b"text/plain; charset=latin-1", "Größe".encode("latin-1"), "Größe"),
        (b"text/csv;charset=utf-16", "a,b".encode("utf-16"), "a,b"),
        (b"application/xml", b"<a/>", "<a/>"),
        (b"image/svg+xml", b"<svg/>", "<svg/>"),
        (b"image/png", b"\x89PNG", b"\x89PNG"),
        (b"application/octet-stream", b'{"a":1}', b'{"a":1}'),
        (b"text/plain", b"", ""),
        (b"application/octet-stream", b"", b""),
    ],
)
def test_binary_data_is_what_its_media_type_says(content_type: bytes, value: bytes, data: Any) -> None:
    event = decode(record(value, *CE, ("content-type", content_type)))
    assert (event.data, event.has_data) == (data, True)
    assert event.datacontenttype == content_type.decode()


def test_binary_data_without_media_type_is_bytes_or_typed_json() -> None:
    assert decode(record(b"[1]", *CE)).data == b"[1]"
    assert decode(record(b"[1]", *CE), list[int]).data == [1]


@pytest.mark.parametrize("headers", [CE, [*CE, ("content-type", b"application/json")]])
def test_no_value_in_binary_mode_is_an_event_without_data(headers: list[Header]) -> None:
    event = decode(Record(THING, 0, 0, b"acme", None, headers))
    assert (event.data, event.has_data) == (None, False)
    assert encode(event, "binary").value is None


@pytest.mark.parametrize("text", ['{"a":1}', "[1]", "null", "7", '"quoted"', ""])
def test_a_json_string_in_data_stays_a_string(text: str) -> None:
    assert read(data=text).data == text
    assert decode(record(json.dumps(text).encode(), *CE, ("content-type", b"application/json"))).data == text
    for mode in MODES:
        assert decode(sent(make(data=text), mode)).data == text


@both_modes
def test_null_data_is_not_absent_data(mode: ContentMode) -> None:
    null, absent = (decode(sent(event, mode)) for event in (make(data=None), make()))
    assert (null.data, absent.data) == (None, None)
    assert (null.has_data, absent.has_data) == (True, False)
    assert written(null)["data"] is None
    assert "data" not in written(absent)


def test_null_attributes_and_null_extensions_are_absent() -> None:
    nulls = dict.fromkeys(["time", "datacontenttype", "dataschema", "subject", "traceparent", "ext"])
    event = read(**nulls, data={"a": None})
    assert (event.time, event.datacontenttype, event.dataschema, event.subject) == (None, None, None, None)
    assert (event.traceparent, event.extensions) == (None, {})
    assert event == read(data={"a": None})
    assert written(event) == {**BASE, "data": {"a": None}}
    assert not {name for name, _ in encode(event, "binary").headers} & {f"ce_{name}" for name in nulls}


@pytest.mark.parametrize(
    ("data_type", "members", "data"),
    [
        (Any, {}, b'{"width":1}'),
        (Any, {"datacontenttype": "application/json"}, b'{"width":1}'),
        (Sized, {}, Sized(width=Decimal(1))),
        (Sized, {"datacontenttype": "application/json"}, Sized(width=Decimal(1))),
        (dict[str, int], {"datacontenttype": None, "ext": None}, {"width": 1}),
        (bytes, {"datacontenttype": "image/png"}, b'{"width":1}'),
        (bytes, {}, b'{"width":1}'),
    ],
)
def test_data_base64_is_bytes_or_the_json_of_its_class(data_type: Any, members: dict[str, Any], data: Any) -> None:
    members = {**BASE, "type": Sized.__topic__, **members, "data_base64": "eyJ3aWR0aCI6MX0="}
    event = decode(record(members, JSON_EVENT), data_type)
    assert (event.data, event.has_data, event.extensions) == (data, True, {})


def test_an_empty_data_base64_is_data() -> None:
    event = read(data_base64="")
    assert (event.data, event.has_data) == (b"", True)
    assert written(event)["data_base64"] == ""


def test_a_null_data_base64_is_absent() -> None:
    assert read(data={"a": 1}, data_base64=None).data == {"a": 1}
    assert read(data=None, data_base64=None).has_data is True
    assert read(data_base64=None).has_data is False


@both_modes
def test_unknown_fields_of_a_payload_are_kept(mode: ContentMode) -> None:
    data = {"id": "1", "reason": "sold_out", "statistics": {"views": 1, "quotes": 2, "orders": 3, "new": [1]}, "x": {}}
    attributes = {**BASE, "type": ListingClosed.__topic__, "datacontenttype": "application/json"}
    attributes["source"] = "marketplace-svc"
    event = decode(record({**attributes, "data": data}), ListingClosed)
    assert event.data.statistics is not None
    assert (event.data.statistics.views, event.data.model_extra) == (1, {"x": {}})
    assert written(event)["data"] == data
    assert decode(sent(event, mode), ListingClosed) == event


def test_the_payload_class_is_the_callers_or_the_topics_or_json() -> None:
    guide = record(GUIDE, topic=CREATED, key=TENANT)
    plain = json.loads(GUIDE)["data"]
    assert type(decode(guide).data) is ListingCreated
    assert type(decode(guide, ListingCreated).data) is ListingCreated
    assert decode(guide, dict[str, Any]).data == plain
    assert decode(guide._replace(topic="test.codec.nobody.v1")).data == plain


def test_an_unhashable_annotation_is_a_payload_class_too() -> None:
    assert decode(record({**BASE, "data": "7"}), Annotated[int, ["no hash"]]).data == 7  # type: ignore[call-overload]


def test_a_class_takes_its_own_type_and_plain_json_any_type() -> None:
    foreign = record({**BASE, "data": {"width": 1}})
    with pytest.raises(TypeMismatchError, match="this topic carries"):
        decode(foreign, Sized)
    assert decode(foreign).type == THING
    assert decoder_for(Sized, event_type=None)(foreign).data == Sized(width=Decimal(1))


def test_a_tenantid_inside_the_payload_is_the_payloads_own() -> None:
    event = read(data={"tenantid": "other", "more": [{"tenantid": "third"}]})
    assert (event.tenantid, event.data["tenantid"]) == ("acme", "other")


@given(TEXT)
def test_the_key_is_the_tenant_in_utf_8(tenant: str) -> None:
    out = encode(make(tenantid=tenant))
    assert out.key == tenant.encode()
    assert decode(Record(THING, 0, 0, out.key, out.value)).tenantid == tenant


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-02T12:00:00Z", "2026-03-02T12:00:00.000Z"),
        ("2026-03-02t12:00:00z", "2026-03-02T12:00:00.000Z"),
        ("2026-03-02T12:00:00+02:00", "2026-03-02T10:00:00.000Z"),
        ("2026-03-02T00:30:00.5-23:59", "2026-03-03T00:29:00.500Z"),
        ("2026-03-02T12:00:00.123456789-00:00", "2026-03-02T12:00:00.123Z"),
        ("2024-02-29T23:59:59.999+00:00", "2024-02-29T23:59:59.999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_time_is_written_in_utc_with_milliseconds(text: str, utc: str) -> None:
    event = read(time=text)
    assert written(event)["time"] == utc
    assert dict(encode(event, "binary").headers)["ce_time"] == utc.encode()
    assert written(decode(sent(event)))["time"] == utc


def of_bytes(size: int) -> Record:
    return record(json.dumps(BASE).encode().ljust(size))


def of_our_bytes(size: int) -> Record:
    return of_bytes(size)._replace(headers=encode(make()).headers)


def of_headers(count: int) -> Record:
    return record(BASE, *[("x", b"")] * count)


def of_header_bytes(size: int) -> Record:
    return record(BASE, ("x" * 50, b"y" * (size - 50)))


def of_depth(levels: int) -> Record:
    return record({**BASE, "data": json.loads("[" * (levels - 1) + "1" + "]" * (levels - 1))})


def of_our_depth(levels: int) -> Record:
    return of_depth(levels)._replace(headers=encode(make()).headers)


def of_binary_depth(levels: int) -> Record:
    return record(b"[" * levels + b"1" + b"]" * levels, *CE, ("content-type", b"application/json"))


@pytest.mark.parametrize(
    ("limit", "size", "build"),
    [
        ("max_bytes", 500, of_bytes),
        ("max_bytes", 500, of_our_bytes),
        ("max_headers", 7, of_headers),
        ("max_header_bytes", 99, of_header_bytes),
    ],
)
def test_a_record_may_be_as_large_as_the_limit_and_no_larger(
    limit: str, size: int, build: Callable[[int], Record]
) -> None:
    limits = Limits(**{limit: size})
    assert decode(build(size), limits=limits).tenantid == "acme"
    with pytest.raises(RecordTooLargeError, match=str(size)) as caught:
        decode(build(size + 1), limits=limits)
    assert f"@kafka_consumer(limits=Limits({limit}=…)) raises it" in str(caught.value)


@pytest.mark.parametrize("build", [of_depth, of_our_depth, of_binary_depth])
def test_json_nests_200_levels_and_no_more(build: Callable[[int], Record]) -> None:
    assert decode(build(200)).tenantid == "acme"
    with pytest.raises(RecordTooLargeError, match="JSON nests deeper than the limit of 200 levels"):
        decode(build(201))


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    data = ["[" * 500, '"{' * 500]
    assert decode(record({**BASE, "data": data})).data == data


@pytest.mark.parametrize(
    "media_type", [b"application/json", b"Application/JSON; charset=utf-8", b"application/vnd.x+json"]
)
def test_whole_event_called_json_is_structured(media_type: bytes) -> None:
    assert read(("content-type", media_type), data={"a": 1}).data == {"a": 1}


def test_json_beside_attributes_is_binary() -> None:
    event = decode(record(b'{"specversion":"0.3"}', *CE, ("content-type", b"application/json")))
    assert event.data == {"specversion": "0.3"}
