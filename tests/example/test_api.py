"""What a client of the HTTP API sees, without Kafka."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from examples.marketplace_service.api.transactions import Answer
from examples.marketplace_service.database import sessions
from examples.marketplace_service.settings import Settings
from sqlalchemy import delete, select
from tests.example.conftest import Tenant, service

from eventzr_kafka import KafkaSettings
from eventzr_kafka.outbox.tables import events
from eventzr_marketplace_events import topics


async def outbox_topics(tenant_id: str) -> list[str]:
    async with sessions() as session:
        rows = await session.scalars(
            select(events.c.topic).where(events.c.tenant_id == tenant_id).order_by(events.c.id)
        )
        return [topic.removeprefix("eventzr.marketplace.").removesuffix(".v1") for topic in rows]


async def test_each_step_of_a_listing_is_announced(tenant: Tenant) -> None:
    listing = await tenant.listing(publish=False)
    path = f"/listings/{listing['id']}"
    states = [listing["state"], (await tenant.post(f"{path}/publish"))["state"]]
    states.append((await tenant.patch(path, {"price": 240}))["state"])
    states.append((await tenant.post(f"{path}/close", {"reason": "sold_out"}))["state"])

    assert states == ["draft", "published", "updated", "closed"]
    assert await outbox_topics("tenant-a") == [
        "listing.created",
        "listing.published",
        "listing.updated",
        "listing.closed",
    ]


async def test_accepted_quote_makes_its_order_at_once(tenant: Tenant) -> None:
    order = await tenant.order(amount=199.99)

    assert (order["state"], order["amount"]) == ("created", 199.99)
    assert (await tenant.get(f"/quotes/{order['quoteId']}"))["state"] == "accepted"
    assert (await outbox_topics("tenant-a"))[-3:] == ["quote.submitted", "quote.accepted", "order.created"]


async def test_forbidden_transition_is_a_409(tenant: Tenant) -> None:
    order = await tenant.order()
    before = await outbox_topics("tenant-a")

    response = await tenant.call("POST", f"/orders/{order['id']}/deliver")

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "https://problems.example/marketplace/illegal-transition",
        "title": "Conflict",
        "status": 409,
        "detail": "cannot deliver this order: it is created",
    }
    assert await outbox_topics("tenant-a") == before


async def test_quote_on_closed_listing_is_refused(tenant: Tenant) -> None:
    listing = await tenant.listing()
    quote = await tenant.post(f"/listings/{listing['id']}/quotes", {"buyerId": "b", "amount": 1})
    await tenant.post(f"/listings/{listing['id']}/close", {"reason": "sold_out"})

    response = await tenant.call("POST", f"/quotes/{quote['id']}/accept")

    assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (409, "listing-not-open")
    assert (await tenant.get(f"/quotes/{quote['id']}"))["state"] == "submitted"
    assert await tenant.get("/orders") == []


async def test_cancelled_order_has_no_dispute(tenant: Tenant) -> None:
    order = await tenant.order()
    await tenant.post(f"/orders/{order['id']}/cancel", {"reason": "buyer_request"})

    response = await tenant.call("POST", f"/orders/{order['id']}/disputes", {"reason": "late"})

    assert (response.status_code, response.json()["detail"]) == (409, "cannot dispute this order: it is cancelled")
    assert await tenant.get("/disputes") == []


@pytest.mark.parametrize("body", [{}, {"title": None}])
async def test_empty_change_is_a_422(tenant: Tenant, body: dict[str, Any]) -> None:
    listing = await tenant.listing()
    before = await outbox_topics("tenant-a")

    response = await tenant.call("PATCH", f"/listings/{listing['id']}", body)

    assert (response.status_code, response.json()["detail"]) == (422, "body: Value error, give at least one field")
    assert await outbox_topics("tenant-a") == before


async def test_oversized_evidence_is_a_422_without_a_dispute(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    evidence = [
        {"kind": "message", "description": "\N{GREEK SMALL LETTER ALPHA}" * 4_000, "url": "\N{BELL}" * 4_000}
    ] * 50

    response = await tenant.call("POST", f"/orders/{order['id']}/disputes", {"reason": "late", "evidence": evidence})

    assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (422, "unpublishable")
    assert "the limit is" in response.json()["detail"]
    assert await tenant.get("/disputes") == []


async def test_tier_limits_open_listings_until_one_closes(tenant: Tenant) -> None:
    listings = [await tenant.listing() for _ in range(5)]
    draft = await tenant.listing(publish=False)
    path = f"/listings/{draft['id']}/publish"

    refused = await tenant.call("POST", path)
    await tenant.post(f"/listings/{listings[0]['id']}/close", {"reason": "expired"})

    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "listing-limit-reached")
    assert (await tenant.post(path))["state"] == "published"


async def test_rfp_goes_to_sellers_in_its_lanes(tenant: Tenant, other: Tenant) -> None:
    await tenant.listing(seller="in-lane")
    await tenant.listing(seller="elsewhere", lane="speakers")
    await tenant.listing(seller="draft-only", publish=False)
    await other.listing(seller="of-another-tenant")

    rfp = await tenant.post(
        "/rfps",
        {
            "buyerId": "b",
            "title": "Lunch",
            "requirements": ["vegan"],
            "targetLanes": ["vendora"],
            "deadline": "2030-01-01T00:00:00Z",
        },
    )

    assert rfp["sellers"] == ["in-lane"]
    assert (await tenant.get(f"/rfps/{rfp['id']}"))["sellers"] == ["in-lane"]


async def test_rfp_with_a_past_deadline_is_a_422(tenant: Tenant) -> None:
    rfp = {"buyerId": "b", "title": "T", "requirements": [], "targetLanes": ["x"], "deadline": "2020-01-01T00:00:00Z"}

    response = await tenant.call("POST", "/rfps", rfp)

    assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (422, "deadline-passed")
    assert response.json()["detail"] == "the deadline 2020-01-01T00:00:00+00:00 has passed"
    assert await outbox_topics("tenant-a") == []


async def test_change_to_the_same_values_is_a_409(tenant: Tenant) -> None:
    listing = await tenant.listing()
    before = await outbox_topics("tenant-a")

    response = await tenant.call("PATCH", f"/listings/{listing['id']}", {"title": "Hall", "price": 250.50})

    assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (409, "unchanged")
    assert response.json()["detail"] == f"listing {listing['id']!r} has these values already"
    assert (await tenant.get(f"/listings/{listing['id']}"))["state"] == "published"
    assert await outbox_topics("tenant-a") == before


async def test_update_announces_what_has_changed(tenant: Tenant) -> None:
    listing = await tenant.listing()

    await tenant.patch(f"/listings/{listing['id']}", {"title": "Hall", "price": 1})

    async with sessions() as session:
        (payload,) = await session.scalars(select(events.c.value).where(events.c.topic.like("%listing.updated%")))
    assert json.loads(payload)["data"] == {"id": listing["id"], "price": 1}


async def test_repeated_post_gets_the_first_answer(tenant: Tenant, other: Tenant) -> None:
    body = {"sellerId": "s", "title": "Hall", "lane": "vendora", "price": 1, "currency": "USD"}

    first = await tenant.call("POST", "/listings", body, key="k1")
    again = await tenant.call("POST", "/listings", body, key="k1")
    changed = await tenant.call("POST", "/listings", {**body, "price": 2}, key="k1")
    elsewhere = await other.call("POST", "/listings", body, key="k1")

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert changed.status_code == 422
    assert elsewhere.json()["id"] != first.json()["id"]
    assert await outbox_topics("tenant-a") == ["listing.created"]


async def test_refused_post_may_reuse_its_key(tenant: Tenant) -> None:
    listing = await tenant.listing(publish=False)
    path = f"/listings/{listing['id']}/quotes"
    body = {"buyerId": "b", "amount": 1}

    refused = await tenant.call("POST", path, body, key="k1")
    await tenant.post(f"/listings/{listing['id']}/publish")

    assert refused.status_code == 409
    assert (await tenant.call("POST", path, body, key="k1")).status_code == 201


@pytest.mark.parametrize(
    ("headers", "problem"),
    [({}, "X-Tenant-Id"), ({"X-Tenant-Id": "t"}, "Idempotency-Key"), ({"X-Tenant-Id": "t" * 201}, "X-Tenant-Id")],
)
async def test_missing_or_endless_header_is_a_400(
    client: httpx.AsyncClient, headers: dict[str, str], problem: str
) -> None:
    response = await client.post("/listings", json={}, headers=headers)

    assert response.status_code == 400
    assert problem in response.json()["detail"]


async def test_missing_headers_get_one_answer_everywhere(database_url: str) -> None:
    async with service(Settings(database_url=database_url, playground=True), KafkaSettings(enabled=False)) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        calls = [(name, path) for path in paths if not path.startswith("/health") for name in paths[path]]
        posts = [path for name, path in calls if name == "post"]
        nobodys = [await client.request(name, path) for name, path in calls]
        keyless = [await client.post(path, headers={"X-Tenant-Id": "t"}) for path in posts]

    assert (len(nobodys), len(keyless)) == (32, 13)
    assert {answer.headers["content-type"] for answer in (*nobodys, *keyless)} == {"application/problem+json"}
    missing = {(answer.status_code, answer.json()["detail"]) for answer in nobodys}
    assert missing == {(400, "the header X-Tenant-Id is missing")}
    missing = {(answer.status_code, answer.json()["detail"]) for answer in keyless}
    assert missing == {(400, "the header Idempotency-Key is missing")}


async def test_repeated_request_is_one_event(database_url: str) -> None:
    path = "/playground/eventzr.user.profile.updated.v1"
    async with service(Settings(database_url=database_url, playground=True), KafkaSettings(enabled=False)) as client:
        tenant, other = Tenant(client, "tenant-a"), Tenant(client, "tenant-b")
        first = await tenant.call("POST", path, {"id": "u"}, key="k1")
        again = await tenant.call("POST", path, {"id": "u"}, key="k1")
        async with sessions.begin() as session:
            await session.execute(delete(Answer))  # as if it had died before the answer was kept
        later = await tenant.call("POST", path, {"id": "u"}, key="k1")
        others = [await tenant.call("POST", path, {"id": "u"}), await other.call("POST", path, {"id": "u"}, key="k1")]

    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert later.json()["eventId"] == first.json()["eventId"]
    assert len({answer.json()["eventId"] for answer in (first, *others)}) == 3


async def test_client_cannot_add_a_tenant(client: httpx.AsyncClient) -> None:
    response = await client.get("/listings", headers=[("X-Tenant-Id", "mine"), ("X-Tenant-Id", "the gateway's")])

    assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (400, "malformed-header")


@pytest.mark.parametrize("change", [{"price": -1}, {"currency": "usd"}, {"title": " "}, {"surprise": 1}])
async def test_invalid_body_is_a_422_that_says_where(tenant: Tenant, change: dict[str, Any]) -> None:
    body = {"sellerId": "s", "title": "Hall", "lane": "vendora", "price": 1, "currency": "USD", **change}

    response = await tenant.call("POST", "/listings", body)

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"][0]["at"] == f"body.{next(iter(change))}"


async def test_openapi_names_all_headers(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    commands = [operations["post"] for operations in paths.values() if "post" in operations]

    assert len(commands) == 12
    for command in commands:
        assert {"x-tenant-id", "idempotency-key"} <= {parameter["name"] for parameter in command["parameters"]}


async def test_probes_answer_without_kafka(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "alive"}
    assert (await client.get("/health/ready")).json() == {"status": "ready"}


async def test_commands_announce_all_12_events(tenant: Tenant) -> None:
    listing = await tenant.listing()
    await tenant.patch(f"/listings/{listing['id']}", {"title": "Great hall"})
    order = await tenant.order(listing=listing, paid=True)
    dispute = await tenant.post(f"/orders/{order['id']}/disputes", {"reason": "late"})
    await tenant.post(f"/disputes/{dispute['id']}/resolve", {"outcome": "split", "refund": 50})
    await tenant.post(f"/orders/{order['id']}/deliver")
    await tenant.post(f"/orders/{order['id']}/complete")
    unpaid = await tenant.order(listing=listing)
    await tenant.post(f"/orders/{unpaid['id']}/cancel", {"reason": "buyer_request"})
    await tenant.post(f"/listings/{listing['id']}/close", {"reason": "expired"})
    rfp = {"buyerId": "b", "title": "T", "requirements": [], "targetLanes": ["x"], "deadline": "2030-01-01T00:00:00Z"}
    await tenant.post("/rfps", rfp)

    announced = {f"eventzr.marketplace.{name}.v1" for name in await outbox_topics("tenant-a")}
    assert announced == set(topics.PRODUCED)
