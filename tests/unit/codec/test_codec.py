import base64
import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import field_serializer
from tests.guide import GUIDE_EVENT

from eventzr_kafka import CloudEvent, EventData, Limits, Record, decode, encode
from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.errors import EncodeError, RecordTooLargeError, TypeMismatchError
from eventzr_kafka.kafka.record import Header
from eventzr_marketplace_events import ListingClosed, ListingCreated, ListingUpdated, ReviewCreated, example

GUIDE = GUIDE_EVENT.encode()
TENANT = b"00000000-0000-0000-0000-000000000001"
CREATED = "eventzr.marketplace.listing.created.v1"
THING = "test.codec.thing.v1"
JSON_EVENT: Header = ("content-type", b"application/cloudevents+json")
BASE: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "svc", "type": THING, "tenantid": "acme"}
CE: list[Header] = [(f"ce_{name}", text.encode()) for name, text in BASE.items()]
CANARY = "s3cr3t-canary"
MODES: list[ContentMode] = ["structured", "binary"]

both_modes = pytest.mark.parametrize("mode", MODES)


class Sized(EventData, topic="test.codec.sized.v1"):
    width: Decimal
    note: str | None = None
    anything: Any = None


def make(**attributes: Any) -> CloudEvent[Any]:
    return CloudEvent[Any](**{**BASE, **attributes})


def record(value: Any, *headers: Header, topic: str = THING, key: bytes = b"acme") -> Record:
    return Record(topic, 0, 0, key, value if isinstance(value, bytes) else json.dumps(value).encode(), headers)


def read(*headers: Header, value: bytes | None = None, **members: Any) -> CloudEvent[Any]:
    """Decode a record that is valid but for these headers, and this value or these members."""
    return decode(Record(THING, 0, 0, b"acme", value or json.dumps({**BASE, **members}).encode(), headers))


def sent(event: CloudEvent[Any], mode: ContentMode = "structured") -> Record:
    """The record that a consumer gets once the event was published."""
    out = encode(event, mode)
    return Record(out.topic, 0, 0, out.key, out.value, out.headers)


def written(event: CloudEvent[Any]) -> dict[str, Any]:
    return dict[str, Any](json.loads(encode(event).value or b""))


def test_the_guides_event_reads_field_for_field() -> None:
    event = decode(record(GUIDE, topic=CREATED, key=TENANT), ListingCreated)
    assert (event.specversion, event.id) == ("1.0", "a1b2c3d4-e5f6-7890-abcd-ef1234567890")
    assert (event.type, event.source, event.subject) == (CREATED, "marketplace-svc", "listing:uuid")
    assert event.time == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert (event.datacontenttype, event.dataschema) == ("application/json", None)
    assert (event.tenantid, event.extensions) == (TENANT.decode(), {})
    data = event.data
    assert (data.id, data.title, data.lane) == ("listing-uuid", "Premium Catering Service", "vendora")
    assert (data.seller_id, data.price, data.currency) == ("seller-uuid", Decimal(5000), "USD")
    assert data.seller_name is None


def test_the_guides_event_is_written_as_the_guide_writes_it() -> None:
    out = encode(decode(record(GUIDE, topic=CREATED, key=TENANT)))
    assert out.value == json.dumps(json.loads(GUIDE), separators=(",", ":")).encode()
    assert (out.topic, out.key) == (CREATED, TENANT)
    assert list(out.headers) == [("content-type", b"application/cloudevents+json; charset=utf-8")]


def test_the_guides_event_in_binary_mode_is_headers_and_bare_data() -> None:
    out = encode(decode(record(GUIDE, topic=CREATED, key=TENANT)), "binary")
    envelope = {name: text for name, text in json.loads(GUIDE).items() if isinstance(text, str)}
    media_type = envelope.pop("datacontenttype")
    expected = {f"ce_{name}": text.encode() for name, text in envelope.items()}
    assert dict(out.headers) == {**expected, "content-type": media_type.encode()}
    assert len(out.headers) == len(expected) + 1
    assert json.loads(out.value or b"") == json.loads(GUIDE)["data"]
    assert (out.topic, out.key) == (CREATED, TENANT)


# Round trips


def text_without(*categories: Literal["Cc", "Cs"]) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=categories))


TEXT = text_without("Cc", "Cs").filter(bool)
NAMES = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in CloudEvent.model_fields)
EXTENSIONS = st.dictionaries(NAMES, TEXT | st.booleans() | st.integers(-(2**31), 2**31 - 1), max_size=4)
ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES).map(  # noqa: DTZ001 -- zones are drawn
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text_without("Cs"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text_without("Cs"), inner, max_size=3),
)
JSON_TYPES = st.sampled_from(["application/json", "text/json", "application/vnd.a+json; v=1", "Application/JSON"])
TEXT_TYPES = st.sampled_from(["text/plain", "text/csv; charset=utf-8", "application/xml", "image/svg+xml"])
OPTIONAL = {"time": TIMES, "subject": TEXT, "dataschema": st.just("https://schemas.example.com/a#b")}


def with_data(types: st.SearchStrategy[str], data: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"datacontenttype": types, "data": data})


DATA = (
    with_data(JSON_TYPES, JSON_DATA)
    | with_data(TEXT_TYPES, text_without("Cs"))
    | with_data(st.sampled_from(["application/octet-stream", "image/png"]), st.binary())
    | st.fixed_dictionaries({}, optional={"datacontenttype": JSON_TYPES | TEXT_TYPES})
)
ATTRIBUTES = st.fixed_dictionaries({"id": TEXT, "tenantid": TEXT}, optional=OPTIONAL)
EVENTS = st.builds(
    lambda *parts: make(**{k: v for part in parts for k, v in part.items()}), ATTRIBUTES, EXTENSIONS, DATA
)


@settings(max_examples=200)
@given(EVENTS)
def test_structured_mode_gives_back_the_same_event(event: CloudEvent[Any]) -> None:
    back = decode(sent(event))
    assert back == event
    assert (back.extensions, back.has_data) == (event.extensions, event.has_data)
    assert type(back.data) is type(event.data)


@settings(max_examples=200)
@given(EVENTS)
def test_binary_mode_gives_back_the_same_event_with_extensions_as_text(event: CloudEvent[Any]) -> None:
    back = decode(sent(event, "binary"))
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in event.extensions.items()}
    assert back == event.with_extensions(**texts)
    assert back.has_data == event.has_data
    assert type(back.data) is type(event.data)


@settings(max_examples=100)
@given(EVENTS)
def test_what_is_written_is_strict_json_and_utf_8(event: CloudEvent[Any]) -> None:
    members = json.loads((encode(event).value or b"").decode())
    for name in ("id", "source", "type", "subject", "tenantid", "datacontenttype", "dataschema"):
        assert members.get(name) == getattr(event, name)
    assert {name: members[name] for name in event.extensions} == event.extensions
    assert ("data" in members) + ("data_base64" in members) == event.has_data


@both_modes
def test_every_marketplace_event_survives_as_its_own_class(mode: ContentMode) -> None:
    for cls in (ListingCreated, ListingClosed, ListingUpdated):
        event = make(type=cls.__topic__, data=example(cls), datacontenttype="application/json")
        for back in (decode(sent(event, mode)), decode(sent(event, mode), cls)):
            assert type(back.data) is cls
            assert back == event


# Reading: content modes


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
def test_structured_mode_is_told_by_the_content_type_in_any_spelling(name: str, value: bytes) -> None:
    assert read((name, value), data={"a": 1}).data == {"a": 1}


@pytest.mark.parametrize("headers", [[JSON_EVENT, *CE], [*CE, JSON_EVENT], [CE[1], JSON_EVENT, ("ce_time", b"\xff")]])
def test_ce_headers_beside_structured_mode_count_for_nothing(headers: list[Header]) -> None:
    event = read(*headers, id="from the value", tenantid="acme")
    assert (event.id, event.extensions) == ("from the value", {})


@pytest.mark.parametrize("headers", [[], [("traceparent", b"00-1-2-03")], [("x", None), ("cex", b"1"), ("ce", b"2")]])
def test_a_plain_json_object_without_content_type_is_structured(headers: list[Header]) -> None:
    value = b"\n " + json.dumps({**BASE, "data": 1}).encode() + b" \n"
    assert read(*headers, value=value).data == 1


def test_what_the_javascript_sdk_writes_in_structured_mode_is_read() -> None:
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
def test_the_content_type_of_binary_mode_may_be_spelled_in_any_case(name: str) -> None:
    assert read(*CE, (name, b"Application/JSON"), value=b"[1]").data == [1]


def test_ce_datacontenttype_counts_where_no_content_type_stands() -> None:
    assert read(*CE, ("ce_datacontenttype", b"application/json"), value=b"[1]").data == [1]


def test_headers_of_binary_mode_are_plain_utf_8_without_percent_encoding() -> None:
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


def test_binary_data_without_media_type_is_bytes_or_the_json_of_its_class() -> None:
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
    event = decode(record({**attributes, "data": data}), ListingClosed)
    assert (event.data.statistics.views, event.data.model_extra) == (1, {"x": {}})
    assert written(event)["data"] == data
    assert decode(sent(event, mode), ListingClosed) == event


def test_the_class_is_the_one_that_was_asked_for_or_the_one_of_the_topic_or_plain_json() -> None:
    guide = record(GUIDE, topic=CREATED, key=TENANT)
    plain = json.loads(GUIDE)["data"]
    assert type(decode(guide).data) is ListingCreated
    assert type(decode(guide, ListingCreated).data) is ListingCreated
    assert decode(guide, dict[str, Any]).data == plain
    assert decode(guide._replace(topic="test.codec.nobody.v1")).data == plain


def test_an_annotation_that_cannot_be_hashed_is_a_class_like_any_other() -> None:
    assert decode(record({**BASE, "data": "7"}), Annotated[int, ["no hash"]]).data == 7  # type: ignore[call-overload]


def test_a_bare_decode_finds_an_installed_class_that_nobody_imported() -> None:
    code = (
        "import sys; from eventzr_kafka import decode, Record; assert 'eventzr_marketplace_events' not in sys.modules;"
        f"event = decode(Record({CREATED!r}, 0, 0, {TENANT!r}, {GUIDE!r})); print(type(event.data).__name__)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "ListingCreated"


def test_a_class_takes_only_its_own_type_and_plain_json_takes_any() -> None:
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


# Limits


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
    return record(b"[" * levels + b"]" * levels, *CE, ("content-type", b"application/json"))


@pytest.mark.parametrize(
    ("limit", "size", "build"),
    [
        ("max_bytes", 500, of_bytes),
        ("max_bytes", 500, of_our_bytes),
        ("max_headers", 7, of_headers),
        ("max_header_bytes", 99, of_header_bytes),
        ("max_depth", 9, of_depth),
        ("max_depth", 9, of_our_depth),
        ("max_depth", Limits().max_depth - 1, of_depth),
        ("max_depth", Limits().max_depth, of_depth),
        ("max_depth", 9, of_binary_depth),
    ],
)
def test_a_record_may_be_as_large_as_the_limit_and_no_larger(
    limit: str, size: int, build: Callable[[int], Record]
) -> None:
    limits = Limits(**{limit: size})
    assert decode(build(size), limits=limits).tenantid == "acme"
    with pytest.raises(RecordTooLargeError, match=str(size)) as caught:
        decode(build(size + 1), limits=limits)
    can_be_raised = getattr(Limits(), limit) != size or limit != "max_depth"
    assert (f"@kafka_consumer(limits=Limits({limit}=…)) raises it" in str(caught.value)) == can_be_raised


@pytest.mark.parametrize("depth", [0, -1, 1000])
def test_a_depth_that_the_parser_cannot_keep_is_no_limit(depth: int) -> None:
    with pytest.raises(ValueError, match=f"max_depth={depth}"):
        Limits(max_depth=depth)


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    data = ["[" * 500, '"{' * 500]
    assert decode(record({**BASE, "data": data}), limits=Limits(max_depth=2)).data == data


# Writing


@both_modes
def test_a_partial_payload_keeps_absent_null_and_value_apart(mode: ContentMode) -> None:
    update = ListingUpdated(id="1", title=None, lane="vendora")
    event = decode(sent(make(type=ListingUpdated.__topic__, data=update), mode), ListingUpdated)
    assert event.data.model_fields_set == {"id", "title", "lane"}
    assert written(event)["data"] == {"id": "1", "title": None, "lane": "vendora"}


def test_a_default_that_is_not_none_is_written() -> None:
    review = ReviewCreated(id="1", seller_id="2", listing_id="3", rating=Decimal(4))
    assert written(make(type=ReviewCreated.__topic__, data=review))["data"]["ratingScale"] == 5


def test_decimals_are_numbers_and_optional_none_is_left_out() -> None:
    event = make(type=Sized.__topic__, data=Sized(width=Decimal("0.10")))
    assert encode(event, "binary").value == b'{"width":0.1}'
    plain = encode(make(data={"a": Decimal("19.99"), "b": [Decimal(5000)]}), "binary")
    assert plain.value == b'{"a":19.99,"b":[5000]}'


def test_plain_data_may_hold_whatever_has_a_json_form() -> None:
    data = {"at": datetime(2026, 3, 2, 12, tzinfo=UTC), "listing": example(ListingCreated), "ids": ("a", "b")}
    listing = json.loads(GUIDE)["data"]
    assert written(make(data=data))["data"] == {"at": "2026-03-02T12:00:00Z", "listing": listing, "ids": ["a", "b"]}


@pytest.mark.parametrize("data", [b"\x00\xff", b""])
def test_bytes_are_base64_in_structured_mode_and_bare_in_binary_mode(data: bytes) -> None:
    event = make(data=data, datacontenttype="image/png")
    assert written(event)["data_base64"] == base64.b64encode(data).decode()
    assert encode(event, "binary").value == data
    assert all(decode(sent(event, mode)).data == data for mode in MODES)


@both_modes
@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "latin-1"])
def test_text_is_written_in_its_charset(mode: ContentMode, charset: str) -> None:
    event = make(data="Größe", datacontenttype=f"text/plain; charset={charset}")
    assert decode(sent(event, mode)) == event
    if mode == "binary":
        assert encode(event, mode).value == "Größe".encode(charset)


class Opaque:
    def __repr__(self) -> str:
        return CANARY


def nested(levels: int) -> list[Any]:
    inside: list[Any] = [CANARY]
    for _ in range(levels):
        inside = [inside]
    return inside


def endless() -> list[Any]:
    inside: list[Any] = [CANARY]
    inside.append(inside)
    return inside


UNFIT = {
    "NaN": [CANARY, float("nan")],
    "Infinity": [CANARY, float("-inf")],
    "lone surrogate": f"{CANARY}\ud800",
    "lone surrogate in a name": {f"{CANARY}\udfff": 1},
    "no JSON form": {"a": Opaque()},
    "no UTF-8": {CANARY: b"\xff"},
    "holds itself": endless(),
    "deeper than the stack": nested(100_000),
}
UNFIT_PLAIN = {
    "no JSON name": {(CANARY, 1): 1},
    "Decimal NaN": [CANARY, Decimal("NaN")],
    "Decimal Infinity": [CANARY, Decimal("-Infinity")],
    "Decimal of 17 digits": [CANARY, Decimal("0.12345678901234567")],
    "Decimal beyond every float": [CANARY, Decimal("1E+400")],
}


def refuse(event: CloudEvent[Any], mode: ContentMode = "structured", limits: Limits | None = None) -> EncodeError:
    with pytest.raises(EncodeError) as caught:
        encode(event, mode, limits=limits or Limits())
    error = caught.value
    assert (error.event_id, error.topic) == (event.id, event.data.__topic__ if isinstance(event.data, Sized) else THING)
    assert CANARY not in "".join([str(error), repr(error), *traceback.format_exception(error)])
    return error


@both_modes
@pytest.mark.parametrize("name", [*UNFIT, *UNFIT_PLAIN])
def test_plain_data_without_a_json_form_is_an_encode_error_without_payload(name: str, mode: ContentMode) -> None:
    assert "JSON" in str(refuse(make(data={**UNFIT, **UNFIT_PLAIN}[name]), mode)) or "surrogate" in name


@both_modes
@pytest.mark.parametrize("name", UNFIT)
def test_a_payload_class_without_a_json_form_is_an_encode_error_without_payload(name: str, mode: ContentMode) -> None:
    data = Sized(width=Decimal(1), anything=UNFIT[name])
    assert "Sized" in str(refuse(make(type=Sized.__topic__, data=data), mode)) or "surrogate" in name


class Complaining(EventData, topic="test.codec.complaining.v1"):
    text: str

    @field_serializer("text")
    def _complain(self, text: str) -> str:
        raise ValueError(text)


@both_modes
def test_a_payload_class_that_cannot_be_written_is_an_encode_error_without_payload(mode: ContentMode) -> None:
    with pytest.raises(EncodeError, match="Complaining") as caught:
        encode(make(type=Complaining.__topic__, data=Complaining(text=CANARY)), mode)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@both_modes
def test_a_decimal_that_a_number_cannot_carry_is_an_encode_error(mode: ContentMode) -> None:
    data = Sized(width=Decimal("0.12345678901234567"))
    assert "15 digits" in str(refuse(make(type=Sized.__topic__, data=data), mode))


@both_modes
@pytest.mark.parametrize(
    ("data", "media_type"),
    [({"a": CANARY}, "text/plain"), ([CANARY], "image/png"), (None, "application/xml"), (7, "text/csv; charset=utf-8")],
)
def test_data_that_its_media_type_cannot_carry_is_an_encode_error(
    data: Any, media_type: str, mode: ContentMode
) -> None:
    assert media_type in str(refuse(make(data=data, datacontenttype=media_type), mode))


def test_text_of_a_binary_media_type_fits_structured_mode_only() -> None:
    event = make(data="text", datacontenttype="image/png")
    assert decode(sent(event)) == event
    assert "image/png" in str(refuse(event, "binary"))


@both_modes
def test_a_type_that_is_not_the_topics_is_an_encode_error(mode: ContentMode) -> None:
    error = refuse(make(data=Sized(width=Decimal(1), note=CANARY)), mode)
    assert f"type is {THING!r}; this topic carries {Sized.__topic__!r}" in str(error)


@both_modes
def test_a_value_over_the_limit_is_an_encode_error(mode: ContentMode) -> None:
    event = make(data=CANARY * 100)
    size = len(encode(event, mode).value or b"")
    assert encode(event, mode, limits=Limits(max_bytes=size)).value
    assert (
        f"value of {size:,} bytes; the limit is {size - 1:,}: limits=Limits(max_bytes=…) of the producer raises it, "
        "if the topic's max.message.bytes allows as much"
    ) in str(refuse(event, mode, Limits(max_bytes=size - 1)))


@both_modes
def test_a_time_outside_of_utcs_years_is_an_encode_error(mode: ContentMode) -> None:
    assert "9999" in str(refuse(make(time="9999-12-31T23:59:59-01:00"), mode))


@pytest.mark.parametrize(
    "charset",
    [
        "klingon",
        "idna",
        "utf-7",
        "iso-8859-12",
    ],
)
def test_an_unknown_charset_is_an_encode_error(charset: str) -> None:
    refuse(make(data=CANARY, datacontenttype=f"text/plain; charset={charset}"), "binary")


def test_text_that_its_charset_cannot_carry_is_an_encode_error_that_says_so() -> None:
    error = refuse(make(data=f"{CANARY}€", datacontenttype="text/plain; charset=latin-1"), "binary")
    assert "latin-1" in str(error)


def test_a_decimal_is_a_number_wherever_it_stands_in_a_payload() -> None:
    data = Sized(width=Decimal(1), anything={"a": Decimal("1.5")})
    assert written(make(type=Sized.__topic__, data=data))["data"]["anything"] == {"a": 1.5}


@pytest.mark.parametrize("limits", [Limits(max_headers=0), Limits(max_header_bytes=10)])
def test_limits_hold_for_a_plain_record_too(limits: Limits) -> None:
    event: CloudEvent[Any] = CloudEvent(id="1", source="s", type="t", tenantid="t1", data={})
    out = encode(event)
    with pytest.raises(RecordTooLargeError):
        decode(Record("t", 0, 0, out.key, out.value, out.headers), limits=limits)
