"""Spellings that neighbours plausibly send, each of which reads as the one Python form."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eventzr_kafka import EventData
from eventzr_marketplace_events import (
    DisputeEvidence,
    DisputeOpened,
    EventCreated,
    ExhibitorSlot,
    ExhibitorSlots,
    ListingCreated,
    PaymentCompleted,
    ReviewCreated,
    RfpBroadcast,
    SponsorshipOpportunity,
    SubscriptionChanged,
    minimal_example,
)

EventT = TypeVar("EventT", bound=EventData)
TEXTS = st.text(min_size=1, max_size=20)
SLOTS = st.fixed_dictionaries(
    {},
    optional={"id": st.integers(0) | TEXTS, "size": st.integers(0) | TEXTS, "price": st.none() | st.integers(0, 999)},
)


def read(kind: type[EventT], **fields: Any) -> EventT:
    data = json.loads(minimal_example(kind).model_dump_json()) | fields
    return kind.model_validate_json(json.dumps(data))


def again(event: EventT) -> EventT:
    return type(event).model_validate_json(event.model_dump_json(exclude_unset=event.__partial__))


@given(st.integers(0, 2**53))
def test_an_id_reads_the_same_as_number_and_as_text(number: int) -> None:
    for kind, field in ((ListingCreated, "sellerId"), (PaymentCompleted, "orderId"), (EventCreated, "id")):
        as_number, as_text = read(kind, **{field: number}), read(kind, **{field: str(number)})
        assert as_number == as_text == again(as_number)


@given(st.integers(0, 2**40))
def test_slots_read_from_their_number(count: int) -> None:
    event = read(EventCreated, exhibitorSlots=count)
    assert event.exhibitor_slots == ExhibitorSlots(count=count)
    assert event == read(EventCreated, exhibitorSlots={"count": count}) == again(event)


@given(st.lists(SLOTS, min_size=1, max_size=4))
def test_slots_read_from_a_list_of_them(slots: list[dict[str, Any]]) -> None:
    event = read(EventCreated, exhibitorSlots=slots)
    assert event.exhibitor_slots is not None
    assert event.exhibitor_slots.count == len(event.exhibitor_slots.slots) == len(slots)
    assert event == read(EventCreated, exhibitorSlots={"count": len(slots), "slots": slots}) == again(event)


def test_slots_read_from_their_names() -> None:
    event = read(EventCreated, exhibitorSlots=["A1", "A2"])
    assert event == read(EventCreated, exhibitorSlots=[{"title": "A1"}, {"title": "A2"}]) == again(event)


def test_one_sponsorship_reads_as_a_list_of_it() -> None:
    event = read(EventCreated, sponsorshipOpportunities={"title": "Gold"})
    assert event == read(EventCreated, sponsorshipOpportunities=[{"title": "Gold"}]) == again(event)


def test_day_is_its_midnight_in_utc() -> None:
    event = read(EventCreated, startsAt="2026-05-01")
    assert event.starts_at == datetime(2026, 5, 1, tzinfo=UTC)
    assert event == again(event)
    for wrong in ("2026-02-30", "2026-05", "01.05.2026"):
        with pytest.raises(ValidationError, match="a date-time with a zone, or a day"):
            read(EventCreated, startsAt=wrong)


def test_currency_in_small_letters_is_read_in_capitals() -> None:
    event = read(PaymentCompleted, currency="jpy", amount=12.5)
    assert (event.currency, event.amount) == ("JPY", Decimal(12))
    assert event == again(event)


def test_rating_scale_of_null_is_five() -> None:
    event = read(ReviewCreated, ratingScale=None)
    assert event.rating_scale == 5
    assert event == again(event)


def test_a_slot_has_its_id_size_and_price() -> None:
    event = read(EventCreated, exhibitorSlots=[{"id": 7, "size": 9, "price": None}])
    assert event.exhibitor_slots == ExhibitorSlots(count=1, slots=[ExhibitorSlot(id="7", size="9")])


@given(st.lists(TEXTS, max_size=4))
def test_a_sponsorship_reads_from_its_title(titles: list[str]) -> None:
    event = read(EventCreated, sponsorshipOpportunities=titles)
    assert event == read(EventCreated, sponsorshipOpportunities=[{"title": title} for title in titles]) == again(event)
    assert all(isinstance(one, SponsorshipOpportunity) for one in event.sponsorship_opportunities or [])


@given(TEXTS)
def test_a_text_is_a_list_of_one(text: str) -> None:
    rfp = read(RfpBroadcast, requirements=text, targetLanes=text)
    assert rfp == read(RfpBroadcast, requirements=[text], targetLanes=[text]) == again(rfp)
    assert read(SubscriptionChanged, entitlements=text).entitlements == [text]


def test_an_empty_text_is_an_empty_list() -> None:
    assert read(RfpBroadcast, requirements="").requirements == []


@given(st.sampled_from(["https://files.example.com/a.jpg", "s3://bucket/a", "/files/a.jpg"]))
def test_evidence_reads_from_an_address(address: str) -> None:
    dispute = read(DisputeOpened, evidence=[address])
    assert dispute.evidence == [DisputeEvidence(url=address)]
    assert dispute == read(DisputeOpened, evidence=address) == read(DisputeOpened, evidence=[{"url": address}])
    assert dispute == read(DisputeOpened, evidence={"url": address}) == again(dispute)


@given(st.text("abc äß.,", min_size=1))
def test_evidence_reads_from_words(words: str) -> None:
    assert read(DisputeOpened, evidence=[words]).evidence == [DisputeEvidence(description=words)]


def test_a_price_on_request_is_none() -> None:
    assert read(ListingCreated, price=None).price is None
    assert read(ListingCreated, price=None) == read(ListingCreated, price=None, title=None).model_copy()


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(microsecond=0)))  # noqa: DTZ001
def test_a_moment_reads_the_same_with_and_without_fraction(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)
    east = (naive + timedelta(hours=2)).isoformat()
    for text in (
        f"{naive.isoformat()}Z",
        f"{naive.isoformat()}.000Z",
        f"{naive.isoformat()}.000000+00:00",
        f"{east}+02:00",
    ):
        assert read(PaymentCompleted, completedAt=text).completed_at == moment


@given(st.integers(0, 10**12), st.integers(0, 99))
def test_an_amount_reads_the_same_as_number_and_as_text(whole: int, cents: int) -> None:
    amount = Decimal(whole) + Decimal(cents) / 100
    for spelling in (float(amount), str(amount), f"{amount:.3f}"):
        assert read(PaymentCompleted, amount=spelling, currency="USD").amount == amount


@pytest.mark.parametrize(
    ("kind", "field", "bad"),
    [
        (EventCreated, "exhibitorSlots", "many"),
        (EventCreated, "exhibitorSlots", -1),
        (EventCreated, "exhibitorSlots", [1]),
        (RfpBroadcast, "requirements", [1]),
        (RfpBroadcast, "requirements", 1),
        (DisputeOpened, "evidence", 1),
        (DisputeOpened, "evidence", [[1]]),
    ],
)
def test_what_is_no_spelling_is_refused_at_its_field(kind: type[EventData], field: str, bad: object) -> None:
    with pytest.raises(ValidationError) as refused:
        read(kind, **{field: bad})
    assert [(fault["type"], fault["loc"][0]) for fault in refused.value.errors()] == [("spelling", field)]
