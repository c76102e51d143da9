import json
import time
import traceback
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError, field_validator
from tests.unit.malformed import (
    CANARY,
    CLOUDEVENTS,
    DATA,
    ENVELOPE,
    MALFORMED,
    NOTE,
    TOPIC,
    Malformed,
    binary,
    raw,
    structured,
)

from eventzr_kafka import CloudEvent, EventData, Record, decode, encode
from eventzr_kafka.errors import DecodeError, InvalidDataError

PETS = "test.malformed.pets.v1"
OUR_HEADERS = encode(CloudEvent[Any](**ENVELOPE)).headers


class Cat(EventData):
    kind: Literal["cat"]


class Dog(EventData):
    kind: Literal["dog"]


class Pets(EventData, topic=PETS):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    ages: dict[str, int] | None = None
    name: str = ""
    weights: list[Decimal] | None = None

    @field_validator("name")
    @classmethod
    def _complain(cls, name: str) -> str:
        errors = {"value": ValueError, "assertion": AssertionError, "key": KeyError, "type": TypeError}
        raise errors[name.partition(" ")[0]](name)


def sides(record: Record) -> list[Record]:
    """The record, and the same with just the headers that this SDK writes, which may take a shorter way."""
    usual = record.headers == [CLOUDEVENTS, NOTE]
    return [record, *(record._replace(headers=headers) for headers in (OUR_HEADERS, [*OUR_HEADERS]) if usual)]


def refuse(record: Record) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(record)
    return caught.value


def everything_shown(error: DecodeError) -> str:
    return "".join([str(error), repr(error), error.reason, *traceback.format_exception(error, chain=True)])


def case_id(case: Malformed) -> str:
    return case.name


def test_the_table_has_no_name_twice() -> None:
    names = [case.name for case in MALFORMED]
    assert len(set(names)) == len(names) >= 80


def test_the_event_that_the_table_spoils_is_valid_in_both_modes() -> None:
    for record in (*sides(structured({})()), binary({})(), raw(structured({})().value)()):
        event = decode(record)
        assert (event.type, event.data.title, event.subject) == (TOPIC, CANARY, "listing:uuid")


@pytest.mark.parametrize("case", MALFORMED, ids=case_id)
def test_a_malformed_record_gives_exactly_its_typed_error(case: Malformed) -> None:
    for record in sides(case.build()):
        error = refuse(record)
        assert type(error) is case.error
        assert case.reason in error.reason


@pytest.mark.parametrize("case", MALFORMED, ids=case_id)
def test_the_error_says_in_one_short_line_where_the_record_is(case: Malformed) -> None:
    for record in sides(case.build()):
        error = refuse(record)
        assert (error.topic, error.partition, error.offset) == (record.topic, 3, 42)
        assert str(error) == f"{record.topic}[3]@42: {error.reason}"
        assert str(error).isprintable()
        assert len(str(error)) < 500


def test_the_error_names_three_faults_and_counts_the_rest() -> None:
    reason = refuse(structured({"data": dict.fromkeys(DATA, ())})()).reason
    assert [part.split(":")[0] for part in reason.split("; ")] == ["data.id", "data.title", "data.lane"]
    assert reason.endswith(" and 3 more")


@pytest.mark.parametrize("charset", ["iso-8859-12", "iso-8859-99", "windows-1259"])
def test_an_unknown_charset_of_a_record_is_named(charset: str) -> None:
    error = refuse(binary({}, b"a", content_type=f"text/plain; charset={charset}".encode())())
    assert error.reason == f"data: is not text in charset '{charset}'"


def seconds(call: Callable[[], object]) -> float:
    """Processor time of a call that raises; the least of three."""
    spent: list[float] = []
    for _ in range(3):
        start = time.process_time()
        with pytest.raises((DecodeError, ValidationError)):
            call()
        spent.append(time.process_time() - start)
    return min(spent)


def test_a_record_full_of_faults_is_cheap_to_refuse() -> None:
    data = dict.fromkeys(map(str, range(20_000)), "x")
    text, record = json.dumps(data), structured({"data": data})()
    ages = TypeAdapter(dict[str, int])
    assert seconds(lambda: decode(record, dict[str, int])) < 5 * seconds(lambda: ages.validate_json(text))


@pytest.mark.parametrize("case", MALFORMED, ids=case_id)
def test_the_error_shows_no_payload_and_no_header(case: Malformed) -> None:
    for record in sides(case.build()):
        assert CANARY not in everything_shown(refuse(record))


HOSTILE = {
    "member of a union": {"pet": {"kind": "cat", "a": CANARY}, "ages": CANARY},
    "tag of a union": {"pet": {"kind": CANARY}},
    "key of a dict": {"ages": {CANARY: "x"}},
    "value of a dict": {"ages": {"a": CANARY}},
    "item of a list": {"weights": [1, CANARY]},
    "ValueError of a validator": {"name": f"value {CANARY}"},
    "AssertionError of a validator": {"name": f"assertion {CANARY}"},
    "KeyError of a validator": {"name": f"key {CANARY}"},
    "TypeError of a validator": {"name": f"type {CANARY}"},
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_no_payload_class_makes_the_error_show_payload(data: dict[str, Any]) -> None:
    for record in sides(structured({"type": PETS, "data": data}, topic=PETS)()):
        error = refuse(record)
        assert type(error) is InvalidDataError
        assert error.reason.startswith("data")
        assert CANARY not in everything_shown(error)


def test_a_validator_may_name_a_recursion_limit_in_its_error() -> None:
    data = {"name": "value recursion limit"}
    assert type(refuse(structured({"type": PETS, "data": data}, topic=PETS)())) is InvalidDataError


@pytest.mark.parametrize("data_type", [list[int], dict[str, int], int, Decimal, CloudEvent[int]])
def test_no_plain_type_makes_the_error_show_payload(data_type: Any) -> None:
    text = structured({"data": CANARY})()
    for record in (*sides(text), binary({}, f'"{CANARY}"'.encode())(), binary({}, CANARY.encode())()):
        with pytest.raises(InvalidDataError) as caught:
            decode(record, data_type)
        assert CANARY not in everything_shown(caught.value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ATTRIBUTES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(), SCALARS, max_size=2)
PAYLOADS = st.recursive(
    SCALARS | st.just(CANARY), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
HEADER_NAMES = st.sampled_from(["content-type", "Content-Type", "ce_", *(f"ce_{name}" for name in ENVELOPE)])
CONTENT_TYPES = st.sampled_from(
    [b"application/cloudevents+json", b"application/json", b"text/plain", b"text/xml; charset=latin-1", b"image/png"]
)
HEADERS = st.lists(
    st.tuples(HEADER_NAMES | st.text(max_size=9), st.none() | CONTENT_TYPES | st.binary(max_size=9)), max_size=12
)
TOPICS = st.sampled_from([TOPIC, "test.malformed.unknown.v1", "eventzr.marketplace.listing.updated.v1"])
KEYS = st.none() | st.just(ENVELOPE["tenantid"].encode()) | st.binary(max_size=9)


def outcome(record: Record) -> object:
    try:
        return decode(record)
    except DecodeError as error:
        return type(error), error.reason


def read(record: Record) -> CloudEvent[Any] | None:
    """The event, or None for a record that is refused as it should be; anything else is raised."""
    try:
        return decode(record)
    except DecodeError as error:
        shown = everything_shown(error)
    assert CANARY not in shown
    return None


@given(st.binary() | st.text().map(str.encode) | st.none(), HEADERS, KEYS, TOPICS)
def test_no_bytes_make_decode_raise_anything_but_a_decode_error(
    value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None, topic: str
) -> None:
    read(Record(topic, 0, 0, key, value, headers))


@given(st.data(), st.sampled_from([structured({}), binary({})]), HEADERS | st.just([]))
def test_a_damaged_record_raises_nothing_but_a_decode_error(
    draw: st.DataObject, build: Any, headers: list[tuple[str, bytes | None]]
) -> None:
    record: Record = build()
    value = record.value or b""
    start, end = (draw.draw(st.integers(0, len(value))) for _ in range(2))
    piece = draw.draw(st.binary(max_size=4) | st.sampled_from([b"NaN", b'"tenantid":"a",', b"\\u0000", b"[" * 99, b""]))
    damaged = record._replace(value=value[:start] + piece + value[end:])
    assert all(outcome(side) == outcome(damaged) for side in sides(damaged))
    read(damaged._replace(headers=[*record.headers, *headers]))


@given(st.dictionaries(st.sampled_from([*ENVELOPE, "data_base64", "ext"]), ATTRIBUTES, max_size=3), PAYLOADS, TOPICS)
def test_a_decoded_event_obeys_the_rules_and_can_be_encoded(changes: dict[str, Any], payload: Any, topic: str) -> None:
    record = structured({"type": topic, "data": payload, **changes}, topic=topic)()
    assert all(outcome(side) == outcome(record) for side in sides(record))
    event = read(record)
    if event is None:
        return
    assert event.tenantid.encode() == record.key
    assert all([event.id, event.source, event.type, event.specversion == "1.0"])
    out = encode(event)
    assert decode(Record(topic, 0, 0, out.key, out.value, out.headers)) == event


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from([*DATA, "sellerName", "other"]), PAYLOADS, max_size=4))
def test_whatever_the_payload_holds_it_is_read_or_refused(changes: dict[str, Any]) -> None:
    text = structured({"data": {**DATA, **changes}})()
    assert all(outcome(side) == outcome(text) for side in sides(text))
    for record in (*sides(text), binary({}, json.dumps({**DATA, **changes}).encode())()):
        event = read(record)
        assert event is None or type(event.data).__name__ == "ListingCreated"
