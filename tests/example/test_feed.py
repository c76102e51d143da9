"""The live feed, as the page reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from examples.demo import run_server
from examples.marketplace_service.activity import Activity
from examples.marketplace_service.api.feed import follow
from examples.marketplace_service.database import now, sessions
from examples.marketplace_service.settings import Settings
from tests.example.conftest import OTHER, TENANT, Tenant

from eventzr_kafka import KafkaSettings


async def next_lines(feed: AsyncGenerator[str], count: int) -> list[tuple[int, str]]:
    """Numbers and topics of the next lines of activity."""
    found: list[tuple[int, str]] = []
    while len(found) < count:
        message = await anext(feed)
        if "event: activity" in message:
            data: dict[str, Any] = json.loads(message.split("data: ")[1])
            assert message.startswith(f"id: {data['number']}\n")
            assert message.endswith("\n\n")
            found.append((data["number"], data["topic"].split(".")[-2]))
    return found


async def test_browser_gets_what_it_missed_once(tenant: Tenant) -> None:
    first = await tenant.listing(publish=False)
    feed = follow(TENANT, 0, asyncio.Event())
    ((number, kind),) = await next_lines(feed, 1)
    await feed.aclose()
    await tenant.post(f"/listings/{first['id']}/publish")

    again = follow(TENANT, number, asyncio.Event())
    missed = await next_lines(again, 1)
    await tenant.post(f"/listings/{first['id']}/close", {"reason": "expired"})
    live = await next_lines(again, 1)
    await again.aclose()

    assert (kind, missed[0][1], live[0][1]) == ("created", "published", "closed")


async def next_ids(feed: AsyncGenerator[str]) -> tuple[int, int]:
    """Of the next line of activity: the id that a browser remembers, and its number."""
    while "event: activity" not in (message := await anext(feed)):
        pass
    name, _, data = message.strip().split("\n")
    return int(name.removeprefix("id: ")), json.loads(data.removeprefix("data: "))["number"]


async def test_late_line_is_sent_and_takes_no_browser_back(tenant: Tenant) -> None:
    async def appear(number: int) -> None:
        async with sessions.begin() as session:
            line = {"tenant_id": tenant.tenant_id, "direction": "in", "topic": "t", "event_id": "e"}
            session.add(Activity(number=number, at=now(), **line))

    await appear(7)
    feed = follow(TENANT, 0, asyncio.Event())
    first = await next_ids(feed)
    await appear(5)
    late = await next_ids(feed)
    await feed.aclose()

    assert (first, late) == ((7, 7), (7, 5))


async def test_feed_shows_one_tenant(tenant: Tenant, other: Tenant) -> None:
    await other.listing()
    await tenant.listing(publish=False)
    feed = follow(TENANT, 0, asyncio.Event())

    lines = await next_lines(feed, 1)
    await feed.aclose()

    activity = await tenant.get("/activity")
    assert [line["number"] for line in activity] == [number for number, _ in lines]


async def test_feed_ends_with_the_service(tenant: Tenant) -> None:
    await tenant.listing(publish=False)
    closing = asyncio.Event()
    feed = follow(TENANT, 0, closing)
    await next_lines(feed, 1)

    closing.set()

    async with asyncio.timeout(60):
        assert [message async for message in feed if "activity" in message] == []


async def test_header_alone_names_the_feed(database_url: str) -> None:
    async with (
        run_server(Settings(database_url=database_url, port=0), KafkaSettings(enabled=False)) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):
        mine = await Tenant(client, TENANT).listing(publish=False)
        await Tenant(client, OTHER).listing(publish=False)
        stream = client.stream("GET", f"/activity/stream?tenant={OTHER}", headers={"X-Tenant-Id": TENANT})
        async with asyncio.timeout(60), stream as response:
            lines = response.aiter_lines()
            while not (line := await anext(lines)).startswith("data: "):
                pass
        nobodys = await client.get(f"/activity/stream?tenant={OTHER}")

    assert json.loads(line.removeprefix("data: "))["subject"] == f"listing:{mine['id']}"
    assert nobodys.status_code == 400
