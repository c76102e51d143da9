"""No tenant sees or changes what is another's, whatever endpoint it tries."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any
from urllib.parse import quote

import httpx
from examples.marketplace_service.activity import Activity, DeadLetter
from examples.marketplace_service.database import now, sessions
from examples.marketplace_service.domain import event_contexts, orders
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from examples.marketplace_service.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from tests.example.conftest import OTHER, TENANT, Tenant, service

from eventzr_kafka import KafkaSettings
from eventzr_kafka.outbox.tables import events
from eventzr_marketplace_events import EventCreated

RFP = {"buyerId": "b", "title": "T", "requirements": [], "targetLanes": ["x"], "deadline": "2030-01-01T00:00:00Z"}
BODIES: dict[str, Any] = {
    "/listings/{listing_id}": {"title": "stolen"},
    "/listings/{listing_id}/close": {"reason": "r"},
    "/listings/{listing_id}/quotes": {"buyerId": "b", "amount": 1},
    "/orders/{order_id}/cancel": {"reason": "r"},
    "/orders/{order_id}/disputes": {"reason": "r"},
    "/disputes/{dispute_id}/resolve": {"outcome": "seller_paid"},
}

LISTS = {"/listings", "/quotes", "/orders", "/payouts", "/disputes", "/sellers", "/activity", "/dead-letters"}


async def everything_of(tenant: Tenant) -> dict[str, str]:
    """One of each kind of thing; ids by the name of the path's parameter."""
    listing = await tenant.listing()
    order = await tenant.order(listing=listing)
    await tenant.pay(order)
    dispute = await tenant.post(f"/orders/{order['id']}/disputes", {"reason": "r"})
    rfp = await tenant.post("/rfps", RFP)
    fair = EventCreated.model_validate({"id": "fair", "exhibitorSlots": 2, "sponsorshipOpportunities": []})
    async with sessions.begin() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await event_contexts.apply_event(unit, fair)
        await orders.deliver(unit, order["id"])
        session.add(
            DeadLetter(
                tenant_id=tenant.tenant_id,
                position="topic[0]@7",
                topic="topic",
                event_id="e",
                handler="h",
                error="E",
                reason="r",
                attempts=1,
                failed_at=now(),
            )
        )
    return {
        "listing_id": listing["id"],
        "quote_id": order["quoteId"],
        "order_id": order["id"],
        "dispute_id": dispute["id"],
        "rfp_id": rfp["id"],
        "seller_id": listing["sellerId"],
        "event_id": "fair",
        "position": "topic[0]@7",
    }


MADE_UP = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda key: set(key) != {"."})


def test_foreign_id_answers_404_and_changes_nothing(database_url: str) -> None:
    @settings(max_examples=3)
    @given(st.lists(MADE_UP, min_size=3, max_size=3))
    def one(made_up: list[str]) -> None:
        asyncio.run(try_everything(database_url, made_up))

    one()


async def try_everything(url: str, made_up: list[str]) -> None:
    async with service(Settings(database_url=url), KafkaSettings(enabled=False)) as client:
        owner, stranger = Tenant(client, uuid.uuid4().hex), Tenant(client, uuid.uuid4().hex)
        ids = await everything_of(owner)
        before = await all_of(owner)
        paths = (await client.get("/openapi.json")).json()["paths"]
        endpoints = [(path, method.upper()) for path, methods in paths.items() if "{" in path for method in methods]
        assert len(endpoints) == 19

        for named in (ids, *(dict.fromkeys(ids, key) for key in (ids["order_id"], *made_up))):
            quoted = {name: quote(key, safe="") for name, key in named.items()}
            for path, method in endpoints:
                response = await stranger.call(method, path.format(**quoted), BODIES.get(path))
                assert response.status_code == 404, (method, path, response.text)
                assert response.headers["content-type"] == "application/problem+json"

        assert await all_of(owner) == before
        assert await all_of(stranger) == [[]] * len(before)


async def all_of(tenant: Tenant) -> list[Any]:
    """What a tenant can see, and what it has to publish."""
    async with sessions() as session:
        published = list(await session.scalars(select(events.c.event_id).where(events.c.tenant_id == tenant.tenant_id)))
    return [published, *[await tenant.get(path) for path in sorted(LISTS)]]


async def test_empty_tenant_has_empty_lists(client: httpx.AsyncClient, tenant: Tenant, other: Tenant) -> None:
    await everything_of(other)
    paths = (await client.get("/openapi.json")).json()["paths"]
    lists = [path for path in paths if "{" not in path and "get" in paths[path] and not path.startswith("/health")]

    answers = {path: await tenant.get(path) for path in lists if path not in {"/activity/stream", "/event-counts"}}

    assert set(answers) == LISTS
    assert all(answer == [] for answer in answers.values())
    assert (await tenant.get("/event-counts"))["published"] == 0


async def test_one_id_in_two_tenants_is_two_things(tenant: Tenant, other: Tenant) -> None:
    await tenant.listing(seller="same", title="mine")
    await other.listing(seller="same", title="theirs")

    assert [found["title"] for found in await tenant.get("/listings")] == ["mine"]
    async with sessions() as session:
        tenants = set(await session.scalars(select(Activity.tenant_id)))
    assert tenants == {TENANT, OTHER}
