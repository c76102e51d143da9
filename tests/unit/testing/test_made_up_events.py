"""Made-up events are valid on the wire, and spoiled ones are refused."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field, ValidationError

from eventzr_kafka import CloudEvent, EventData, Record, decode, encode
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.errors import ConfigurationError, DecodeError, MissingExtraError
from eventzr_kafka.producing.envelope import Enveloper
from eventzr_kafka.testing import event_factory
from eventzr_kafka.testing._malformations import MALFORMATIONS
from eventzr_kafka.testing.strategies import events, malformed_records, payloads
from eventzr_marketplace_events import EventCreated, ListingCreated, ReviewCreated
from eventzr_marketplace_events.examples import EXAMPLES

pytestmark = pytest.mark.slow

KINDS = list(EXAMPLES)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


class Parcel(EventData):
    grams: Annotated[int, Field(gt=0, le=1000)]
    value: Annotated[Decimal, Field(gt=0, lt=1, decimal_places=2)]


class ParcelsSent(EventData, topic="tests.strategies.parcels.sent.v1"):
    parcels: Annotated[list[Parcel], Field(min_length=1)]
    by_city: dict[str, float]
    code: Annotated[str, Field(pattern="^[A-Z]{2}$")] | None
    weight: Decimal
    notes: Any = None


def sent(event: CloudEvent[Any], mode: ContentMode) -> CloudEvent[Any]:
    out = encode(event, mode)
    return decode(Record(out.topic, 0, 0, out.key, out.value, out.headers))


def with_texts(event: CloudEvent[Any]) -> CloudEvent[Any]:
    """Extensions as binary mode gives them back."""
    return event.with_extensions(
        **{name: value if isinstance(value, str) else json.dumps(value) for name, value in event.extensions.items()}
    )


@each_kind
@given(draw=st.data())
def test_generated_event_reads_back(kind: type[EventData], draw: st.DataObject) -> None:
    event = draw.draw(events(kind))

    assert sent(event, "structured") == event
    assert sent(event, "binary") == with_texts(event)
    assert type(event.data) is kind


@given(parcel=payloads(Parcel))
def test_payload_part_has_a_strategy(parcel: Parcel) -> None:
    assert Parcel.model_validate(parcel.model_dump()) == parcel


@given(payload=st.sampled_from(KINDS).flatmap(payloads))
def test_payload_has_its_subject(payload: EventData) -> None:
    event = Enveloper(payload.__source__).build_event(payload, tenant_id="t1")

    assert event.subject is not None
    assert event.subject == payload.default_subject()


@given(event=events(ParcelsSent))
def test_constraints_are_kept(event: CloudEvent[ParcelsSent]) -> None:
    assert sent(event, "structured") == event
    assert all(0 < parcel.grams <= 1000 and 0 < parcel.value < 1 for parcel in event.data.parcels)


@pytest.mark.parametrize("name", MALFORMATIONS)
@given(draw=st.data())
@settings(max_examples=settings().max_examples // 5)
def test_every_spoiled_event_is_refused(name: str, draw: st.DataObject) -> None:
    event = draw.draw(st.sampled_from(KINDS).flatmap(events))

    with pytest.raises(DecodeError):
        decode(MALFORMATIONS[name](event))


@given(record=malformed_records(*KINDS))
def test_malformed_records_are_refused(record: Record) -> None:
    with pytest.raises(DecodeError):
        decode(record)


@each_kind
def test_factory_event_reads_back(kind: type[EventData]) -> None:
    factory = event_factory(kind)
    for _ in range(20):
        event = factory.event(tenant_id="t1")

        assert sent(event, "structured") == sent(event, "binary") == event
        assert type(event.data) is kind


def test_factory_takes_what_is_given() -> None:
    hall, other = event_factory(ListingCreated).batch(2, title="Hall", price=Decimal("12.50"))

    assert (hall.title, hall.price, other.title) == ("Hall", Decimal("12.50"), "Hall")
    assert hall.id != other.id


class Meeting(EventData, topic="tests.made_up.meeting.v1"):
    begins_at: datetime
    ends_at: AwareDatetime
    day: date


def test_dates_do_not_count_from_now() -> None:
    made = event_factory(Meeting, seed=7).batch(20)
    assert {when.year for each in made for when in (each.begins_at, each.ends_at, each.day)} == {2026}


def test_seed_repeats_payloads() -> None:
    for kind in (ListingCreated, EventCreated):  # the second has parts
        assert event_factory(kind, seed=7).batch(3) == event_factory(kind, seed=7).batch(3)


def test_factory_refuses_invalid_values() -> None:
    with pytest.raises(ValidationError, match="ratingScale"):
        event_factory(ReviewCreated).build(rating=Decimal(6), rating_scale=5)


def test_payload_part_is_no_event() -> None:
    with pytest.raises(ConfigurationError, match="Parcel declares no topic"):
        events(Parcel)


@pytest.mark.parametrize(("vendor", "module"), [("polyfactory", "factories"), ("hypothesis", "strategies")])
def test_missing_extra_is_named(vendor: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = f"eventzr_kafka.testing.{module}"
    for name in [name for name in sys.modules if name.split(".")[0] == vendor or name == ours]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, vendor, None)

    with pytest.raises(MissingExtraError, match=r"eventzr-kafka\[testing\]"):
        import_module(ours)
