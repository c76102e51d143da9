"""What keeps the service going: probes, the deletion of what is old, and a replay that does not end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from examples.marketplace_service import wiring
from examples.marketplace_service.activity import Activity, DeadLetter, Failure
from examples.marketplace_service.api.transactions import Answer
from examples.marketplace_service.database import Base, now, open_engine, sessions
from examples.marketplace_service.events.dead_letters import DeadLetterReplay, ReplayResult
from examples.marketplace_service.settings import Settings
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from tests.example.conftest import TENANT, Tenant, service

from eventzr_kafka import KafkaSettings
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.outbox import OutboxRelay


@pytest.fixture
async def relayless(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[httpx.AsyncClient]:
    """The service, with a relay that ends in an error at once."""

    class BrokenRelay(OutboxRelay):
        async def _run(self) -> None:
            raise RuntimeError("with what was to be published")

    monkeypatch.setattr(wiring, "OutboxRelay", BrokenRelay)
    with pytest.raises(RuntimeError):
        async with service(Settings(database_url=database_url), KafkaSettings(enabled=False)) as client:
            yield client


@pytest.mark.parametrize("probe", ["live", "ready"])
async def test_ended_relay_fails_the_probes(relayless: httpx.AsyncClient, probe: str) -> None:
    response = await relayless.get(f"/health/{probe}")

    assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (503, "relay-stopped")
    assert "to be published" not in response.text


def rows(age: timedelta) -> list[Base]:
    """One of each kind, of some age; and a letter that nobody has replayed."""
    at, name = now() - age, f"{age.days} days"
    letter = {"tenant_id": TENANT, "topic": "t", "event_id": "e", "handler": "h", "error": "E", "reason": "r"}
    failure = {"tenant_id": TENANT, "topic": "t", "position": name, "handler": "h", "error": "E", "outcome": "retried"}
    return [
        Activity(tenant_id=TENANT, direction="in", topic="t", event_id=name, at=at),
        Failure(**failure, attempt=1, at=at),
        Answer(tenant_id=TENANT, key=name, request="r", at=at),
        DeadLetter(**letter, position=f"replayed {name}", attempts=1, failed_at=at, replayed_at=at),
        DeadLetter(**letter, position=f"open {name}", attempts=1, failed_at=at),
    ]


async def names() -> set[str]:
    async with sessions() as session:
        columns = (Activity.event_id, Failure.position, Answer.key, DeadLetter.position)
        return {f"{column.key}: {name}" for column in columns for name in await session.scalars(select(column))}


async def test_upkeep_keeps_open_dead_letters(database_url: str) -> None:
    engine = open_engine(database_url)
    async with sessions.begin() as session:
        session.add_all(rows(timedelta(days=31)) + rows(timedelta(days=1)))
    await engine.dispose()

    async with service(Settings(database_url=database_url), KafkaSettings(enabled=False)), asyncio.timeout(60):
        while len(await names()) > 6:  # noqa: ASYNC110 -- what is waited for is in a database
            await asyncio.sleep(0.02)
        left = await names()

    assert left == {
        "event_id: 1 days",
        "position: 1 days",
        "key: 1 days",
        "position: replayed 1 days",
        "position: open 1 days",
        "position: open 31 days",
    }


@pytest.mark.parametrize("make", wiring.CONSUMERS)
def test_database_outage_makes_no_dead_letters(make: type) -> None:
    policy = definition_of(make()).options.retry

    assert sum(policy.wait(attempt, lambda: 0.0) for attempt in range(1, policy.attempts)) > 30


async def test_database_error_quotes_no_value(database_url: str) -> None:
    engine = open_engine(database_url)
    with pytest.raises(IntegrityError) as raised:
        async with sessions.begin() as session:
            session.add(Activity(tenant_id=TENANT, topic="a secret"))  # and nothing else, which is refused
    await engine.dispose()

    assert "a secret" not in str(raised.value)


async def test_replay_runs_once_for_one_key(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody discarded has no effect that would close it."""
    tenant, runs = Tenant(client, TENANT), iter(range(9))

    async def run(_: DeadLetterReplay, *, tenant_id: str, topic: str) -> ReplayResult:
        return ReplayResult(True, f"run {next(runs)} for {tenant_id} of {topic}")

    monkeypatch.setattr(DeadLetterReplay, "run", run)
    async with sessions.begin() as session:
        session.add_all(rows(timedelta(0)))

    path = "/dead-letters/open 0 days/replay"
    answers = [(await tenant.call("POST", path, key="k1")).json()["summary"] for _ in range(2)]

    assert answers == ["run 0 for tenant-a of t"] * 2
    assert [letter for letter in await tenant.get("/dead-letters") if letter["replayedAt"] is None] == []


COMMAND = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(" ".join([str(os.getpid()), *sys.argv[2:]]))
time.sleep(60)
"""


async def test_slow_replay_ends_before_next(tmp_path: Path) -> None:
    note = tmp_path / "note"
    replay = DeadLetterReplay({}, command=(sys.executable, "-c", COMMAND, str(note)), timeout=2)

    result = await replay.run(tenant_id="--help", topic="t")

    process, _, arguments = note.read_text().partition(" ")
    assert (result.succeeded, result.summary) == (False, "ended after 2 s; the other dead letters stay open")
    assert arguments.endswith("make_handler --tenant=--help --topic=t")
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)
