"""The example service in this process: over ASGI without Kafka, or with one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from examples.marketplace_service.database import sessions
from examples.marketplace_service.domain import orders
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from examples.marketplace_service.schema import migrate
from examples.marketplace_service.settings import Settings
from examples.marketplace_service.wiring import create_app

from eventzr_kafka import KafkaSettings
from eventzr_marketplace_events import PaymentCompleted

TENANT, OTHER = "tenant-a", "tenant-b"


class Tenant:
    """One tenant's view of the service: every call carries its name, and every POST a key of its own."""

    def __init__(self, client: httpx.AsyncClient, tenant_id: str) -> None:
        self.client = client
        self.tenant_id = tenant_id

    async def call(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        headers = {"X-Tenant-Id": self.tenant_id, "Idempotency-Key": key or uuid.uuid4().hex}
        return await self.client.request(method, path, json=body, headers=headers)

    async def get(self, path: str) -> Any:
        return self._json(await self.call("GET", path))

    async def post(self, path: str, body: Any = None) -> Any:
        return self._json(await self.call("POST", path, body))

    async def patch(self, path: str, body: Any) -> Any:
        return self._json(await self.call("PATCH", path, body))

    def _json(self, response: httpx.Response) -> Any:
        assert response.is_success, f"{response.request.url}: {response.text}"
        return response.json()

    async def listing(self, *, seller: str = "seller-1", publish: bool = True, **changes: Any) -> Any:
        body = {"sellerId": seller, "title": "Hall", "lane": "vendora", "price": 250.5, "currency": "USD", **changes}
        listing = await self.post("/listings", body)
        return await self.post(f"/listings/{listing['id']}/publish") if publish else listing

    async def order(self, *, amount: float = 200, listing: Any = None, paid: bool = False) -> Any:
        listing = listing or await self.listing()
        quote = await self.post(f"/listings/{listing['id']}/quotes", {"buyerId": "buyer-1", "amount": amount})
        order = await self.post(f"/quotes/{quote['id']}/accept")
        if not paid:
            return order
        await self.pay(order)
        return await self.get(f"/orders/{order['id']}")

    async def pay(self, order: Any) -> None:
        """Apply the effect of `PaymentCompleted`, as its handler does."""
        payment = {"id": uuid.uuid4().hex, **{name: order[name] for name in ("amount", "currency")}}
        async with sessions.begin() as session:
            unit = UnitOfWork(session, self.tenant_id)
            await orders.apply_payment(unit, PaymentCompleted.model_validate({**payment, "orderId": order["id"]}))


@asynccontextmanager
async def service(settings: Settings, kafka: KafkaSettings) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(settings, kafka)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without rows, to be copied: that is faster than a migration for each test."""
    path = tmp_path_factory.mktemp("migrated") / "marketplace.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def database_url(migrated: Path, tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{shutil.copy(migrated, tmp_path)}"


@pytest.fixture
async def client(database_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with service(Settings(database_url=database_url), KafkaSettings(enabled=False)) as client:
        yield client


@pytest.fixture
def tenant(client: httpx.AsyncClient) -> Tenant:
    return Tenant(client, TENANT)


@pytest.fixture
def other(client: httpx.AsyncClient) -> Tenant:
    return Tenant(client, OTHER)
