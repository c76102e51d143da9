"""Two transactions at once on PostgreSQL: rows are locked in one order, and no change is lost.

One transaction is the test's own. It goes on once the database says that the other one waits for it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
from examples.marketplace_service.database import TenantOwned, now, sessions
from examples.marketplace_service.domain import disputes, listings, payouts, quotes, sellers
from examples.marketplace_service.domain.errors import AlreadyDoneError
from examples.marketplace_service.domain.models import Listing, Member, Quote
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from examples.marketplace_service.schema import migrate
from examples.marketplace_service.settings import Settings
from sqlalchemy import text
from tests.example.conftest import Tenant, service
from tests.postgres import Databases

from eventzr_kafka import KafkaSettings
from eventzr_marketplace_events import EscrowReleased, ReviewCreated, UserProfileUpdated

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


async def some_wait(count: int = 1) -> None:
    async with asyncio.timeout(60), sessions() as session:
        while (await session.scalar(BLOCKED) or 0) < count:
            await session.rollback()  # the view is as of the transaction's first look
            await asyncio.sleep(0.01)


@asynccontextmanager
async def while_it_waits(unit: UnitOfWork, work: Callable[[UnitOfWork], Awaitable[object]]) -> AsyncGenerator[None]:
    """Begin another transaction, which must wait for this one; it is ended when this one has been."""

    async def other() -> None:
        async with sessions.begin() as session:
            await work(UnitOfWork(session, unit.tenant_id))

    task = asyncio.create_task(other())
    await some_wait()
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
        await some_wait()
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


async def test_racing_disputes_open_one(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    path = f"/orders/{order['id']}/disputes"

    answers = await asyncio.gather(*(tenant.call("POST", path, {"reason": "late"}) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert len(await tenant.get("/disputes")) == 1


async def test_release_waits_for_a_dispute_being_opened(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    await tenant.post(f"/orders/{order['id']}/deliver")
    body = {"id": "e", "orderId": order["id"], "sellerId": "seller-1", "amount": 200, "currency": "USD"}
    released = EscrowReleased.model_validate(body)

    async with sessions() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await disputes.open_dispute(unit, order["id"], reason="late", evidence=[])
        async with while_it_waits(unit, lambda other: payouts.apply_escrow_release(other, released)):
            pass

    payout = await tenant.get(f"/payouts/{order['id']}")
    assert (payout["state"], payout["escrowId"]) == ("pending", "e")


async def test_racing_payments_and_cancels_keep_every_cent(tenant: Tenant) -> None:
    order_list = [await tenant.order(listing=await tenant.listing(seller=f"seller-{n}")) for n in range(4)]

    async def cancel(order: Any) -> None:
        await tenant.call("POST", f"/orders/{order['id']}/cancel", {"reason": "r"})

    async def pay(order: Any) -> None:
        with suppress(AlreadyDoneError):
            await tenant.pay(order)

    await asyncio.gather(*(act(order) for order in order_list for act in (pay, pay, cancel, pay, pay)))

    for order in await tenant.get("/orders"):
        assert (order["state"], order["paid"], order["refunded"]) == ("cancelled", 200, 200)


async def test_parallel_requests_of_one_key_get_one_answer(tenant: Tenant) -> None:
    listing = await tenant.listing()
    quote = await tenant.post(f"/listings/{listing['id']}/quotes", {"buyerId": "b", "amount": 1})
    path = f"/quotes/{quote['id']}/accept"

    async with sessions() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await unit.lock(Listing, listing["id"])  # the first request waits for it, the others for the first one's key
        requests = [asyncio.create_task(tenant.call("POST", path, key="one key")) for _ in range(8)]
        await some_wait(8)
        await session.rollback()
    answers = await asyncio.gather(*requests)

    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7
    assert len(await tenant.get("/orders")) == 1


async def test_failed_request_leaves_its_key_to_the_next(tenant: Tenant) -> None:
    listing = await tenant.listing(publish=False)
    path = f"/listings/{listing['id']}/publish"

    async with sessions() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await listings.close(unit, listing["id"], "expired")
        await session.flush()
        requests = [asyncio.create_task(tenant.call("POST", path, key="one key")) for _ in range(4)]
        await some_wait(4)
        await session.commit()
    answers = await asyncio.gather(*requests)

    assert {(answer.status_code, answer.content) for answer in answers} == {(409, answers[0].content)}
    assert "cannot publish this listing: it is closed" in answers[0].text
