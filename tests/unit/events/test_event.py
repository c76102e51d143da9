import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import new_class
from typing import Any, TypeAlias

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Foreign
from hypothesis import example as explicit
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from eventzr_kafka import CloudEvent, EventData, Record, decode, encode
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.errors import EventDeclarationError
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.event import format_time
from eventzr_kafka.events.event_data import declared_events
from eventzr_kafka.events.json_numbers import json_number
from eventzr_marketplace_events import ListingCreated, ListingUpdated, SubscriptionChanged, example

THING = "test.event.thing.v1"
BASE: dict[str, Any] = {"id": "1", "source": "svc", "type": THING, "tenantid": "acme"}
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CANARY = "s3cr3t-canary"
KNOWN_EXTENSIONS = ["traceparent", "tracestate", "partitionkey", "correlationid", "causationid", "dataref"]
JSON = JSONFormat()

Fields: TypeAlias = Mapping[str, Any]


class Fee(EventData):
    amount: Decimal
    note: str | None = None


class Priced(EventData, topic="test.event.priced.v1", source="svc", subject="priced:{id}"):
    id: str
    base_price: Decimal
    fees: list[Fee] = []  # noqa: RUF012 -- pydantic copies it
    by_lane: dict[str, Decimal] = {}  # noqa: RUF012 -- pydantic copies it
    either: Decimal | str | None = None
    limit: int | None
    grade: int | None = 5


def make(**attributes: Any) -> CloudEvent[Any]:
    return CloudEvent(**{**BASE, **attributes})


def subclass(name: str, base: type[EventData], fields: Fields, **keywords: Any) -> Any:
    """``class name(base, **keywords)`` with this body."""
    return new_class(name, (base,), keywords, lambda namespace: namespace.update(__module__=__name__, **fields))


def declare(name: str, **keywords: Any) -> Any:
    """``class name(EventData, **keywords)`` with the fields ``id`` and ``other_id``."""
    fields = {"__annotations__": {"id": str, "other_id": str | None}, "other_id": None}
    return subclass(name, EventData, fields, **keywords)


def wire(data: EventData) -> dict[str, Any]:
    return dict[str, Any](json.loads(data.model_dump_json()))


# The envelope


def test_bare_cloud_event_means_any_data() -> None:
    for data in (None, 1, "a", [1], {"a": b"x"}, example(ListingCreated)):
        assert make(data=data).data is data
        assert make(data=data) == CloudEvent[Any](**BASE, data=data)


def test_data_must_fit_its_class_and_may_be_absent_if_none_fits() -> None:
    assert CloudEvent[ListingCreated](**BASE, data=example(ListingCreated)).data == example(ListingCreated)
    for members in ({"data": "text"}, {"data": None}, {}):
        with pytest.raises(ValidationError, match="data"):
            CloudEvent.of(int).validate_python({**BASE, **members})


def test_absent_data_is_not_null_data() -> None:
    assert (make().data, make().has_data) == (None, False)
    assert (make(data=None).data, make(data=None).has_data) == (None, True)


@pytest.mark.parametrize("name", ["id", "source", "type", "tenantid"])
@pytest.mark.parametrize("value", ["", None, 7, "a\x00", "a\x1f", "a\x7f", "a\x9f", "\ud800", ...])
def test_a_required_attribute_has_no_control_characters(name: str, value: Any) -> None:
    attributes = {**BASE, name: value} if value is not ... else {k: v for k, v in BASE.items() if k != name}
    with pytest.raises(ValidationError, match=name):
        CloudEvent(**attributes)


@pytest.mark.parametrize(
    "source",
    [
        "marketplace-svc",
        "/services/marketplace",
        "https://example.com:8443/a?b=c&d#e",
        "urn:uuid:a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        "mailto:cncf-wg-serverless@lists.cncf.io",
        "//host/path",
        "http://[2001:db8::1]/",
        "./a:b",
        "?query",
        "#fragment",
        "a%20b",
        "~tilde_(1)!*'$&+,;=@",
    ],
)
def test_source_is_any_uri_reference(source: str) -> None:
    assert make(source=source).source == source


def test_time_may_be_text_or_an_aware_datetime() -> None:
    assert make(time="2026-03-02T14:00:00+02:00").time == NOON
    assert make(time=NOON).time == NOON
    for wrong in (datetime(2026, 3, 2), "2026-03-02", 1772452800, "2026-03-02T12:00:00"):  # noqa: DTZ001 -- the point
        with pytest.raises(ValidationError, match="time"):
            make(time=wrong)


@pytest.mark.parametrize("value", ["text", " ", "☃", True, False, 0, -(2**31), 2**31 - 1])
def test_an_extension_keeps_its_value_and_its_type(value: Any) -> None:
    event = make(ext1=value)
    assert event.extensions == {"ext1": value}
    assert type(event.extensions["ext1"]) is type(value)


def test_a_null_extension_is_absent() -> None:
    assert make(ext1=None, ext2="a").extensions == {"ext2": "a"}


@pytest.mark.parametrize("value", [1.0, 2**31, -(2**31) - 1, [], {}, b"a", NOON, "a\n", Decimal(1)])
def test_an_extension_is_no_other_value(value: Any) -> None:
    with pytest.raises(ValidationError, match="ext1"):
        make(ext1=value)


@pytest.mark.parametrize("name", ["Ext", "my_ext", "my-ext", "", "é", "data_base64"])
def test_an_extension_is_named_with_small_letters_and_digits(name: str) -> None:
    with pytest.raises(ValidationError, match="named with a-z and 0-9 only"):
        make(**{name: "a"})


@pytest.mark.parametrize("name", KNOWN_EXTENSIONS)
def test_known_extensions_are_text_or_none(name: str) -> None:
    assert getattr(make(**{name: "a"}), name) == "a"
    assert getattr(make(**{name: 7}), name) is None
    assert getattr(make(**{name: None}), name) is None
    assert getattr(make(), name) is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-02T12:00:00Z", NOON),
        ("2026-03-02T14:00:00.000+02:00", NOON),
        ("soon", None),
        ("2026-03-02", None),
        (7, None),
        ("2026-03-02t12:00:00z", NOON),
        ("2026-02-30T12:00:00Z", None),
        ("٢٠٢٦-03-02T12:00:00Z", None),
        ("0001-01-01T13:59:60+14:00", None),  # of the year 0 in UTC
    ],
)
def test_expirytime_is_a_moment_or_none(text: Any, moment: datetime | None) -> None:
    assert make(expirytime=text).expirytime == moment


def test_an_extension_may_be_called_self() -> None:
    event = make().with_extensions(self="a")
    assert (event.extensions["self"], event.replace(self="b").extensions["self"]) == ("a", "b")


def test_with_extensions_adds_and_replaces_in_a_copy() -> None:
    event = make(time=NOON, data={"a": 1}, ext="old", kept=True)
    copy = event.with_extensions(ext="new", more=7)
    assert copy == make(time=NOON, data={"a": 1}, ext="new", kept=True, more=7)
    assert event.extensions == {"ext": "old", "kept": True}
    assert make().with_extensions(ext="a").has_data is False


@pytest.mark.parametrize("extensions", [{"Ext": "a"}, {"ext": 1.5}, {"ext": "a\n"}, {"data_base64": "QQ=="}])
def test_with_extensions_holds_to_the_rules(extensions: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make().with_extensions(**extensions)


@pytest.mark.parametrize("name", ["tenantid", "id", "data"])
def test_with_extensions_keeps_tenant_identity_and_payload(name: str) -> None:
    with pytest.raises((ValidationError, TypeError, ValueError)):
        make(data="a").with_extensions(**{name: "evil"})


def test_events_and_payloads_are_frozen() -> None:
    event = make(data=example(ListingCreated), ext="a")
    for target, name in ((event, "tenantid"), (event, "data"), (event, "ext"), (event.data, "title")):
        with pytest.raises((ValidationError, AttributeError), match=r"frozen|immutable"):
            setattr(target, name, "other")


def test_neither_repr_nor_a_refusal_shows_the_payload() -> None:
    event = make(data={"secret": CANARY})
    assert CANARY not in f"{event!r} {event} {[event]}"
    assert "id='1'" in repr(event)
    for attributes in ({"id": f"{CANARY}\n"}, {"ext": [CANARY]}, {"time": CANARY}):
        with pytest.raises(ValidationError) as caught:
            make(**attributes)
        assert CANARY not in str(caught.value)


def test_a_refused_payload_is_not_shown() -> None:
    with pytest.raises(ValidationError) as direct:
        Fee.model_validate({"amount": [CANARY]})
    assert CANARY not in str(direct.value)
    with pytest.raises(ValidationError) as caught:
        CloudEvent.of(Priced).validate_python({**BASE, "data": {"id": [CANARY], "base_price": CANARY}})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2026-03-02T12:00:00.000Z"),
        (NOON.replace(microsecond=999_999), "2026-03-02T12:00:00.999Z"),
        (datetime(2026, 3, 2, 1, tzinfo=timezone(timedelta(hours=2))), "2026-03-01T23:00:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_time_is_written_as_the_guide_writes_it(moment: datetime, text: str) -> None:
    assert format_time(moment) == text


# The cloudevents package

ORACLE_EVENTS = {
    "guide": make(
        time=NOON, subject="listing:uuid", datacontenttype="application/json", data={"title": "é", "price": 5.5}
    ),
    "no optional attribute": make(data={"a": None}),
    "every attribute": make(dataschema="https://a.example/b", subject="☃ %20", time=NOON, datacontenttype="text/json"),
    "extensions": make(traceparent="00-1-2-01", flag=True, off=False, number=-7, data={}),
    "string": make(data="text", datacontenttype="application/json"),
    "JSON in a string": make(data='{"a":1}', datacontenttype="application/json"),
    "list": make(data=[1, [2.5, "x"]], datacontenttype="application/vnd.a+json"),
    "null": make(data=None),
    "bytes": make(data=b"\x00\xff", datacontenttype="application/octet-stream"),
    "text": make(data="Größe", datacontenttype="text/plain"),
    "XML": make(data="<a/>", datacontenttype="application/xml"),
    "payload class": make(type=ListingCreated.__topic__, time=NOON, data=example(ListingCreated)),
}
each_event = pytest.mark.parametrize("event", ORACLE_EVENTS.values(), ids=ORACLE_EVENTS)


def attributes_of(event: CloudEvent[Any]) -> dict[str, Any]:
    names = ("specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "subject", "tenantid")
    return {**{n: getattr(event, n) for n in names if getattr(event, n) is not None}, **event.extensions}


def seen_by_the_oracle(event: CloudEvent[Any], mode: ContentMode) -> Any:
    """What the package reads from our record; it knows no null value, and gets no key, which it would add."""
    out = encode(event, mode)
    headers = {name: value or b"" for name, value in out.headers}
    reader = from_structured if mode == "structured" else from_binary
    foreign = reader(KafkaMessage(headers, None, out.value or b""), JSON)
    if event.time is None:
        del foreign.get_attributes()["time"]  # it invents one
    return foreign


@each_event
def test_the_package_reads_our_structured_mode(event: CloudEvent[Any]) -> None:
    foreign = seen_by_the_oracle(event, "structured")
    assert foreign.get_attributes() == attributes_of(event)
    data = wire(event.data) if isinstance(event.data, EventData) else event.data
    assert foreign.get_data() == data


@each_event
def test_the_package_reads_our_binary_mode(event: CloudEvent[Any]) -> None:
    foreign = seen_by_the_oracle(event, "binary")
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in event.extensions.items()}
    media_type = {} if not event.has_data else {"datacontenttype": event.datacontenttype or "application/json"}
    assert foreign.get_attributes() == {**attributes_of(event), **texts, **media_type}
    data = wire(event.data) if isinstance(event.data, EventData) else event.data
    assert foreign.get_data() == data


@pytest.mark.parametrize("write", [to_structured, to_binary])
def test_we_read_what_the_package_writes(write: Callable[..., KafkaMessage]) -> None:
    event = make(time=NOON, subject="a:b", datacontenttype="application/json", traceparent="00", data={"a": [1, "é"]})
    message = write(event.to_cloudevents(), JSON)
    assert decode(Record(THING, 0, 0, b"acme", message.value, list(message.headers.items()))) == event


@pytest.mark.parametrize("name", [name for name, event in ORACLE_EVENTS.items() if event.time])
def test_an_event_survives_the_package_in_memory(name: str) -> None:
    event = ORACLE_EVENTS[name]
    foreign = event.to_cloudevents()
    assert isinstance(foreign, Foreign)
    assert foreign.get_attributes() == attributes_of(event)
    back = CloudEvent.from_cloudevents(foreign, ListingCreated if name == "payload class" else None)
    assert (back, back.has_data) == (event, event.has_data)


@pytest.mark.parametrize("data", [b"\xff", b"", "text", "", {"a": 1}, {}, None, [1], 0])
def test_data_survives_the_package_in_memory(data: Any) -> None:
    event = make(time=NOON, data=data)
    assert event.to_cloudevents().get_data() == data
    assert CloudEvent[Any].from_cloudevents(event.to_cloudevents()).data == data


def test_an_event_of_the_package_without_a_tenant_is_refused() -> None:
    foreign = Foreign({"type": THING, "source": "svc"}, {"a": CANARY})
    with pytest.raises(ValidationError, match="tenantid") as caught:
        CloudEvent[Any].from_cloudevents(foreign)
    assert CANARY not in str(caught.value)


def test_an_event_without_time_has_none_in_the_package() -> None:
    assert make(data=1).to_cloudevents().get_time() is None


def test_a_partial_payload_stays_partial_in_the_package() -> None:
    event = make(time=NOON, data=ListingUpdated(id="1", lane=None))
    assert event.to_cloudevents().get_data() == {"id": "1", "lane": None}


# Payload classes


def test_wire_names_are_camel_case_and_both_names_construct() -> None:
    by_name = Priced(id="1", base_price=Decimal(1), limit=None)
    assert Priced.model_validate({"id": "1", "basePrice": 1, "limit": None}) == by_name
    assert set(wire(by_name)) == {"id", "basePrice", "fees", "byLane", "limit", "grade"}


def test_optional_none_is_left_out_and_a_required_null_is_not() -> None:
    written = wire(Priced(id="1", base_price=Decimal(1), limit=None, grade=None, fees=[Fee(amount=Decimal(2))]))
    assert written == {
        "id": "1",
        "basePrice": 1,
        "fees": [{"amount": 2}],
        "byLane": {},
        "limit": None,
        "grade": None,
    }
    assert wire(example(SubscriptionChanged).model_copy(update={"listing_limit": None}))["listingLimit"] is None


def test_unknown_fields_are_kept_at_every_level() -> None:
    fees = [{"amount": 1, "tax": None}]
    data = {"id": "1", "basePrice": 1, "limit": 1, "grade": 1, "byLane": {}, "fees": fees, "new": {"a": [1]}}
    assert wire(Priced.model_validate(data)) == data


def test_not_a_number_is_no_amount() -> None:
    measured = subclass("Measured", EventData, {"__annotations__": {"weight": float}})
    with pytest.raises(ValidationError, match="finite"):
        measured(weight=float("inf"))
    for amount in ("NaN", "Infinity", "sNaN", float("nan"), Decimal("-Infinity")):
        with pytest.raises(ValidationError, match="finite"):
            Fee.model_validate({"amount": amount})


def test_every_decimal_of_a_payload_is_a_json_number() -> None:
    half = Decimal("0.5")
    data = Priced(id="1", base_price=half, fees=[Fee(amount=half)], by_lane={"a": half}, either=half, limit=1)
    numbers = {"basePrice": 0.5, "fees": [{"amount": 0.5}], "byLane": {"a": 0.5}, "either": 0.5}
    assert wire(data) == {"id": "1", "limit": 1, "grade": 5, **numbers}
    assert Priced.model_validate_json(data.model_dump_json()) == data
    assert data.model_dump()["basePrice"] is half


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-290, 290))
@explicit(999_999_999_999_999, 0)
@explicit(-1, -15)
@explicit(0, -3)
@explicit(1, 23)
@explicit(123_456_789_012_345, 4)
@explicit(-123_456_789_012_345, 25)
@explicit(1, 290)
def test_a_decimal_of_15_significant_digits_survives(digits: int, exponent: int) -> None:
    amount = Decimal(digits).scaleb(exponent)
    text = Fee(amount=amount).model_dump_json()
    assert Fee.model_validate_json(text).amount == amount
    assert Decimal(json.loads(text, parse_float=str, parse_int=str)["amount"]) == amount


@given(st.decimals(allow_nan=False, allow_infinity=False))
@explicit(Decimal(1234567890123456789012))
def test_a_decimal_is_exact_or_refused_but_never_rounded(amount: Decimal) -> None:
    try:
        number = json_number(amount)
    except ValueError:
        return
    assert Decimal(repr(number)) == amount


def test_a_whole_amount_is_written_as_an_integer() -> None:
    for amount in ("5000", "5000.00", "5E+3", "1E+23", "-0"):
        assert type(json_number(Decimal(amount))) is int
    for amount in ("0.5", "-4650.75", "1E-7"):
        assert type(json_number(Decimal(amount))) is float


def test_a_decimal_that_no_number_carries_is_refused() -> None:
    for text in ("0.12345678901234567", "9007199254740993", "1E+400", "1E-400"):
        with pytest.raises(ValueError, match="15 significant digits"):
            json_number(Decimal(text))


def test_default_subject_fills_the_template() -> None:
    assert Priced(id="7", base_price=Decimal(1), limit=None).default_subject() == "priced:7"
    assert Fee(amount=Decimal(1)).default_subject() is None
    both = declare("Both", topic="test.event.both.v1", subject="{id}/of:{other_id}/{id}")
    assert both(id="7", other_id="8").default_subject() == "7/of:8/7"
    assert both(id="7").default_subject() is None


def test_a_subclass_inherits_source_and_subject_but_not_topic() -> None:
    child = subclass("Child", Priced, {}, topic="test.event.child.v1")
    heir = subclass("Heir", Priced, {})
    assert (child.__topic__, child.__source__, child.__subject__) == ("test.event.child.v1", "svc", "priced:{id}")
    assert (heir.__topic__, declared_events()["test.event.priced.v1"]) == (None, Priced)


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a/b", "é", "a\n", "a" * 250, "a:b"])
def test_a_topic_that_kafka_refuses_is_a_declaration_error(topic: str) -> None:
    with pytest.raises(EventDeclarationError, match="a topic is 1 to 249 characters"):
        declare("BadTopic", topic=topic)
    assert topic not in declared_events()


@pytest.mark.parametrize("keyword", ["topic", "source", "subject", "dataschema", "partial"])
def test_a_class_keyword_of_a_wrong_type_is_refused(keyword: str) -> None:
    with pytest.raises(EventDeclarationError, match=f"BadKeyword: {keyword} must be"):
        declare("BadKeyword", **{"topic": "test.event.keyword.v1", keyword: 7})


def test_a_topic_belongs_to_one_class_that_may_be_declared_again() -> None:
    topic = "test.event.owned-by_One.v1"
    declare("Owner", topic=topic)
    again = declare("Owner", topic=topic)
    with pytest.raises(EventDeclarationError, match=r"Thief: topic 'test\.event\.owned-by_One\.v1' already.*Owner"):
        declare("Thief", topic=topic)
    assert declared_events()[topic] is again


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("listing:{listing_id}", "{listing_id} is not a field"),
        ("listing:{otherId}", "{otherId} is not a field"),
        ("listing:{}", "{} is not a field"),
        ("listing:{id!r}", "{id!r} is not a field"),
        ("listing:{id.upper}", "{id.upper} is not a field"),
        ("listing", "it names no field in braces"),
        ("listing:{id", "it names no field in braces"),
        ("listing:{id}}", ""),
        ("{listing:{id}", "{listing:{id} is not a field"),
        ("listing:{id}{", ""),
    ],
)
def test_a_subject_that_cannot_be_filled_is_a_declaration_error(subject: str, problem: str) -> None:
    with pytest.raises(EventDeclarationError) as caught:
        declare("BadSubject", topic="test.event.subject.v1", subject=subject)
    assert problem in str(caught.value)
    assert "the fields are: id, other_id" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"__annotations__": {"seller_id": str, "sellerId": str}},
        {"__annotations__": {"id": str, "number": str}, "number": Field(alias="id")},
    ],
)
def test_two_fields_of_one_wire_name_are_a_declaration_error(fields: Fields) -> None:
    with pytest.raises(EventDeclarationError, match="on the wire: rename one"):
        subclass("Clash", EventData, fields)


def test_partial_without_a_topic_is_a_declaration_error() -> None:
    with pytest.raises(EventDeclarationError, match="partial=True belongs to a class with a topic"):
        declare("Part", partial=True)


def test_a_refused_declaration_is_not_declared() -> None:
    with pytest.raises(EventDeclarationError):
        declare("Refused", topic="test.event.refused.v1", subject="{nothing}")
    assert catalogue.lookup("test.event.refused.v1") is None


# The catalogue


def test_lookup_knows_declared_classes_and_nothing_else() -> None:
    assert catalogue.lookup("test.event.priced.v1") is Priced
    assert catalogue.lookup(ListingCreated.__topic__ or "") is ListingCreated
    assert catalogue.lookup("test.event.nobody.v1") is None


@pytest.mark.parametrize(
    ("misspelled", "meant"),
    [
        ("eventzr.marketplace.listing.create.v1", "eventzr.marketplace.listing.created.v1"),
        ("eventzr.marketplace.listing.created", "eventzr.marketplace.listing.created.v1"),
        ("eventzr.marketplace.oder.completed.v1", "eventzr.marketplace.order.completed.v1"),
        (" eventzr.user.profile.updated.v1\n", "eventzr.user.profile.updated.v1"),
        ("eventzr.marketplace.listing.created.v2", None),
        ("eventzr.marketplace.listing.deleted.v1", None),
        ("something.else", None),
    ],
)
def test_a_misspelled_topic_is_recognised(misspelled: str, meant: str | None) -> None:
    catalogue.lookup(misspelled)
    assert catalogue.suggest(misspelled) == meant
