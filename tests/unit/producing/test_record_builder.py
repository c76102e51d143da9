"""The fast way to a record and the careful one: the same bytes, or the same error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.producing.golden import HELD, TENANT, TRACED, Part, Patch, Schema, Wide

from eventzr_kafka import CloudEvent, EventData, Limits, OutgoingRecord
from eventzr_kafka.clock import Clock
from eventzr_kafka.codec.encoder import ContentMode, encode
from eventzr_kafka.errors import EncodeError
from eventzr_kafka.events.context import BatchInHand, InHand, enter, leave
from eventzr_kafka.producing.envelope import Enveloper
from eventzr_kafka.producing.record_builder import RecordBuilder
from eventzr_marketplace_events.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Generator

CLOCK = Clock(wall=lambda: 1772452800.123456, new_id=lambda: "id-1")
LIMITS = Limits(max_bytes=2000)
SOURCE = "golden-svc"
Outcome: TypeAlias = tuple[str, OutgoingRecord] | tuple[type[Exception], str]


class Name(StrEnum):
    ACME = "acme"


class SubText(str):
    __slots__ = ()


class OwnSubject(EventData, topic="golden.own-subject.v1", source=SOURCE, subject="own:{id}"):
    id: Any = None

    def default_subject(self) -> str | None:
        return "mine"


class Foreign(EventData, topic="golden.foreign.v1", source="other-svc"):
    id: int = 1


class Topicless(EventData):
    id: int = 1


class Raising(EventData, topic="golden.raising.v1", source=SOURCE, subject="r:{text}"):
    text: Any = None


@contextmanager
def handling(held: InHand) -> Generator[None]:
    token = enter(held)
    try:
        yield
    finally:
        leave(token)


def outcome_of(call: Callable[[], tuple[str, OutgoingRecord] | None]) -> Outcome | None:
    """The id and the record that a way makes, with its headers as a list; or its error."""
    try:
        made = call()
    except Exception as error:  # noqa: BLE001 -- compared
        return type(error), str(error)
    return None if made is None else (made[0], made[1]._replace(headers=list(made[1].headers)))


def check(mode: ContentMode, event: Any, keywords: Mapping[str, Any], held: InHand = None) -> None:
    """Compare both ways; twice, as the second time finds the class known."""
    enveloper = Enveloper(SOURCE, clock=CLOCK)
    builder = RecordBuilder(enveloper, mode, LIMITS)

    def carefully() -> tuple[str, OutgoingRecord]:
        whole = enveloper.prepare_event(event, **keywords)
        return whole.id, encode(whole, mode, limits=LIMITS)

    with handling(held):
        for _ in range(2):
            fast = outcome_of(lambda: builder.build(event, keywords))
            assert fast is None or fast == outcome_of(carefully)


TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "acme", 'a"b', "a\\b", "é", "\x7f", "\x85", "\x00", "\u2028", "\ud800", " ", "a\n", "🍣"]),
    st.builds(SubText, st.text(max_size=4)),
    st.just(Name.ACME),
    st.sampled_from([None, 1, b"a", True]),
)
MOMENTS = st.one_of(
    st.none(),
    st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(0)), timezone(timedelta(hours=-7, minutes=-30)), None])
    ),
    st.sampled_from(["2026-03-02T12:00:00Z", "2026-12-31T23:59:60Z", "yesterday", 0]),
)
NAMES = st.one_of(
    st.sampled_from(["note", "a1", "traceparent", "tracestate", "correlationid", "causationid", "partitionkey"]),
    st.sampled_from(
        ["id", "data", "tenantid", "time", "specversion", "dataschema", "Upper", "data_base64", "é", "1", ""]
    ),
    st.text(max_size=3),
)
VALUES = st.one_of(TEXTS, st.integers(), st.floats(allow_nan=False))
KEYWORDS = st.fixed_dictionaries(
    {},
    optional={
        "tenant_id": st.one_of(st.just(TENANT), TEXTS, st.text("a", min_size=199, max_size=201)),
        "subject": TEXTS,
        "event_id": TEXTS,
        "time": MOMENTS,
        "extensions": st.one_of(st.none(), st.dictionaries(NAMES, VALUES, max_size=3), st.just([("a", "b")])),
        "allow_cross_tenant": st.booleans(),
        "unknown": st.none(),
    },
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.decimals()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)


def extended(data: EventData, more: dict[str, Any]) -> EventData:
    """Add fields that the class does not know, unchecked."""
    return data.model_copy(update={f"x{name}": value for name, value in more.items()})


WIDE = st.builds(
    Wide,
    name=st.one_of(
        st.text(max_size=6), st.sampled_from(["NaN", "\x7f", '"tenantid":"a","tenantid":"b"', "", "x" * 3000])
    ),
    amount=DECIMALS,
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
    parts=st.lists(st.builds(Part, name=st.text(max_size=3), price=st.none() | DECIMALS), max_size=2).map(tuple),
    anything=JSON,
)
PAYLOADS = st.one_of(
    st.sampled_from(list(EXAMPLES.values())),
    WIDE,
    st.builds(extended, WIDE, st.dictionaries(st.sampled_from(["tenantid", "a", "é"]), JSON, max_size=2)),
    st.builds(Patch, id=st.text(max_size=3)) | st.builds(Patch, id=st.just("1"), title=st.none()),
    st.builds(Schema, id=st.integers()),
    st.builds(OwnSubject, id=TEXTS),
    st.builds(Raising, text=st.one_of(TEXTS, JSON)),
    st.sampled_from([Foreign(), Topicless(), HELD, {"id": 1}, None, Wide]),
)
HELD_ONES = st.one_of(
    st.none(),
    st.sampled_from([HELD, TRACED, HELD.with_extensions(correlationid=7), HELD.with_extensions(tracestate="")]),
    st.sampled_from([frozenset({TENANT}), frozenset({TENANT, "b"}), frozenset[str]()]).map(BatchInHand),
)
NAIVE = datetime(2026, 3, 2, 12)  # noqa: DTZ001 -- refused
MODES = st.sampled_from(["structured", "binary"])


@settings(max_examples=8 * settings().max_examples)
@given(mode=MODES, event=PAYLOADS, keywords=KEYWORDS, held=HELD_ONES)
@also(mode="structured", event=Wide(name="n"), keywords={"tenant_id": TENANT, "subject": ""}, held=None)
@also(mode="binary", event=Wide(name="n"), keywords={"tenant_id": ""}, held=None)
@also(mode="structured", event=Wide(name="n"), keywords={"tenant_id": None}, held=HELD)
@also(mode="structured", event=Wide(name="n"), keywords={"tenant_id": "other"}, held=HELD)
@also(mode="structured", event=Wide(name="n", anything=float("nan")), keywords={"tenant_id": TENANT}, held=None)
@also(mode="structured", event=Wide(name="n" * 2000), keywords={"tenant_id": TENANT}, held=None)
@also(mode="structured", event=Wide(name="n"), keywords={"tenant_id": TENANT, "extensions": {"id": "1"}}, held=None)
@also(mode="structured", event=Wide(name="n"), keywords={"tenant_id": TENANT, "extensions": {"A": "1"}}, held=None)
@also(mode="structured", event=Wide(name="n"), keywords={"tenant_id": TENANT, "unknown": 1}, held=None)
@also(mode="structured", event=Wide(name="n"), keywords={"tenant_id": TENANT, "time": NAIVE}, held=None)
@also(mode="structured", event=OwnSubject(id="1"), keywords={"tenant_id": TENANT}, held=None)
def test_fast_and_careful_never_differ(mode: ContentMode, event: Any, keywords: dict[str, Any], held: InHand) -> None:
    check(mode, event, keywords, held)


@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize("held", [None, TRACED], ids=["alone", "in a handler"])
def test_usual_events_take_the_fast_way(mode: ContentMode, held: InHand) -> None:
    keywords = {"tenant_id": TENANT} if held is None else {}
    odd = [Wide(name='Größe "L" \\'), Wide(name="n", amount=Decimal("19.99"), anything={"a": [None, "é"]})]
    slow = [event for event in (*EXAMPLES.values(), *odd) if not is_fast(mode, event, keywords, held)]
    assert slow == []


def is_fast(mode: ContentMode, event: Any, keywords: Mapping[str, Any], held: InHand) -> bool:
    builder = RecordBuilder(Enveloper(None, clock=CLOCK), mode, LIMITS)
    with handling(held):
        return builder.build(event, keywords) is not None


@pytest.mark.parametrize("crosses", [True, False])
def test_refusal_outside_of_handlers_is_the_careful_ways(*, crosses: bool) -> None:
    enveloper = Enveloper(SOURCE, clock=CLOCK, outside_handlers="refuse")
    builder = RecordBuilder(enveloper, "structured", LIMITS)
    assert builder.build(Wide(name="n"), {"tenant_id": TENANT, "allow_cross_tenant": crosses}) is None


def test_whole_events_take_the_careful_way() -> None:
    assert not is_fast("structured", CloudEvent(id="1", source="s", type="t", tenantid="t"), {}, None)


class Readings(EventData, topic="golden.readings.v1", source=SOURCE):
    values: Iterable[float]  # pydantic keeps an iterator, which is empty once it was read


@pytest.mark.parametrize(
    ("values", "problem"),
    [([1.5] * 2000, r"value of 8,\d+ bytes; the limit is 2,000"), ([float("nan")], "cannot be written as JSON")],
    ids=["too large", "NaN"],
)
def test_refused_iterator_is_not_sent_as_an_empty_one(values: list[float], problem: str) -> None:
    builder = RecordBuilder(Enveloper(None, clock=CLOCK), "structured", LIMITS)
    with pytest.raises(EncodeError, match=problem):
        builder.build(Readings(values=values), {"tenant_id": TENANT})


def test_time_of_each_millisecond_is_its_own() -> None:
    walls = [1000.0005, 1000.0005, 1000.0009, 1000.0011, 999.5]  # the first one is of the class's first event
    builder = RecordBuilder(Enveloper(SOURCE, clock=Clock(wall=lambda: walls.pop(0))), "binary", LIMITS)
    built = [builder.build(Wide(name="n"), {"tenant_id": TENANT}) for _ in range(4)]
    times = [dict(one.record.headers)["ce_time"] for one in built if one is not None]
    assert times == [
        b"1970-01-01T00:16:40.000Z",
        b"1970-01-01T00:16:40.000Z",
        b"1970-01-01T00:16:40.001Z",
        b"1970-01-01T00:16:39.500Z",
    ]
