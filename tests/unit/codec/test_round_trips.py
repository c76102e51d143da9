"""The guide's event, and events that are written and read again, in both content modes."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.codec.codec_records import (
    CREATED,
    GUIDE,
    TENANT,
    TEXT,
    both_modes,
    make,
    record,
    sent,
    text_without,
)

from eventzr_kafka import CloudEvent, decode, encode
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.events.event_model import ATTRIBUTES
from eventzr_marketplace_events import ListingClosed, ListingCreated, ListingUpdated, example


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


def test_binary_mode_writes_headers_and_bare_data() -> None:
    out = encode(decode(record(GUIDE, topic=CREATED, key=TENANT)), "binary")
    envelope = {name: text for name, text in json.loads(GUIDE).items() if isinstance(text, str)}
    media_type = envelope.pop("datacontenttype")
    expected = {f"ce_{name}": text.encode() for name, text in envelope.items()}
    assert dict(out.headers) == {**expected, "content-type": media_type.encode()}
    assert len(out.headers) == len(expected) + 1
    assert json.loads(out.value or b"") == json.loads(GUIDE)["data"]
    assert (out.topic, out.key) == (CREATED, TENANT)


NAMES = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in ATTRIBUTES)
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
ENVELOPES = st.fixed_dictionaries({"id": TEXT, "tenantid": TEXT}, optional=OPTIONAL)
EVENTS = st.builds(
    lambda *parts: make(**{k: v for part in parts for k, v in part.items()}), ENVELOPES, EXTENSIONS, DATA
)


@given(EVENTS)
def test_structured_mode_gives_back_the_same_event(event: CloudEvent[Any]) -> None:
    back = decode(sent(event))
    assert back == event
    assert (back.extensions, back.has_data) == (event.extensions, event.has_data)
    assert type(back.data) is type(event.data)


@given(EVENTS)
def test_binary_mode_gives_back_extensions_as_text(event: CloudEvent[Any]) -> None:
    back = decode(sent(event, "binary"))
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in event.extensions.items()}
    assert back == event.with_extensions(**texts)
    assert back.has_data == event.has_data
    assert type(back.data) is type(event.data)


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
        attributes = {"type": cls.__topic__, "source": cls.__source__, "datacontenttype": "application/json"}
        event = make(**attributes, data=example(cls))
        for back in (decode(sent(event, mode)), decode(sent(event, mode), cls)):
            assert type(back.data) is cls
            assert back == event
