"""The story of `make demo` on a real Kafka and a real PostgreSQL, and what then is in the topics and the tables."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from confluent_kafka import OFFSET_BEGINNING, Consumer
from confluent_kafka import TopicPartition as Offset
from examples.demo import TENANTS, run_server
from examples.marketplace_service.database import sessions
from examples.marketplace_service.domain.models import Order
from examples.marketplace_service.events.dead_letters import DEAD_LETTERS, DEAD_LETTERS_GROUP
from examples.marketplace_service.schema import migrate
from examples.marketplace_service.settings import Settings
from examples.story import Shop, Story
from sqlalchemy import update
from sqlalchemy.ext.asyncio import create_async_engine
from tests.postgres import Databases

from eventzr_kafka import EventProducer, KafkaSettings
from eventzr_kafka.outbox import read_status
from eventzr_kafka.testing.kafka_server import describe_kafka, start_kafka
from eventzr_marketplace_events import PaymentCompleted, ReviewCreated, topics

pytestmark = [pytest.mark.real_kafka, pytest.mark.asyncio(loop_scope="module")]

PARTITIONS = 3
ALL = (*topics.PRODUCED, *topics.CONSUMED, DEAD_LETTERS, f"{DEAD_LETTERS_GROUP}.dlq")


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Kafka of this file's own: the topics and groups have the names that they have in production."""
    if describe_kafka() is None:
        request.getfixturevalue("kafka")  # skips or fails, as the session was told
    with start_kafka() as own:
        for name in ALL:
            own.create_topic(name, partitions=PARTITIONS)
        yield own.bootstrap_servers


@pytest.fixture(scope="module")
def story_url(postgres: Databases) -> str:
    url = postgres.create_database(uuid.uuid4().hex)
    migrate(url)
    return url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(broker: str, story_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    settings = Settings(database_url=story_url, port=0, playground=True)
    async with (
        run_server(settings, KafkaSettings(brokers=broker)) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http,
    ):
        yield http


def records_of(broker: str, names: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Topic, key and event of everything that is there."""
    config = {"bootstrap.servers": broker, "group.id": uuid.uuid4().hex, "enable.partition.eof": True}
    consumer = Consumer(config)
    places = [Offset(name, partition, OFFSET_BEGINNING) for name in names for partition in range(PARTITIONS)]
    consumer.assign(places)
    open_places = len(places)
    while open_places:
        message = consumer.poll(10)
        assert message is not None
        if message.error() is not None:
            open_places -= 1
        else:
            key, value = message.key() or b"", message.value() or b"{}"
            yield message.topic() or "", key.decode(), json.loads(value)
    consumer.close()


async def test_story_plays_all_18_events_for_two_tenants(http: httpx.AsyncClient, broker: str, story_url: str) -> None:
    stories = [Story(Shop(http, tenant), lambda _: None) for tenant in TENANTS]
    await asyncio.gather(*(story.play() for story in stories))
    await stories[-1].money_comes_early_or_wrong()
    told = {tenant: await Shop(http, tenant).get("/activity") for tenant in TENANTS}
    (letter,) = await Shop(http, TENANTS[-1]).get("/dead-letters")
    told[TENANTS[-1]].append(letter)
    expected = Counter((line["topic"], tenant) for tenant in TENANTS for line in told[tenant])

    await until_published(story_url)
    records = await asyncio.to_thread(lambda: list(records_of(broker, (*topics.PRODUCED, *topics.CONSUMED))))

    assert Counter((topic, key) for topic, key, _ in records) == expected
    assert {topic for topic, tenant in expected if tenant == "tenant-a"} == set(ALL[:18])
    for topic, key, event in records:
        assert_guides_envelope(topic, key, event)
    ids = Counter(event["id"] for _, _, event in records)
    assert max(ids.values()) == 1
    assert {line["eventId"] for lines_of in told.values() for line in lines_of} == set(ids)
    assert_no_leak(records)


async def until_published(url: str) -> None:
    engine = create_async_engine(url)
    async with asyncio.timeout(120):
        while (await read_status(engine)).pending:  # noqa: ASYNC110 -- what is waited for is in a database
            await asyncio.sleep(0.05)
    await engine.dispose()


def assert_guides_envelope(topic: str, key: str, event: dict[str, Any]) -> None:
    names = {"specversion", "id", "type", "source", "time", "datacontenttype", "subject", "tenantid", "data"}
    assert names <= event.keys(), topic
    assert (event["specversion"], event["type"], event["tenantid"]) == ("1.0", topic, key)
    assert event["datacontenttype"] == "application/json"
    assert event["subject"].endswith(f":{event['data']['id']}")
    assert event["time"].endswith("Z")
    assert (event["source"] == "marketplace-svc") == (topic in topics.PRODUCED)


def assert_no_leak(records: list[tuple[str, str, dict[str, Any]]]) -> None:
    """No id of one tenant appears in any event of the other one; buyers have the same name for both."""
    ids: dict[str, set[str]] = {tenant: set() for tenant in TENANTS}
    for _, key, event in records:
        ids[key] |= {event["id"], event["data"]["id"]}
    one, two = ids.values()
    assert not one & two
    for _, key, event in records:
        strangers = two if key == TENANTS[0] else one
        assert not any(stranger in json.dumps(event["data"]) for stranger in strangers)


async def sale(shop: Shop) -> Any:
    """An order that waits for its payment."""
    story = Story(shop, lambda _: None)
    return await story.order_is_made(await story.listing_opens())


@pytest.fixture
def shop(http: httpx.AsyncClient) -> Shop:
    return Shop(http, f"tenant-{uuid.uuid4().hex}")


async def test_repeated_event_acts_once(shop: Shop, broker: str) -> None:
    order = await sale(shop)
    review = ReviewCreated.model_validate(
        {"id": "r", "sellerId": order["sellerId"], "listingId": order["listingId"], "rating": 3}
    )
    async with EventProducer(settings=KafkaSettings(brokers=broker)) as producer:
        for event_id in ("one", "one", "one", "two"):
            await producer.publish(review, tenant_id=shop.tenant, event_id=f"{event_id}-{shop.tenant}")

    await shop.until("/event-counts", lambda found: found["handled"] == 2)
    seller = await shop.get(f"/sellers/{order['sellerId']}")
    handled = [line for line in await shop.get("/activity") if line["direction"] == "in"]

    assert (seller["ratingCount"], seller["rating"], len(handled)) == (1, 3, 2)  # one review, told by two events


async def test_profile_is_announced_for_open_listings(shop: Shop) -> None:
    story = Story(shop, lambda _: None)
    await story.listing_opens()
    closed = await story.listing_opens()
    await shop.post(f"/listings/{closed['id']}/close", reason="expired")

    await shop.neighbour("user.profile.updated", id=story.seller, displayName="New name")
    listings = await shop.until("/listings", lambda found: found[0]["sellerName"] == "New name")

    assert [found["sellerName"] for found in listings] == ["New name", "New name"]
    updated = [
        line for line in await shop.get("/activity") if line["topic"] == "eventzr.marketplace.listing.updated.v1"
    ]
    assert len(updated) == 2 + 1  # a new price each, and then one name


async def test_subscription_limits_publishing(shop: Shop) -> None:
    story = Story(shop, lambda _: None)
    change: dict[str, Any] = {"sellerId": story.seller, "tier": "basic", "entitlements": [], "listingLimit": 1}
    await shop.neighbour("subscriptions.subscription.changed", **change)
    await shop.until(f"/sellers/{story.seller}", lambda found: found["tier"] == "basic")

    await story.listing_opens()

    with pytest.raises(RuntimeError, match="tier 'basic' allows 1 open listings at once"):
        await story.listing_opens()


async def test_wrong_amount_leaves_the_order_unpaid(shop: Shop) -> None:
    order = await sale(shop)

    await shop.neighbour("wallet.payment.completed", orderId=order["id"], amount=1, currency="USD")
    letter = (await shop.until("/dead-letters", bool))[0]

    assert (letter["error"], letter["attempts"]) == ("Reject", 1)
    assert letter["reason"].endswith(f"differs from the amount due for order {order['id']!r}")
    assert (await shop.get(f"/orders/{order['id']}"))["state"] == "created"


async def test_letter_of_a_restored_order_is_replayed(http: httpx.AsyncClient, shop: Shop, broker: str) -> None:
    body = {"id": "p", "orderId": "restored", "amount": 4650.75, "currency": "USD"}
    unknown = PaymentCompleted.model_validate(body)
    async with EventProducer(settings=KafkaSettings(brokers=broker)) as producer:
        await producer.publish(unknown, tenant_id=shop.tenant)
    neighbour = Shop(http, f"other-{uuid.uuid4().hex}")
    order = await sale(neighbour)
    await neighbour.neighbour("wallet.payment.completed", orderId=order["id"], amount=4650.75, currency="USD")
    await neighbour.until(f"/orders/{order['id']}", lambda found: found["state"] == "paid")

    letter = (await shop.until("/dead-letters", bool))[0]
    assert (letter["reason"], letter["attempts"]) == ("there is no order 'restored'", 1)
    assert (await shop.get("/event-counts"))["retried"] == 0
    assert await neighbour.get("/dead-letters") == []

    made = await sale(shop)
    async with sessions.begin() as session:  # as if a backup had not had the order yet
        await session.execute(
            update(Order).where(Order.tenant_id == shop.tenant, Order.id == made["id"]).values(id="restored")
        )
    replayed = await shop.post(f"/dead-letters/{letter['position']}/replay")
    assert replayed["succeeded"], replayed["summary"]
    assert (await shop.get("/orders/restored"))["state"] == "paid"
    assert (await shop.get("/dead-letters"))[0]["replayedAt"] is not None


async def test_parallel_publishes_of_one_key_get_one_answer(shop: Shop) -> None:
    path = "/playground/eventzr.user.profile.updated.v1"
    headers = {"X-Tenant-Id": shop.tenant, "Idempotency-Key": "one key"}

    answers = await asyncio.gather(*(shop.http.post(path, json={"id": "u"}, headers=headers) for _ in range(6)))

    assert {(answer.status_code, answer.content) for answer in answers} == {(202, answers[0].content)}


async def test_concurrent_requests_make_one_thing_of_one_key(shop: Shop) -> None:
    body = {"sellerId": "new", "title": "Hall", "lane": "vendora", "price": 1, "currency": "USD"}

    def send(key: str) -> Coroutine[Any, Any, httpx.Response]:
        headers = {"X-Tenant-Id": shop.tenant, "Idempotency-Key": key}
        return shop.http.post("/listings", json=body, headers=headers)

    different = await asyncio.gather(*(send(f"key-{number}") for number in range(6)))
    same = await asyncio.gather(*(send("one key") for _ in range(6)))

    assert [response.status_code for response in different] == [201] * 6
    assert {(response.status_code, response.content) for response in same} == {(201, same[0].content)}
    assert len(await shop.get("/listings")) == 7
    assert [seller["id"] for seller in await shop.get("/sellers")] == ["new"]
