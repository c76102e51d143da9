"""The service as its neighbours meet it: two replicas, PostgreSQL, and a Kafka that Kafka's own console tools use.

The console producer writes plain JSON, one process for each of the six topics, and the console consumer reads the
twelve. Each tool is a JVM, so one day of two tenants is played once, and each test looks at one part of it.
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
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from examples.marketplace_service.events.dead_letters import DEAD_LETTERS, DEAD_LETTERS_GROUP
from examples.marketplace_service.schema import migrate
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tests.example.conftest import Tenant
from tests.postgres import Databases
from tests.waiting import until

from eventzr_kafka import EventData, EventProducer, KafkaSettings
from eventzr_kafka.outbox import read_status
from eventzr_kafka.testing.kafka_server import KafkaServer
from eventzr_marketplace_events import EscrowReleased, PaymentCompleted, topics

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROCESS = Path(__file__).parents[1] / "torture" / "marketplace_process.py"
PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
EVENT, REVIEW, PAYMENT, ESCROW, SUBSCRIPTION, PROFILE = topics.CONSUMED
SOURCES = dict(zip(topics.CONSUMED, ["event", "reviews", "wallet", "wallet", "subscriptions", "user"], strict=True))
RFP = {"buyerId": "b", "title": "T", "requirements": [], "targetLanes": ["vendora"], "deadline": "2099-01-01T00:00:00Z"}
RACING, CONTESTED = 60, 8
SECONDS = 240.0  # they end what hangs on a busy machine


class Replica:
    """One process of the service."""

    def __init__(self, database_url: str, brokers: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        command = [sys.executable, str(PROCESS), database_url, brokers, self.url.rpartition(":")[2]]
        self._process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(PROCESS.parents[2])})

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Day:
    """Both tenants, each through both replicas, and what the first one has made."""

    kafka: KafkaServer
    database_url: str
    replicas: list[Tenant]
    strangers: list[Tenant]
    order: Any
    listing: Any
    disputed: Any
    stolen: Any
    """The order that the stranger wants."""

    @property
    def tenant(self) -> Tenant:
        return self.replicas[0]

    @property
    def stranger(self) -> Tenant:
        return self.strangers[1]


class Lines:
    """What the console producers write, by topic."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {topic: [] for topic in topics.CONSUMED}

    def add(
        self, topic: str, tenant: str, data: str, *, key: str = "", headers: str = "retries:0", **more: Any
    ) -> None:
        """Add an event whose attributes stand behind its data, in no usual order."""
        attributes = {
            "tenantid": tenant,
            "source": f"{SOURCES[topic]}-svc",
            "type": topic,
            "id": uuid.uuid4().hex,
            "specversion": "1.0",
            **more,
        }
        value = f'{{"data": {data}, {json.dumps(attributes)[1:]}'
        self._lines[topic].append(f"{headers}\t{key or tenant}\t{value}\n")

    async def send(self, kafka: KafkaServer) -> None:
        properties = [f"--reader-property=parse.{part}=true" for part in ("headers", "key")]

        def write(topic: str) -> None:
            kafka.tool(
                PRODUCER, "--topic", topic, *properties, stdin="".join(self._lines[topic]).encode(), timeout=SECONDS
            )

        await asyncio.gather(*(asyncio.to_thread(write, topic) for topic in self._lines))


@pytest.fixture(scope="module")
def replicas(own_kafka: KafkaServer, postgres: Databases) -> Iterator[tuple[str, list[Replica]]]:
    names = (*topics.PRODUCED, *topics.CONSUMED, DEAD_LETTERS, f"{DEAD_LETTERS_GROUP}.dlq")
    # Other files that share this broker write to topics of the guide, too.
    own_kafka.tool("org.apache.kafka.tools.TopicCommand", "--delete", "--if-exists", "--topic", "|".join(names))
    own_kafka.create_topics(names, partitions=3)
    url = postgres.create_database(uuid.uuid4().hex)
    migrate(url)
    found = [Replica(url, own_kafka.bootstrap_servers) for _ in range(2)]
    yield url, found
    for replica in found:
        replica.end()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def day(own_kafka: KafkaServer, replicas: tuple[str, list[Replica]]) -> AsyncGenerator[Day]:
    url, processes = replicas
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=one.url, timeout=SECONDS)) for one in processes
        ]
        await until(lambda: are_ready(clients), SECONDS, pause=0.1)
        tenants, strangers = ([Tenant(client, name) for client in clients] for name in ("tenant-a", "tenant-b"))
        tenant = tenants[0]
        listing = await tenant.listing(seller="7")
        order = await tenant.order(listing=listing, amount=3.3)
        disputed = await tenant.order(listing=listing, amount=40)
        stolen = await tenant.order(listing=listing, amount=50)
        lines = Lines()
        write_effects(lines, "tenant-a", order)
        lines.add(PAYMENT, "tenant-a", f'{{"id":983,"orderId":"{disputed["id"]}"}}')
        write_theft(lines, "tenant-b", stolen)
        await lines.send(own_kafka)
        await until(lambda: are_counted(tenant, handled=7), SECONDS, pause=0.1)
        await until(lambda: are_counted(strangers[0], dead_letters=4), SECONDS, pause=0.1)
        await tenant.post(f"/orders/{order['id']}/deliver")
        yield Day(own_kafka, url, tenants, strangers, order, listing, disputed, stolen)


async def are_ready(clients: list[httpx.AsyncClient]) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return all([(await client.get("/health/ready")).is_success for client in clients])
    return False


async def are_counted(tenant: Tenant, *, handled: int = 0, dead_letters: int = 0) -> bool:
    counts = await tenant.get("/event-counts")
    return bool(counts["handled"] >= handled and counts["deadLetters"] >= dead_letters)


def write_effects(lines: Lines, tenant: str, order: Any) -> None:
    """Each of the six once as another language writes it, and what is for others beside it."""
    key = order["id"]
    lines.add(
        PAYMENT, tenant, f'{{"currency":"usd","fees":[1],"amount":3.3000000000000003,"orderId":"{key}","id":981}}'
    )
    lines.add(PAYMENT, tenant, '{"id":982,"ticketId":5,"amount":{"value":25}}')
    structured = "content-type:application/cloudevents+json; charset=UTF-8,traceparent:00-0af7"
    lines.add(ESCROW, tenant, f'{{"id":55,"orderId":"{key}","sellerId":7,"releasedAt":null}}', headers=structured)
    lines.add(ESCROW, tenant, '{"id":56,"bookingId":5}', headers=structured)
    review = f'"listingId":"{order["listingId"]}","ratingScale":null,"rating":4.499999999999999'
    lines.add(REVIEW, tenant, f'{{{review},"id":3,"sellerId":7,"text":"Lovely"}}', source="/reviews-svc")
    lines.add(REVIEW, tenant, '{"id":4,"venueId":"v","rating":5}')
    limits = '"listingLimit":50.0,"entitlements":"featured","tier":"pro"'
    lines.add(SUBSCRIPTION, tenant, f'{{{limits},"sellerId":7,"id":8}}', time="2026-03-02T12:00:00Z")
    lines.add(SUBSCRIPTION, tenant, '{"id":9,"organizerId":"o","tier":"pro","entitlements":{}}')
    lines.add(PROFILE, tenant, '{"avatarUrl":null,"displayName":"Ann","id":7,"roles":["seller"]}', sequence=7)
    slots = '"exhibitorSlots":[{"id":1,"size":9,"price":null},"A2"]'
    lines.add(EVENT, tenant, f'{{{slots},"sponsorshipOpportunities":["Gold"],"id":31,"startsAt":"2026-05-01"}}')
    lines.add(EVENT, tenant, '{"id":32,"title":"Wedding","guests":80}')


def write_theft(lines: Lines, stranger: str, stolen: Any) -> None:
    """Events of another tenant that name what the first one has."""
    named = f'"id":"x","orderId":"{stolen["id"]}","amount":50,"currency":"USD"'
    lines.add(PAYMENT, stranger, f"{{{named}}}")
    lines.add(ESCROW, stranger, f'{{{named},"sellerId":"7"}}')
    lines.add(REVIEW, stranger, f'{{"id":"x","listingId":"{stolen["listingId"]}","rating":0}}')
    lines.add(PAYMENT, "tenant-a", f"{{{named}}}", key=stranger)
    lines.add(PAYMENT, stranger, '{"id":"last","orderId":"nope"}')  # of the same partition: it ends what is waited for


async def test_plain_json_has_its_six_effects(day: Day) -> None:
    tenant = day.tenant
    order, payout = await tenant.get(f"/orders/{day.order['id']}"), await tenant.get(f"/payouts/{day.order['id']}")
    assert (order["state"], order["paymentId"]) == ("delivered", "981")
    assert (payout["state"], payout["amount"], payout["escrowId"]) == ("complete", 3.3, "55")
    seller, listing = await tenant.get("/sellers/7"), await tenant.get(f"/listings/{day.listing['id']}")
    assert (seller["rating"], seller["ratingCount"], listing["qualityScore"]) == (4.5, 1, 90)
    assert (seller["tier"], seller["entitlements"], seller["listingLimit"]) == ("pro", ["featured"], 50)
    assert (seller["displayName"], listing["sellerName"]) == ("Ann", "Ann")
    fair = await tenant.get("/event-contexts/31")
    assert (fair["exhibitorSlots"], [offer["title"] for offer in fair["sponsorships"]]) == (2, ["Gold"])
    assert (await tenant.call("GET", "/event-contexts/32")).status_code == 404
    assert await tenant.get("/dead-letters") == []


async def test_nine_paths_lead_to_no_other_tenant(day: Day) -> None:
    stranger, order, listing = day.stranger, day.stolen["id"], day.listing["id"]
    paths: list[tuple[str, str, Any]] = [
        ("GET", f"/listings/{listing}", None),
        ("PATCH", f"/listings/{listing}", {"title": "stolen"}),
        ("POST", f"/listings/{listing}/quotes", {"buyerId": "b", "amount": 1}),
        ("GET", f"/orders/{order}", None),
        ("POST", f"/orders/{order}/cancel", {"reason": "r"}),
    ]
    assert [(await stranger.call(*path)).status_code for path in paths] == [404] * 5

    letters = {(letter["topic"], letter["reason"]) for letter in await stranger.get("/dead-letters")}
    of_order, of_listing = f"there is no order {order!r}", f"there is no listing {listing!r}"
    stolen = {(PAYMENT, of_order), (ESCROW, of_order), (REVIEW, of_listing)}
    assert letters == {*stolen, (PAYMENT, "there is no order 'nope'")}
    # The ninth: an event of the first tenant under the stranger's key would pay the order.
    assert (await day.tenant.get(f"/orders/{order}"))["state"] == "created"


async def test_one_of_60_acceptances_makes_the_order(day: Day) -> None:
    body = {"buyerId": "racer", "amount": 10}
    quote = await day.tenant.post(f"/listings/{day.listing['id']}/quotes", body)

    calls = [day.replicas[n % 2].call("POST", f"/quotes/{quote['id']}/accept") for n in range(RACING)]
    answers = Counter([answer.status_code for answer in await asyncio.gather(*calls)])

    assert answers == {201: 1, 409: RACING - 1}
    assert [one["buyerId"] for one in await day.tenant.get("/orders")].count("racer") == 1


async def test_refunds_and_payouts_are_what_was_paid(day: Day) -> None:
    tenants = [Tenant(replica.client, "tenant-money") for replica in day.replicas]
    listing = await tenants[0].listing()
    contested = [await tenants[0].order(listing=listing, amount=100 + n) for n in range(CONTESTED)]
    sold = [await tenants[0].order(listing=listing, amount=10.25 + n) for n in range(CONTESTED)]
    payments = [payment(order, number) for number in (1, 1, 2, 3, 4) for order in contested]
    escrows = [escrow(order, number) for order in sold for number in (1, 1, 2)]
    async with EventProducer(settings=KafkaSettings(brokers=day.kafka.bootstrap_servers)) as wallet:

        async def publish(event: EventData) -> None:
            await wallet.publish(event, tenant_id="tenant-money")

        cancels = [
            tenants[n % 2].post(f"/orders/{order['id']}/cancel", {"reason": "r"}) for n, order in enumerate(contested)
        ]
        await asyncio.gather(*map(publish, payments), *cancels)
        await asyncio.gather(*(publish(payment(order, 1)) for order in sold), *map(publish, escrows[::2]))
        await until(lambda: are_decided(tenants[0], len(payments) + len(sold) + len(escrows[::2])), SECONDS, pause=0.1)
        deliveries = [tenants[n % 2].post(f"/orders/{order['id']}/deliver") for n, order in enumerate(sold)]
        await asyncio.gather(*map(publish, escrows[1::2]), *deliveries)
        await until(lambda: are_decided(tenants[0], len(payments) + len(sold) + len(escrows)), SECONDS, pause=0.1)

    assert len(payments) == 40
    ours = "SELECT {} FROM orders LEFT JOIN payout USING (tenant_id, id) WHERE tenant_id = 'tenant-money'"
    sums = await ask(day, ours.format("sum(paid), sum(refunded), sum(payout.amount), count(*)"))
    states = await ask(day, ours.format("string_agg(DISTINCT orders.state || ' ' || payout.state, ', ')"))
    refunds, payouts = Decimal(sum(range(100, 108))), Decimal(110)
    assert sums == (refunds + payouts, refunds, payouts, 2 * CONTESTED)
    assert states == ("cancelled void, delivered complete",)
    reasons = [letter["reason"] for letter in await tenants[0].get("/dead-letters")]
    assert all(" already" in reason for reason in reasons)
    assert sum("was paid by" in reason for reason in reasons) >= 3 * CONTESTED
    assert sum("was released by" in reason for reason in reasons) >= CONTESTED


def payment(order: Any, number: int) -> PaymentCompleted:
    sum_ = {name: order[name] for name in ("amount", "currency")}
    return PaymentCompleted.model_validate({"id": f"p{number}-{order['id']}", "orderId": order["id"], **sum_})


def escrow(order: Any, number: int) -> EscrowReleased:
    sum_ = {name: order[name] for name in ("amount", "currency", "sellerId")}
    return EscrowReleased.model_validate({"id": f"e{number}-{order['id']}", "orderId": order["id"], **sum_})


async def are_decided(tenant: Tenant, count: int) -> bool:
    counts = await tenant.get("/event-counts")
    return bool(counts["handled"] + counts["deadLetters"] >= count)


async def ask(day: Day, question: str) -> tuple[Any, ...]:
    engine = create_async_engine(day.database_url)
    async with engine.connect() as connection:
        row = (await connection.execute(text(question))).one()
    await engine.dispose()
    return tuple(row)


async def test_console_consumer_reads_twelve_topics(day: Day) -> None:
    await publish_the_rest(day)
    await until(lambda: is_published(day), SECONDS, pause=0.1)
    (count,) = await ask(day, "SELECT count(*) FROM activity WHERE direction = 'out'")

    shown = ("--formatter-property", "print.key=true", "--formatter-property", "print.headers=true")
    all_of_them = ("--include", "|".join(topics.PRODUCED), "--from-beginning", "--max-messages", str(count))
    output = await asyncio.to_thread(day.kafka.tool, CONSUMER, *all_of_them, *shown, timeout=SECONDS)

    lines = [line.split("\t") for line in output.decode().splitlines()]
    events = [(headers, key, json.loads(value)) for headers, key, value in lines]
    assert {event["type"] for _, _, event in events} == set(topics.PRODUCED)
    assert len({event["id"] for _, _, event in events}) == count
    for headers, key, event in events:
        assert headers.startswith("content-type:application/cloudevents+json"), headers
        assert (event["specversion"], event["source"], event["tenantid"]) == ("1.0", "marketplace-svc", key)
        assert event["subject"].partition(":")[2] == event["data"]["id"]
        assert event["datacontenttype"] == "application/json"
    created = [event["data"] for _, _, event in events if event["type"].endswith("order.created.v1")]
    assert len({order["quoteId"] for order in created}) == len(created)
    refunded = [
        event["data"]["refundAmount"]
        for _, key, event in events
        if key == "tenant-money" and event["type"].endswith("order.cancelled.v1")
    ]
    assert sum(refunded) in (0, sum(range(100, 108)))


async def publish_the_rest(day: Day) -> None:
    """Publish each of the twelve that `day` has not published."""
    tenant = day.tenant
    listing = await tenant.listing(seller="8")
    await tenant.patch(f"/listings/{listing['id']}", {"price": 99.5})
    order = await tenant.order(listing=listing)
    await tenant.post(f"/orders/{order['id']}/cancel", {"reason": "r"})
    await tenant.post(f"/listings/{listing['id']}/close", {"reason": "expired"})
    await tenant.post("/rfps", RFP)
    await tenant.post(f"/orders/{day.order['id']}/complete")
    evidence = [{"kind": "photo", "url": "https://files.example.com/1.jpg"}]
    path = f"/orders/{day.disputed['id']}/disputes"
    dispute = await tenant.post(path, {"reason": "cold", "evidence": evidence})
    await tenant.post(f"/disputes/{dispute['id']}/resolve", {"outcome": "split", "refund": 12.5})


async def is_published(day: Day) -> bool:
    engine = create_async_engine(day.database_url)
    pending = (await read_status(engine)).pending
    await engine.dispose()
    return not pending
