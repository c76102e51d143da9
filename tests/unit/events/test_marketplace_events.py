import ast
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import eventzr_marketplace_events
from eventzr_kafka.events.construction import PayloadError, is_written
from eventzr_kafka.events.event_data import EventData
from eventzr_marketplace_events import (
    DisputeEvidence,
    DisputeOpened,
    DisputeResolved,
    EscrowReleased,
    EventCreated,
    ExhibitorSlot,
    ExhibitorSlots,
    ListingClosed,
    ListingCreated,
    ListingPublished,
    ListingStatistics,
    ListingUpdated,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    PaymentCompleted,
    QuoteAccepted,
    QuoteSubmitted,
    ReviewCreated,
    RfpBroadcast,
    SponsorshipOpportunity,
    SubscriptionChanged,
    UserProfileUpdated,
    example,
    full_example,
    minimal_example,
    topics,
)
from eventzr_marketplace_events.examples import EXAMPLES

# The tables of the platform's guide, retyped, with the class of each topic.
PRODUCED: list[tuple[str, type[EventData]]] = [
    ("eventzr.marketplace.listing.created.v1", ListingCreated),
    ("eventzr.marketplace.listing.published.v1", ListingPublished),
    ("eventzr.marketplace.listing.updated.v1", ListingUpdated),
    ("eventzr.marketplace.listing.closed.v1", ListingClosed),
    ("eventzr.marketplace.quote.submitted.v1", QuoteSubmitted),
    ("eventzr.marketplace.quote.accepted.v1", QuoteAccepted),
    ("eventzr.marketplace.order.created.v1", OrderCreated),
    ("eventzr.marketplace.order.completed.v1", OrderCompleted),
    ("eventzr.marketplace.order.cancelled.v1", OrderCancelled),
    ("eventzr.marketplace.dispute.opened.v1", DisputeOpened),
    ("eventzr.marketplace.dispute.resolved.v1", DisputeResolved),
    ("eventzr.marketplace.rfp.broadcast.v1", RfpBroadcast),
]
CONSUMED: list[tuple[str, str, type[EventData]]] = [
    ("eventzr.event.created.v1", "event-svc", EventCreated),
    ("eventzr.reviews.review.created.v1", "reviews-svc", ReviewCreated),
    ("eventzr.wallet.payment.completed.v1", "wallet-svc", PaymentCompleted),
    ("eventzr.wallet.escrow.released.v1", "wallet-svc", EscrowReleased),
    ("eventzr.subscriptions.subscription.changed.v1", "subscriptions-svc", SubscriptionChanged),
    ("eventzr.user.profile.updated.v1", "user-svc", UserProfileUpdated),
]
EVENTS = [cls for _, cls in PRODUCED] + [cls for _, _, cls in CONSUMED]
SUBJECTS = (
    "listing listing listing listing quote quote order order order dispute dispute rfp "
    "event review payment escrow subscription user"
)
GUIDE_LISTING = """{
"id": "listing-uuid",
"title": "Premium Catering Service",
"lane": "vendora",
"sellerId": "seller-uuid",
"price": 5000,
"currency": "USD"
}"""
# Names on the wire; "!" is required of writers alone, "?" never. Removing or renaming one breaks other services.
WIRE: dict[type[EventData], str] = {
    ListingCreated: (
        "id title! lane! sellerId price! currency! sellerName? status? description? category? quantity? createdAt?"
    ),
    ListingPublished: "id sellerId lane! publishedAt!",
    ListingUpdated: (
        "id title? lane? sellerId? price? currency? sellerName? status? description? category? quantity? updatedAt?"
    ),
    ListingClosed: "id reason! statistics! sellerId? closedAt?",
    ListingStatistics: "views! quotes! orders!",
    QuoteSubmitted: "id listingId amount! currency! message! buyerId? sellerId? submittedAt?",
    QuoteAccepted: "id listingId acceptedAmount! currency! sellerId? buyerId? orderId? acceptedAt?",
    OrderCreated: "id quoteId buyerId sellerId listingId? amount? currency? quantity? createdAt?",
    OrderCompleted: "id completedAt! finalAmount! currency! buyerId? sellerId? listingId?",
    OrderCancelled: (
        "id reason! refundStatus! buyerId? sellerId? listingId? cancelledBy? refundAmount? currency? cancelledAt?"
    ),
    DisputeOpened: "id orderId reason! evidence! openedBy? openedAt?",
    DisputeEvidence: "kind? url? description?",
    DisputeResolved: "id outcome! notes! orderId? buyerRefundAmount? sellerPayoutAmount? currency? resolvedAt?",
    RfpBroadcast: (
        "id requirements! targetLanes! deadline! title? buyerId? budget? currency? matchedSellerIds? "
        "eventId? broadcastAt?"
    ),
    EventCreated: "id exhibitorSlots! sponsorshipOpportunities! title? organizerId? startsAt? createdAt?",
    ExhibitorSlots: "count slots?",
    ExhibitorSlot: "id? title? size? price? currency?",
    SponsorshipOpportunity: "title! price! currency! id? size?",
    ReviewCreated: "id sellerId! listingId! rating ratingScale? orderId? createdAt?",
    PaymentCompleted: "id orderId! amount! currency! completedAt?",
    EscrowReleased: "id orderId! sellerId! amount! currency! releasedAt?",
    SubscriptionChanged: "id sellerId! tier! entitlements! listingLimit! effectiveAt? changedAt?",
    UserProfileUpdated: "id displayName? avatarUrl? bio? updatedAt?",
}
_VERBS = (
    "created",
    "updated",
    "closed",
    "submitted",
    "accepted",
    "cancelled",
    "opened",
    "resolved",
    "broadcast",
    "changed",
)
MOMENTS = [
    "publishedAt",
    "completedAt",
    "deadline",
    "startsAt",
    "releasedAt",
    "effectiveAt",
    *(f"{verb}At" for verb in _VERBS),
]
PARTIAL = {ListingUpdated, SubscriptionChanged, UserProfileUpdated}
CURRENCIES = [cls for cls, names in WIRE.items() if " currency" in names]

EventT = TypeVar("EventT", bound=EventData)
each_event = pytest.mark.parametrize("cls", EXAMPLES, ids=lambda cls: cls.__name__)


def wire(event: EventData) -> dict[str, Any]:
    """The payload as the codec writes it."""
    text = event.model_dump_json(by_alias=True, exclude_unset=type(event) in PARTIAL)
    return dict[str, Any](json.loads(text))


def read(cls: type[EventT], payload: dict[str, Any]) -> EventT:
    return cls.model_validate_json(json.dumps(payload))


def faults(error: ValidationError) -> list[tuple[str, str]]:
    return [(fault["type"], str(fault["loc"][0])) for fault in error.errors()]


PARTS: list[EventData] = [
    ListingStatistics(views=250, quotes=3, orders=1),
    DisputeEvidence(kind="photo", url="https://files.example.com/buffet.jpg"),
    ExhibitorSlot(id="slot-1", title="A7", size="3x3 m", price=Decimal(1200), currency="USD"),
    SponsorshipOpportunity(title="Gold", price=Decimal(10000), currency="USD", id="sponsorship-1"),
]
SAMPLES = {type(event): wire(event) for event in (*map(full_example, EXAMPLES), *PARTS)}


def classes_with(name: str) -> list[type[EventData]]:
    found = [cls for cls, payload in SAMPLES.items() if name in payload and cls is not ListingUpdated]
    assert found
    return found


each_class = pytest.mark.parametrize("cls", SAMPLES, ids=lambda cls: cls.__name__)


def test_twelve_topics_come_from_marketplace_svc_in_order() -> None:
    assert list(topics.PRODUCED) == [topic for topic, _ in PRODUCED]
    for topic, cls in PRODUCED:
        assert (cls.__topic__, cls.__source__) == (topic, "marketplace-svc")


def test_six_topics_come_from_the_guides_other_services() -> None:
    assert list(topics.CONSUMED) == [topic for topic, *_ in CONSUMED]
    for topic, source, cls in CONSUMED:
        assert (cls.__topic__, cls.__source__) == (topic, source)


def test_subjects_name_the_entity_and_its_id() -> None:
    for cls, kind in zip(EVENTS, SUBJECTS.split(), strict=True):
        assert example(cls).default_subject() == f"{kind}:{SAMPLES[cls]['id']}"


def test_only_changes_are_partial() -> None:
    assert {cls for cls in WIRE if cls.__partial__} == PARTIAL


def test_the_package_exports_every_class_with_topics_and_example() -> None:
    assert eventzr_marketplace_events.__all__ == [
        *sorted(cls.__name__ for cls in WIRE),
        "example",
        "full_example",
        "minimal_example",
        "topics",
    ]
    assert all(getattr(eventzr_marketplace_events, cls.__name__) is cls for cls in WIRE)


def test_examples_cover_the_guides_events_in_its_order() -> None:
    assert list(EXAMPLES) == EVENTS
    assert all(type(event) is cls for cls, event in EXAMPLES.items())


def test_example_has_the_type_that_was_asked_for() -> None:
    assert_type(example(OrderCompleted), OrderCompleted)
    assert example(OrderCompleted) is EXAMPLES[OrderCompleted]
    with pytest.raises(KeyError):
        example(ListingStatistics)


@pytest.mark.parametrize("cls", WIRE, ids=lambda cls: cls.__name__)
def test_wire_names_are_camel_case_and_required_as_in_the_guide(cls: type[EventData]) -> None:
    fields = cls.model_fields.values()
    marks = ["" if field.is_required() else "!" if is_written(field) else "?" for field in fields]
    assert " ".join(f"{field.alias}{mark}" for field, mark in zip(fields, marks, strict=True)) == WIRE[cls]


def test_listing_created_writes_exactly_the_guides_data() -> None:
    written = json.loads(example(ListingCreated).model_dump_json(by_alias=True))
    assert written == json.loads(GUIDE_LISTING)
    assert list(written) == list(json.loads(GUIDE_LISTING))
    assert type(written["price"]) is int


def test_listing_created_reads_the_guides_data() -> None:
    listing = ListingCreated.model_validate_json(GUIDE_LISTING)
    assert (listing.seller_id, listing.price) == ("seller-uuid", Decimal(5000))
    assert listing == example(ListingCreated)


@each_event
def test_an_example_survives_a_round_trip(cls: type[EventData]) -> None:
    event = example(cls)
    again = read(cls, wire(event))
    assert again == event
    assert again.model_fields_set == event.model_fields_set
    assert wire(again) == wire(event)


@each_class
def test_a_missing_required_field_is_refused(cls: type[EventData]) -> None:
    for name in (name for name in WIRE[cls].split() if name[-1] not in "!?"):
        without = {key: value for key, value in SAMPLES[cls].items() if key != name}
        with pytest.raises(ValidationError) as refused:
            read(cls, without)
        assert faults(refused.value) == [("missing", name)]


@each_class
def test_optional_fields_may_be_left_out_and_stay_out(cls: type[EventData]) -> None:
    optional = {name[:-1] for name in WIRE[cls].split() if name[-1] in "!?"}
    bare = {key: value for key, value in SAMPLES[cls].items() if key not in optional}
    default = {"ratingScale": 5} if cls is ReviewCreated else {}
    assert wire(read(cls, bare)) == bare | default


@each_class
def test_the_constructor_demands_what_the_guide_names(cls: type[EventData]) -> None:
    values = {name: getattr(cls.model_validate(SAMPLES[cls]), name) for name in cls.model_fields}
    for name, field in cls.model_fields.items():
        without = {other: value for other, value in values.items() if other != name}
        if is_written(field):
            with pytest.raises(PayloadError) as refused:
                cls(**without)
            assert refused.value.missing == (name,)
        elif not field.is_required():
            cls(**without)


@each_event
def test_a_minimal_event_reads_and_is_written_again(cls: type[EventData]) -> None:
    minimal = minimal_example(cls)
    default = {"ratingScale": 5} if cls is ReviewCreated else {}
    assert wire(minimal) == {name: SAMPLES[cls][name] for name in WIRE[cls].split() if name[-1] not in "!?"} | default
    assert read(cls, wire(minimal)) == minimal.model_copy()


@each_event
def test_a_full_event_has_every_field(cls: type[EventData]) -> None:
    assert full_example(cls).model_fields_set == set(cls.model_fields)
    assert None not in [getattr(full_example(cls), name) for name in cls.model_fields if name != "avatar_url"]


@each_class
def test_unknown_fields_are_kept(cls: type[EventData]) -> None:
    payload = SAMPLES[cls] | {"addedLater": {"by": ["another", "team"], "at": None}}
    assert wire(read(cls, payload)) == payload


@each_class
def test_an_empty_id_is_refused(cls: type[EventData]) -> None:
    for name in (name for name in SAMPLES[cls] if name == "id" or name.endswith("Id")):
        with pytest.raises(ValidationError) as refused:
            read(cls, SAMPLES[cls] | {name: ""})
        assert faults(refused.value) == [("string_too_short", name)]


def test_any_text_is_an_id() -> None:
    for odd in ("listing-uuid", "7", " ", "a/b:c", "номер"):
        assert read(ListingCreated, SAMPLES[ListingCreated] | {"id": odd}).id == odd


@each_class
def test_lanes_reasons_and_statuses_are_open(cls: type[EventData]) -> None:
    open_fields = {"lane", "reason", "refundStatus", "kind", "outcome", "tier"}
    words = open_fields & {field.alias for field in cls.model_fields.values()}
    payload = SAMPLES[cls] | {str(word): "never-seen-before" for word in words}
    assert wire(read(cls, payload)) == payload


@pytest.mark.parametrize("cls", CURRENCIES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("bad", ["", "US", "USDT", "Usd", "U$D", "USD\n", 840])
def test_a_currency_that_is_no_iso_4217_code_is_refused(cls: type[EventData], bad: object) -> None:
    with pytest.raises(ValidationError) as refused:
        read(cls, SAMPLES[cls] | {"currency": bad})
    assert [where for _, where in faults(refused.value)] == ["currency"]


def test_every_amount_has_a_currency_beside_it() -> None:
    with_amount = [cls for cls in WIRE if any("Decimal" in str(f.annotation) for f in cls.model_fields.values())]
    assert [cls for cls in with_amount if cls is not ReviewCreated] == CURRENCIES


@pytest.mark.parametrize("name", ["amount", "acceptedAmount", "finalAmount", "price"])
@pytest.mark.parametrize("bad", [-1, 1234567890123456, "NaN", "Infinity", "much"])
def test_a_negative_endless_or_too_long_amount_is_refused(name: str, bad: object) -> None:
    for cls in classes_with(name):
        with pytest.raises(ValidationError) as refused:
            read(cls, SAMPLES[cls] | {name: bad})
        assert [where for _, where in faults(refused.value)] == [name]


@given(st.decimals(min_value=0, max_value=Decimal("9999999999999.99"), places=2))
def test_an_amount_is_a_json_number_and_exact(amount: Decimal) -> None:
    paid = example(PaymentCompleted).model_copy(update={"amount": amount})
    written = wire(paid)["amount"]
    assert isinstance(written, int | float)
    assert read(PaymentCompleted, wire(paid)).amount == amount


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize(
    "moment", ["2026-03-02T12:00:00Z", "2026-03-02T13:00:00+01:00", "2026-03-02T06:30:00.000999-05:30"]
)
def test_moments_are_written_in_utc_with_milliseconds_and_z(name: str, moment: str) -> None:
    for cls in classes_with(name):
        assert wire(read(cls, SAMPLES[cls] | {name: moment}))[name] == "2026-03-02T12:00:00.000Z"


@pytest.mark.parametrize("name", MOMENTS)
def test_a_moment_without_a_zone_is_refused(name: str) -> None:
    for cls in classes_with(name):
        with pytest.raises(ValidationError) as refused:
            read(cls, SAMPLES[cls] | {name: "2026-03-02T12:00:00"})
        assert [where for _, where in faults(refused.value)] == [name]


def test_moments_are_datetimes_and_date_times_in_the_schema() -> None:
    east = datetime(2026, 3, 2, 13, tzinfo=timezone(timedelta(hours=1)))
    event = ListingPublished(id="listing-uuid", seller_id="seller-uuid", lane="vendora", published_at=east)
    assert event.model_dump()["publishedAt"] == datetime(2026, 3, 2, 12, tzinfo=UTC)
    moment = {"type": "string", "format": "date-time"}
    read_schema = ListingPublished.model_json_schema()["properties"]["publishedAt"]
    written_schema = ListingPublished.model_json_schema(mode="serialization")["properties"]["publishedAt"]
    assert read_schema["anyOf"] == [moment, {"type": "null"}]
    assert moment.items() <= written_schema.items()


def test_every_moment_is_among_those_tested_above() -> None:
    fields = [field for cls in WIRE for field in cls.model_json_schema()["properties"].items()]
    assert {name for name, schema in fields if "date-time" in str(schema)} == set(MOMENTS)


updates = st.fixed_dictionaries(
    {"id": st.text(min_size=1)},
    optional={
        "title": st.none() | st.text(),
        "lane": st.none() | st.text(),
        "sellerId": st.none() | st.text(min_size=1),
        "price": st.none() | st.integers(0, 10**15 - 1) | st.integers(0, 10**9).map(lambda n: n / 100),
        "currency": st.none() | st.sampled_from(["USD", "EUR"]),
        "sellerName": st.none() | st.text(),
    },
)


@given(updates)
def test_absent_null_and_value_survive_a_listing_update(payload: dict[str, Any]) -> None:
    event = read(ListingUpdated, payload)
    assert {ListingUpdated.model_fields[name].alias for name in event.model_fields_set} == payload.keys()
    assert wire(event) == payload


def test_a_listing_update_keeps_absent_null_and_value_apart() -> None:
    absent = ListingUpdated(id="7")
    null = ListingUpdated(id="7", title=None)
    value = ListingUpdated(id="7", title="Catering")
    assert ["title" in update.model_fields_set for update in (absent, null, value)] == [False, True, True]
    assert [wire(absent), wire(null)] == [{"id": "7"}, {"id": "7", "title": None}]
    assert wire(value) == {"id": "7", "title": "Catering"}


def test_each_field_of_a_created_listing_can_be_updated() -> None:
    assert list(ListingUpdated.model_fields)[:-1] == list(ListingCreated.model_fields)[:-1]
    assert (list(ListingUpdated.model_fields)[-1], list(ListingCreated.model_fields)[-1]) == (
        "updated_at",
        "created_at",
    )


def test_a_removed_picture_differs_from_an_untouched_one() -> None:
    for payload in ({"id": "seller-uuid", "avatarUrl": None}, {"id": "seller-uuid"}):
        profile = read(UserProfileUpdated, payload)
        assert ("avatar_url" in profile.model_fields_set) == ("avatarUrl" in payload)
        assert wire(profile) == payload


def test_a_subscription_without_a_listing_limit_has_null() -> None:
    unlimited = read(SubscriptionChanged, SAMPLES[SubscriptionChanged] | {"listingLimit": None})
    assert unlimited.listing_limit is None
    assert wire(unlimited)["listingLimit"] is None


def test_a_rating_lies_within_its_scale() -> None:
    review = SAMPLES[ReviewCreated]
    assert read(ReviewCreated, review | {"rating": 90, "ratingScale": 100}).rating == Decimal(90)
    for bad in ({"rating": 5.5, "ratingScale": 5}, {"rating": -1}, {"ratingScale": 0}):
        with pytest.raises(ValidationError):
            read(ReviewCreated, review | bad)


def test_refusals_do_not_show_the_payload() -> None:
    for bad in ({"rating": 987654321}, {"rating": -987654321}, {"orderId": {"987654321": 1}}):
        with pytest.raises(ValidationError) as refused:
            read(ReviewCreated, SAMPLES[ReviewCreated] | bad)
        assert "987654321" not in str(refused.value)


@pytest.mark.parametrize("name", ["views", "quotes", "orders", "listingLimit"])
def test_counts_are_not_negative(name: str) -> None:
    for cls in classes_with(name):
        with pytest.raises(ValidationError) as refused:
            read(cls, SAMPLES[cls] | {name: -1})
        assert faults(refused.value) == [("greater_than_equal", name)]


def undocumented(source: str) -> Iterator[str]:
    for cls in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        if not ast.get_docstring(cls):
            yield cls.name
        for field, after in pairwise([*cls.body, ast.Pass()]):
            told = isinstance(after, ast.Expr) and ast.unparse(after).rstrip("'\"").endswith(".")
            if isinstance(field, ast.AnnAssign) and not told:
                yield f"{cls.name}.{ast.unparse(field.target)}"


def test_every_class_and_field_says_what_it_means() -> None:
    package = Path(eventzr_marketplace_events.__file__).parent
    sources = {path.name: path.read_text(encoding="utf-8") for path in package.glob("*.py")}
    assert "listing.py" in sources
    assert [(name, gap) for name, source in sources.items() for gap in undocumented(source)] == []
    assert list(undocumented("class A:\n    b: int\n    'no full stop'\n    c: int")) == ["A", "A.b", "A.c"]
