"""2,000 orders through the example service while it is killed again and again: the books balance, and nothing is there
twice.

Buyers and sellers repeat what was not answered, under the same idempotency key; the wallet publishes every event twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer
from confluent_kafka import TopicPartition as Offset
from examples.marketplace_service.events.dead_letters import DEAD_LETTERS, DEAD_LETTERS_GROUP
from examples.marketplace_service.schema import migrate
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.postgres import Postgres
from tests.torture.conftest import Finding

from eventzr_kafka import EventData, EventProducer, KafkaSettings
from eventzr_kafka.outbox import read_status
from eventzr_kafka.testing.kafka_server import KafkaServer
from eventzr_marketplace_events import EscrowReleased, PaymentCompleted, topics

pytestmark = pytest.mark.torture

ORDERS = int(os.environ.get("TORTURE_ORDERS") or 2_000)
TENANTS = [f"shop-{uuid.uuid4().hex[:6]}" for _ in range(8)]
BUYERS, PARTITIONS, SECONDS = 16, 3, 900.0
ROOT = Path(__file__).parents[2]
PROCESS = Path(__file__).with_name("marketplace_process.py")
KINDS = ("quote.submitted", "quote.accepted", "order.created", "order.completed")


class Service:
    """One process of the service, killed and started again on the same port."""

    def __init__(self, database_url: str, brokers: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.database_url = database_url
        self._command = [sys.executable, str(PROCESS), database_url, brokers, str(self.port)]
        self.kills = 0
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, env={**os.environ, "PYTHONPATH": str(ROOT)})

    async def answers(self) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/health/ready")).is_success:
                        return
                await asyncio.sleep(0.1)

    async def be_killed(self, done: list[int]) -> None:
        """A tenth of the orders after the last time, in the middle of whatever it does."""
        while True:
            seen = len(done)
            while len(done) < seen + ORDERS // 10:  # noqa: ASYNC110 -- many tasks count
                await asyncio.sleep(0.05)
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self.kills += 1
            self._start()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Shop:
    """The service as one tenant's people use it: nothing is given up."""

    http: httpx.AsyncClient
    wallet: EventProducer
    tenant: str
    listing: str = ""
    repeated: Counter[str] = field(default_factory=Counter[str])

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-Tenant-Id": self.tenant, "Idempotency-Key": uuid.uuid4().hex}
        while True:
            try:
                response = await self.http.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                self.repeated["no answer"] += 1
            else:
                if response.is_success:
                    self.repeated["answered before"] += "idempotency-replayed" in response.headers
                    return response.json()
                assert response.status_code >= 500 or "concurrent" in response.text, response.text
            await asyncio.sleep(0.2)

    async def pay(self, event: EventData) -> None:
        """At least once, as the outbox of the wallet would: here always twice."""
        event_id = uuid.uuid4().hex
        for _ in range(2):
            await self.wallet.publish(event, tenant_id=self.tenant, event_id=event_id)

    async def open(self) -> None:
        body = {"sellerId": "seller", "title": "Hall", "lane": "vendora", "price": 10, "currency": "USD"}
        self.listing = (await self.call("POST", "/listings", body))["id"]
        await self.call("POST", f"/listings/{self.listing}/publish")

    async def order(self, amount: int) -> None:
        """From quote to completion."""
        quote = await self.call("POST", f"/listings/{self.listing}/quotes", {"buyerId": "b", "amount": amount})
        order = await self.call("POST", f"/quotes/{quote['id']}/accept")
        sum_ = {"orderId": order["id"], "amount": amount, "currency": "USD"}
        await self.pay(PaymentCompleted.model_validate({"id": f"p-{order['id']}", **sum_}))
        while (await self.call("GET", f"/orders/{order['id']}"))["state"] != "paid":  # noqa: ASYNC110 -- as a client does
            await asyncio.sleep(0.3)
        await self.call("POST", f"/orders/{order['id']}/deliver")
        await self.pay(EscrowReleased.model_validate({"id": f"e-{order['id']}", "sellerId": "seller", **sum_}))
        await self.call("POST", f"/orders/{order['id']}/complete")


@pytest.fixture
def service(kafka: KafkaServer, postgres: Postgres) -> Iterator[Service]:
    for name in (*topics.PRODUCED, *topics.CONSUMED, DEAD_LETTERS, f"{DEAD_LETTERS_GROUP}.dlq"):
        kafka.create_topic(name, partitions=PARTITIONS)
    url = postgres.create_database(uuid.uuid4().hex)
    migrate(url)
    service = Service(url, kafka.bootstrap_servers)
    yield service
    service.end()


async def test_books_balance_after_many_deaths(service: Service, kafka: KafkaServer, finding: Finding) -> None:
    done: list[int] = []
    settings = KafkaSettings(brokers=kafka.bootstrap_servers)
    limits = httpx.Limits(max_connections=BUYERS)
    base = f"http://127.0.0.1:{service.port}"
    async with (
        asyncio.timeout(SECONDS),
        httpx.AsyncClient(base_url=base, timeout=30, limits=limits) as http,
        EventProducer(settings=settings) as wallet,
    ):
        await service.answers()
        shops = [Shop(http, wallet, tenant) for tenant in TENANTS]
        await asyncio.gather(*(shop.open() for shop in shops))
        killer = asyncio.create_task(service.be_killed(done))
        amounts = iter(range(1, ORDERS + 1))
        await asyncio.gather(*(buy(shops, amounts, done) for _ in range(BUYERS)))
        engine = create_async_engine(service.database_url)
        await settled(engine)
        killer.cancel()
        books = await read_books(engine)
        await engine.dispose()

    kinds, duplicates = await asyncio.to_thread(read_topics, kafka.bootstrap_servers)
    assert books == {
        "completed orders": ORDERS,
        "orders": ORDERS,
        "complete payouts": ORDERS,
        "payouts": ORDERS,
        "paid out": Decimal(ORDERS * (ORDERS + 1) // 2),
        "handled": 2 * ORDERS,
        "dead letters": 0,
    }
    assert kinds == dict.fromkeys(KINDS, ORDERS)
    repeated = sum((shop.repeated for shop in shops), Counter[str]())
    assert service.kills >= 8
    finding(
        f"{ORDERS:,} orders of {len(TENANTS)} tenants through the example service, {service.kills} SIGKILL",
        f"{ORDERS:,} completed and paid out, none twice; {4 * ORDERS:,} events, {duplicates} records more under the "
        f"same ids; {repeated['no answer']} repetitions for want of an answer, {repeated['answered before']} of which "
        "had been carried out",
    )


async def buy(shops: list[Shop], amounts: Iterator[int], done: list[int]) -> None:
    for amount in amounts:
        await shops[amount % len(shops)].order(amount)
        done.append(amount)


async def settled(engine: AsyncEngine) -> None:
    """Until every payout is complete and every event published."""
    open_payouts = text("SELECT count(*) FROM payout WHERE state <> 'complete'")
    while True:
        async with engine.connect() as connection:
            waiting = await connection.scalar(open_payouts)
        if not waiting and not (await read_status(engine)).pending:
            return
        await asyncio.sleep(0.5)


async def read_books(engine: AsyncEngine) -> dict[str, Any]:
    questions = {
        "completed orders": "SELECT count(*) FROM orders WHERE state = 'completed'",
        "orders": "SELECT count(*) FROM orders",
        "complete payouts": "SELECT count(*) FROM payout WHERE state = 'complete'",
        "payouts": "SELECT count(*) FROM payout",
        "paid out": "SELECT sum(amount) FROM payout",
        "handled": "SELECT count(*) FROM activity WHERE direction = 'in'",
        "dead letters": "SELECT count(*) FROM dead_letter",
    }
    async with engine.connect() as connection:
        return {name: await connection.scalar(text(question)) for name, question in questions.items()}


def read_topics(brokers: str) -> tuple[dict[str, int], int]:
    """How many events of a kind there are, by id and by what they are about, and how many records repeat one."""
    names = [f"eventzr.marketplace.{kind}.v1" for kind in KINDS]
    events = [event for event in records_of(brokers, names) if event["tenantid"] in TENANTS]
    kinds: dict[str, int] = {}
    for kind, name in zip(KINDS, names, strict=True):
        ids = {event["id"] for event in events if event["type"] == name}
        subjects = {event["subject"] for event in events if event["type"] == name}
        assert len(ids) == len(subjects), f"{kind}: two events of one thing"
        kinds[kind] = len(ids)
    return kinds, len(events) - len({event["id"] for event in events})


def records_of(brokers: str, names: list[str]) -> Iterator[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": uuid.uuid4().hex, "enable.partition.eof": True})
    places = [Offset(name, partition, OFFSET_BEGINNING) for name in names for partition in range(PARTITIONS)]
    consumer.assign(places)
    ended = 0
    while ended < len(places):
        message = consumer.poll(30)
        assert message is not None
        if message.error() is not None:
            ended += 1
        else:
            yield json.loads(message.value() or b"{}")
    consumer.close()
