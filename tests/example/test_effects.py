"""What the neighbours' events do, through the real handlers on a broker in memory, and when they do nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from examples.marketplace_service.database import now
from examples.marketplace_service.domain import sellers
from examples.marketplace_service.events.consumer import NeighbourEvents
from tests.example.conftest import TENANT, Tenant
from tests.waiting import until

from eventzr_kafka import CloudEvent, EventData
from eventzr_kafka.testing import Events
from eventzr_marketplace_events import (
    EscrowReleased,
    EventCreated,
    PaymentCompleted,
    ReviewCreated,
    SubscriptionChanged,
    UserProfileUpdated,
)

MONDAY, TUESDAY, WEDNESDAY = (datetime(2026, 3, day, tzinfo=UTC) for day in (2, 3, 4))


@pytest.fixture
async def events(events: Events, tenant: Tenant) -> AsyncGenerator[Events]:
    del tenant  # opens the database
    events.subscribe(NeighbourEvents())
    async with events.running():
        yield events


def review(listing: Any, **changes: Any) -> ReviewCreated:
    body = {"id": "r1", "sellerId": listing["sellerId"], "listingId": listing["id"], "rating": 4, **changes}
    return ReviewCreated.model_validate(body)


async def reason_of(events: Events, payload: Any) -> str:
    """Why an event ended among the dead letters at once."""
    event = await events.emit(payload, tenant_id=TENANT, expect="dead-lettered")
    (letter,) = [letter for letter in events.dead_letters() if letter.facts.event_id == event.id]
    assert (letter.facts.error, letter.facts.attempts) == ("Reject", 1)
    return letter.facts.reason


async def test_repeated_review_leaves_rating(events: Events, tenant: Tenant) -> None:
    hall, tent = await tenant.listing(), await tenant.listing()

    for said in (review(hall), review(hall), review(hall, id="r2", rating=7, ratingScale=10), review(tent, id="r3")):
        await events.emit(said, tenant_id=TENANT)

    seller = await tenant.get("/sellers/seller-1")
    assert (seller["rating"], seller["ratingCount"]) == (3.83, 3)  # of 4, 3.5 and 4
    scores = {found["id"]: found["qualityScore"] for found in await tenant.get("/listings")}
    assert scores == {hall["id"]: 75, tent["id"]: 80}


async def test_review_counts_for_its_own_seller(events: Events, tenant: Tenant) -> None:
    hall, tent = await tenant.listing(), await tenant.listing(seller="rival")
    order = await tenant.order(listing=tent)

    assert "names another seller than its listing" in await reason_of(events, review(hall, sellerId="rival"))
    assert "names another listing than its order" in await reason_of(events, review(hall, orderId=order["id"]))
    assert {seller["ratingCount"] for seller in await tenant.get("/sellers")} == {0}


async def test_escrow_goes_to_orders_seller(events: Events, tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    await tenant.post(f"/orders/{order['id']}/deliver")
    release = {"id": "e", "orderId": order["id"], "sellerId": "thief", "amount": 200, "currency": "USD"}

    assert "names another seller than its order" in await reason_of(events, EscrowReleased.model_validate(release))
    assert (await tenant.get(f"/payouts/{order['id']}"))["state"] == "pending"
    await events.emit(EscrowReleased.model_validate({**release, "sellerId": "seller-1"}), tenant_id=TENANT)
    assert (await tenant.get(f"/payouts/{order['id']}"))["state"] == "complete"


async def test_payment_counts_once_and_other_money_is_rejected(events: Events, tenant: Tenant) -> None:
    order = await tenant.order()
    sum_ = {"orderId": order["id"], "amount": 200, "currency": "USD"}
    payment = PaymentCompleted.model_validate({"id": "p1", **sum_})
    release = EscrowReleased.model_validate({"id": "e1", "sellerId": "seller-1", **sum_})

    for _ in range(2):
        await events.emit(payment, tenant_id=TENANT)
    await tenant.post(f"/orders/{order['id']}/deliver")
    for _ in range(2):
        await events.emit(release, tenant_id=TENANT)

    assert (await tenant.get(f"/orders/{order['id']}"))["paymentId"] == "p1"
    assert (await tenant.get(f"/payouts/{order['id']}"))["escrowId"] == "e1"
    paid_twice, released_twice = (said.model_copy(update={"id": "new"}) for said in (payment, release))
    assert await reason_of(events, paid_twice) == f"order {order['id']!r} was paid by 'p1' already"
    assert await reason_of(events, released_twice) == f"order {order['id']!r} was released by 'e1' already"


def subscription(tier: str, **changes: Any) -> SubscriptionChanged:
    body: dict[str, Any] = {
        "id": "s",
        "sellerId": "seller-1",
        "tier": tier,
        "entitlements": [],
        "listingLimit": 9,
        **changes,
    }
    return SubscriptionChanged.model_validate(body)


async def test_earlier_subscription_undoes_nothing(events: Events, tenant: Tenant) -> None:
    await events.emit(subscription("pro"), tenant_id=TENANT, time=TUESDAY)
    await events.emit(subscription("free"), tenant_id=TENANT, time=MONDAY)
    await events.emit(subscription("basic", effectiveAt=MONDAY), tenant_id=TENANT, time=WEDNESDAY)

    assert (await tenant.get("/sellers/seller-1"))["tier"] == "pro"
    await events.emit(subscription("free"), tenant_id=TENANT, time=WEDNESDAY)
    assert (await tenant.get("/sellers/seller-1"))["tier"] == "free"


async def test_change_announced_first_comes_in_30_days(
    events: Events, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = now()
    in_30_days = today + timedelta(days=30)
    free = subscription("free", entitlements=[], listingLimit=5, effectiveAt=in_30_days)
    gold = subscription("gold", entitlements=["featured_listings"], listingLimit=None)
    await events.emit(free, tenant_id=TENANT, time=today - timedelta(minutes=2))
    await events.emit(gold, tenant_id=TENANT, time=today - timedelta(minutes=1))  # from a backlog

    states: list[tuple[str, list[str], int | None]] = []
    for later in (today, in_30_days - timedelta(seconds=1), in_30_days):
        monkeypatch.setattr(sellers, "now", lambda at=later: at)
        await sellers.apply_due_changes()
        seller = await tenant.get("/sellers/seller-1")
        states.append((seller["tier"], seller["entitlements"], seller["listingLimit"]))

    gold_state = ("gold", ["featured_listings"], None)
    assert states == [gold_state, gold_state, ("free", [], 5)]


async def test_due_change_is_applied_in_the_background(events: Events, tenant: Tenant) -> None:
    soon = now() + timedelta(seconds=0.3)
    await events.emit(subscription("pro", effectiveAt=soon), tenant_id=TENANT)
    assert (await tenant.get("/sellers/seller-1"))["tier"] == "free"

    async def is_pro() -> bool:
        return bool((await tenant.get("/sellers/seller-1"))["tier"] == "pro")

    await until(is_pro, pause=0.05)
    assert now() >= soon


async def test_event_of_an_unknown_order_is_a_letter_at_once(events: Events, tenant: Tenant) -> None:
    sum_ = {"id": "m", "orderId": "nope", "amount": 1, "currency": "USD"}
    listing = await tenant.listing()

    assert await reason_of(events, PaymentCompleted.model_validate(sum_)) == "there is no order 'nope'"
    release = EscrowReleased.model_validate({**sum_, "sellerId": "seller-1"})
    assert await reason_of(events, release) == "there is no order 'nope'"
    assert await reason_of(events, review(listing, listingId="nope")) == "there is no listing 'nope'"
    assert await reason_of(events, review(listing, orderId="nope")) == "there is no order 'nope'"


async def test_what_is_not_sent_along_is_known_here(events: Events, tenant: Tenant) -> None:
    order = await tenant.order()
    review_of_listing = {"id": "r1", "listingId": order["listingId"], "rating": 4}
    review_of_seller = {"id": "r2", "sellerId": "seller-1", "rating": 3}

    await events.emit(PaymentCompleted.model_validate({"id": "p", "orderId": order["id"]}), tenant_id=TENANT)
    await events.emit(EscrowReleased.model_validate({"id": "e", "orderId": order["id"]}), tenant_id=TENANT)
    for body in (review_of_listing, review_of_seller):
        await events.emit(ReviewCreated.model_validate(body), tenant_id=TENANT)
    await tenant.post(f"/orders/{order['id']}/deliver")

    payout = await tenant.get(f"/payouts/{order['id']}")
    seller = await tenant.get("/sellers/seller-1")
    (listing,) = await tenant.get("/listings")
    assert (payout["state"], payout["amount"], payout["sellerId"]) == ("complete", 200, "seller-1")
    assert (seller["rating"], seller["ratingCount"], listing["qualityScore"]) == (3.5, 2, 80)


@pytest.mark.parametrize(
    "foreign",
    [
        PaymentCompleted.model_validate({"id": "p", "ticketId": "t", "amount": 25, "currency": "USD"}),
        PaymentCompleted.model_validate({"id": "p", "orderId": None, "amount": 25, "currency": "USD"}),
        EscrowReleased.model_validate({"id": "e", "bookingId": "b", "amount": 25, "currency": "USD"}),
        ReviewCreated.model_validate({"id": "r", "venueId": "v", "rating": 5}),
        SubscriptionChanged.model_validate({"id": "s", "organizerId": "o", "tier": "pro"}),
        EventCreated.model_validate({"id": "wedding", "title": "Wedding"}),
    ],
)
async def test_what_concerns_others_is_skipped(events: Events, tenant: Tenant, foreign: EventData) -> None:
    await events.emit(foreign, tenant_id=TENANT, expect="skipped")

    assert await tenant.get("/activity") == []
    assert (await tenant.call("GET", "/event-contexts/wedding")).status_code == 404


async def test_misspelled_order_is_not_skipped(events: Events) -> None:
    payment = CloudEvent[dict[str, Any]](
        id="one",
        source="wallet-svc",
        type="eventzr.wallet.payment.completed.v1",
        tenantid=TENANT,
        data={"id": "p", "order_id": "o"},
    )

    await events.emit(payment, expect="dead-lettered")

    (letter,) = events.dead_letters()
    assert letter.facts.reason == "payment 'p' has no order"


async def test_sponsorship_may_be_on_request(events: Events, tenant: Tenant) -> None:
    body = {"id": "fair", "exhibitorSlots": [{"id": 1}, {"id": 2}], "sponsorshipOpportunities": ["Gold"]}

    await events.emit(EventCreated.model_validate(body), tenant_id=TENANT)

    fair = await tenant.get("/event-contexts/fair")
    assert fair["exhibitorSlots"] == 2
    assert fair["sponsorships"] == [{"title": "Gold", "price": None, "currency": None}]


async def test_release_before_payment_and_delivery_waits(events: Events, tenant: Tenant) -> None:
    order = await tenant.order()
    path, sum_ = f"/payouts/{order['id']}", {"orderId": order["id"], "amount": 200, "currency": "USD"}
    release = EscrowReleased.model_validate({"id": "e", "sellerId": "seller-1", **sum_})
    payouts: list[Any] = []

    await events.emit(release, tenant_id=TENANT)
    payouts.append(await tenant.get(path))
    await events.emit(PaymentCompleted.model_validate({"id": "p", **sum_}), tenant_id=TENANT)
    payouts.append(await tenant.get(path))
    await tenant.post(f"/orders/{order['id']}/deliver")
    payouts.append(await tenant.get(path))

    assert [(payout["state"], payout["amount"]) for payout in payouts] == [
        ("pending", 0),
        ("pending", 200),
        ("complete", 200),
    ]
    assert {payout["escrowId"] for payout in payouts} == {"e"}


async def test_profile_keeps_what_was_said_last(events: Events, tenant: Tenant) -> None:
    await tenant.listing()
    old = UserProfileUpdated.model_validate({"id": "seller-1", "displayName": "Old", "avatarUrl": "https://a/1"})
    new = UserProfileUpdated.model_validate({"id": "seller-1", "displayName": "New"})

    await events.emit(new, tenant_id=TENANT, time=TUESDAY)
    await events.emit(old, tenant_id=TENANT, time=MONDAY)

    seller = await tenant.get("/sellers/seller-1")
    (listing,) = await tenant.get("/listings")
    assert (seller["displayName"], seller["avatarUrl"]) == ("New", "https://a/1")
    assert (listing["sellerName"], listing["sellerAvatarUrl"]) == ("New", "https://a/1")


async def test_profile_waits_for_its_seller(events: Events, tenant: Tenant) -> None:
    profile = UserProfileUpdated.model_validate({"id": "buyer-1", "displayName": "Bo"})
    await events.emit(profile, tenant_id=TENANT)

    assert await tenant.get("/sellers") == []
    assert (await tenant.call("GET", "/sellers/buyer-1")).status_code == 404
    assert (await tenant.listing(seller="buyer-1"))["sellerName"] == "Bo"
    assert [seller["id"] for seller in await tenant.get("/sellers")] == ["buyer-1"]
