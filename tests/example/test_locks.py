"""Two transactions at once on PostgreSQL: rows are locked in one order, and no change is lost.

One transaction is the test's own. It goes on once the database says that the other one waits for it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
from examples.marketplace_service.database import TenantOwned, now, sessions
from examples.marketplace_service.domain import listings, quotes, sellers
from examples.marketplace_service.domain.models import Listing, Member, Quote
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from examples.marketplace_service.schema import migrate
from examples.marketplace_service.settings import Settings
from sqlalchemy import text
from tests.example.conftest import Tenant, service
from tests.postgres import Databases

from eventzr_kafka import KafkaSettings
from eventzr_marketplace_events import ReviewCreated, UserProfileUpdated

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
PROFILE = UserProfileUpdated.model_validate({"id": "seller-1", "displayName": "New name"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(postgres: Databases) -> AsyncGenerator[httpx.AsyncClient]:
    """The service, for all tests of this file; each has a tenant of its own."""
    url = postgres.create_database(uuid.uuid4().hex)
    migrate(url)
    async with service(Settings(database_url=url), KafkaSettings(enabled=False)) as client:
        yield client


@pytest.fixture
def tenant(client: httpx.AsyncClient) -> Tenant:
    return Tenant(client, uuid.uuid4().hex)


async def one_waits() -> None:
    async with asyncio.timeout(60), sessions() as session:
        while not await session.scalar(BLOCKED):
            await session.rollback()  # the view is as of the transaction's first look
            await asyncio.sleep(0.01)


@asynccontextmanager
async def while_it_waits(unit: UnitOfWork, work: Callable[[UnitOfWork], Awaitable[object]]) -> AsyncGenerator[None]:
    """Begin another transaction, which must wait for this one; it is ended when this one has been."""

    async def other() -> None:
        async with sessions.begin() as session:
            await work(UnitOfWork(session, unit.tenant_id))

    task = asyncio.create_task(other())
    await one_waits()
    yield
    await unit.session.commit()
    await task


async def is_free(unit: UnitOfWork, model: type[TenantOwned], key: str) -> bool:
    found = await unit.session.get(model, (unit.tenant_id, key), with_for_update={"skip_locked": True})
    return found is not None


async def publish(unit: UnitOfWork, listing_id: str) -> None:
    await listings.publish(unit, listing_id)


async def review(unit: UnitOfWork, listing_id: str) -> None:
    body = {"id": "r", "sellerId": "seller-1", "listingId": listing_id, "rating": 3}
    await sellers.apply_review(unit, ReviewCreated.model_validate(body))


async def rename(unit: UnitOfWork, listing_id: str) -> None:
    del listing_id  # it is the seller's
    await sellers.apply_profile(unit, PROFILE, now())


@pytest.mark.parametrize("work", [publish, review, rename])
async def test_seller_is_locked_first(tenant: Tenant, work: Callable[[UnitOfWork, str], Awaitable[None]]) -> None:
    listing = await tenant.listing(publish=False)

    async with sessions() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await unit.lock(Member, "seller-1")
        async with while_it_waits(unit, lambda other: work(other, listing["id"])):
            assert await is_free(unit, Listing, listing["id"])


async def test_accepted_quote_locks_listing_first(tenant: Tenant) -> None:
    listing = await tenant.listing()
    quote = await tenant.post(f"/listings/{listing['id']}/quotes", {"buyerId": "b", "amount": 1})

    async with sessions() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await unit.lock(Listing, listing["id"])
        async with while_it_waits(unit, lambda other: quotes.accept(other, quote["id"])):
            assert await is_free(unit, Quote, quote["id"])


async def test_closed_listing_is_not_reopened_by_a_new_name(tenant: Tenant) -> None:
    listing = await tenant.listing()

    async with sessions() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await listings.close(unit, listing["id"], "sold_out")
        await session.flush()
        async with while_it_waits(unit, lambda other: rename(other, listing["id"])):
            pass

    (found,) = await tenant.get("/listings")
    assert (found["state"], found["sellerName"]) == ("closed", "New name")


async def test_deadlock_is_a_503_and_its_repetition_succeeds(tenant: Tenant) -> None:
    listing = await tenant.listing(publish=False)
    path = f"/listings/{listing['id']}/publish"

    async with sessions() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await unit.lock(Listing, listing["id"])
        request = asyncio.create_task(tenant.call("POST", path, key="k"))
        await one_waits()
        await unit.lock(Member, "seller-1")  # against the order: PostgreSQL ends the one that has waited longer
        refused = await request

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await tenant.call("POST", path, key="k")).status_code == 200


async def test_text_postgresql_cannot_hold_is_refused(tenant: Tenant) -> None:
    body = {"sellerId": "s", "title": "a\0b", "lane": "vendora", "price": 1, "currency": "USD"}

    refused = await tenant.call("POST", "/listings", body)

    assert (refused.status_code, refused.json()["detail"]) == (422, "the database cannot store a value of this request")
    assert (await tenant.call("GET", "/listings/a%00b")).status_code == 422
