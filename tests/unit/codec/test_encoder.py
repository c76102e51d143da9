"""Events are written; data that JSON or its media type cannot carry is refused."""

import base64
import json
import traceback
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import field_serializer
from tests.unit.codec.codec_records import (
    CANARY,
    GUIDE,
    MODES,
    THING,
    Sized,
    both_modes,
    make,
    sent,
    written,
)

from eventzr_kafka import CloudEvent, EventData, Limits, Record, decode, encode
from eventzr_kafka.codec.encoder import ContentMode, source_and_type
from eventzr_kafka.errors import EncodeError, RecordTooLargeError
from eventzr_marketplace_events import ListingCreated, ListingUpdated, ReviewCreated, example


@both_modes
def test_a_partial_payload_keeps_absent_null_and_value_apart(mode: ContentMode) -> None:
    update = ListingUpdated(id="1", title=None, lane="vendora")
    event = decode(sent(make(type=ListingUpdated.__topic__, source="marketplace-svc", data=update), mode))
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
def test_bytes_are_base64_in_structured_and_bare_in_binary_mode(data: bytes) -> None:
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
def test_plain_data_without_a_json_form_is_an_encode_error(name: str, mode: ContentMode) -> None:
    assert "JSON" in str(refuse(make(data={**UNFIT, **UNFIT_PLAIN}[name]), mode)) or "surrogate" in name


@both_modes
@pytest.mark.parametrize("name", UNFIT)
def test_a_class_without_a_json_form_is_an_encode_error(name: str, mode: ContentMode) -> None:
    data = Sized(width=Decimal(1), anything=UNFIT[name])
    assert "Sized" in str(refuse(make(type=Sized.__topic__, data=data), mode)) or "surrogate" in name


class Complaining(EventData, topic="test.codec.complaining.v1"):
    text: str

    @field_serializer("text")
    def _complain(self, text: str) -> str:
        raise ValueError(text)


@both_modes
def test_a_class_that_raises_on_writing_is_an_encode_error(mode: ContentMode) -> None:
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
def test_data_unfit_for_its_media_type_is_an_encode_error(data: Any, media_type: str, mode: ContentMode) -> None:
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


def test_text_unfit_for_its_charset_is_an_encode_error() -> None:
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


def test_long_sources_are_written_and_not_remembered() -> None:
    source_and_type.cache_clear()
    event: CloudEvent[Any] = CloudEvent(id="1", source="s" * 5000, type="t", tenantid="t", data={})
    assert json.loads(encode(event).value or b"")["source"] == event.source
    assert source_and_type.cache_info().currsize == 0
