"""20,000 transactions, relays killed every other second, database and broker restarted: Kafka holds what committed,
and first appearances are in commit order.

The commit order is PostgreSQL's own: the commit timestamp of a row that each transaction writes besides its events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from tests.outbox.inbox_members import InboxMembers
from tests.postgres import Postgres
from tests.torture.conftest import Finding

from eventzr_kafka import CloudEvent, inbox
from eventzr_kafka.outbox import Outbox, metadata, read_status
from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.torture

TRANSACTIONS, WRITERS, TENANTS, PARTITIONS = 20_000, 4, 50, 6
KILLS, KILLS_BEFORE_MARK, MEMBER_ENDS = 20, 5, 20
RELAY = Path(__file__).with_name("outbox_relay.py")
OUTBOX = Outbox()
NOTE = text("INSERT INTO evidence (tenant_id, event_id) VALUES (:tenant, :event)")
COMMITTED = text("SELECT tenant_id, event_id FROM evidence ORDER BY pg_xact_commit_timestamp(xmin), position")


class Relays:
    """Two relay processes, and how many of them were killed, and where."""

    def __init__(self, url: str, brokers: str) -> None:
        self._command = [sys.executable, str(RELAY), url, brokers]
        self._running: list[subprocess.Popen[bytes]] = []
        self.kills: Counter[str] = Counter()
        self._start()
        self._start()

    def _start(self) -> None:
        self._running.append(subprocess.Popen(self._command, stdout=subprocess.PIPE))

    async def kill_one(self) -> None:
        victim = self._running.pop(random.randrange(2))  # noqa: S311
        if sum(self.kills.values()) % 2 and await self._dies_before_mark(victim):
            self.kills["killed between publish and mark"] += 1
        else:
            victim.kill()
            self.kills["killed anywhere"] += 1
        await asyncio.to_thread(victim.wait)
        with victim:  # which closes its pipe
            self._start()

    def killed_enough(self) -> bool:
        return sum(self.kills.values()) >= KILLS and self.kills["killed between publish and mark"] >= KILLS_BEFORE_MARK

    async def _dies_before_mark(self, victim: subprocess.Popen[bytes]) -> bool:
        assert victim.stdout is not None
        await asyncio.to_thread(victim.stdout.readline)  # it may have just begun, and not listen to signals yet
        victim.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return await asyncio.to_thread(victim.wait, 30) == -signal.SIGKILL
        return False

    def end(self, how: signal.Signals) -> None:
        for process in self._running:
            process.send_signal(how)
        for process in self._running:
            with process:
                process.wait(60)


class Writers:
    """Transactions, a third of them rolled back."""

    def __init__(self, engine: AsyncEngine, topic: str) -> None:
        self._engine = engine
        self._topic = topic
        self.begun = 0
        self.rolled_back: set[str] = set()

    async def run(self) -> None:
        await asyncio.gather(*(self._write() for _ in range(WRITERS)))

    async def _write(self) -> None:
        while self.begun < TRANSACTIONS:
            self.begun += 1
            try:
                await self._transaction(self.begun)
            except (DBAPIError, OSError):  # the restart; whether it was committed, the evidence says
                await asyncio.sleep(0.2)

    async def _transaction(self, number: int) -> None:
        event_ids = [f"{number}-{part}" for part in range(random.choice([1, 1, 2, 3]))]  # noqa: S311
        async with AsyncSession(self._engine) as session, session.begin():
            for event_id in event_ids:
                await self._publish(session, event_id)
            await asyncio.sleep(random.random() / 100)  # noqa: S311 -- later ones commit first
            if number % 3 == 0:
                await session.rollback()
                self.rolled_back.update(event_ids)

    async def _publish(self, session: AsyncSession, event_id: str) -> None:
        tenant = f"t{random.randrange(TENANTS)}"  # noqa: S311
        OUTBOX.publish(session, CloudEvent(id=event_id, source="torture", type=self._topic, tenantid=tenant))
        await session.execute(NOTE, {"tenant": tenant, "event": event_id})


@pytest.fixture
def database() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
async def engine(database: Postgres) -> AsyncGenerator[AsyncEngine]:
    made = create_async_engine(database.url(), pool_pre_ping=True)
    async with made.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.run_sync(inbox.metadata.create_all)
        await connection.execute(text("CREATE TABLE evidence (position serial, tenant_id text, event_id text)"))
    yield made
    await made.dispose()


@pytest.fixture
def relays(engine: AsyncEngine, database: Postgres, kafka: KafkaServer) -> Iterator[Relays]:
    assert engine is not None
    found = Relays(database.url(), kafka.bootstrap_servers)
    yield found
    found.end(signal.SIGKILL)


async def restart(server: Postgres | KafkaServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def wreck(relays: Relays, writers: Writers, database: Postgres, kafka: KafkaServer) -> None:
    """Kill relays until all was seen: enough kills of each kind, and both restarts."""
    left: list[Postgres | KafkaServer] = [database, kafka]
    while writers.begun < TRANSACTIONS or not relays.killed_enough():
        await asyncio.sleep(2)
        await relays.kill_one()
        if left and writers.begun > TRANSACTIONS // 3 * (3 - len(left)):
            await restart(left.pop(0))
    assert left == []


def read(kafka: KafkaServer, topic: str) -> list[tuple[str, str]]:
    """(tenant, event id) of every record, in the order of its partition."""
    found: list[tuple[str, str]] = []
    with contextlib.closing(Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "r"})) as consumer:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        quiet = time.monotonic()
        while time.monotonic() < quiet + 5:
            for message in consumer.consume(1000, 0.5):
                assert message.error() is None
                event = json.loads(message.value() or b"")
                found.append((event["tenantid"], event["id"]))
                quiet = time.monotonic()
    return found


async def committed(engine: AsyncEngine) -> list[tuple[str, str]]:
    async with engine.connect() as connection:
        return [(tenant, event_id) for tenant, event_id in await connection.execute(COMMITTED)]


def by_tenant(events: list[tuple[str, str]]) -> dict[str, list[str]]:
    return {f"t{n}": list(dict.fromkeys(e for t, e in events if t == f"t{n}")) for n in range(TENANTS)}


async def test_kafka_and_inbox_hold_what_the_database_committed(
    engine: AsyncEngine,
    relays: Relays,
    database: Postgres,
    kafka: KafkaServer,
    topic: Callable[..., str],
    finding: Finding,
    tmp_path: Path,
) -> None:
    name = topic(partitions=PARTITIONS)
    writers = Writers(engine, name)
    await asyncio.gather(writers.run(), wreck(relays, writers, database, kafka))
    async with asyncio.timeout(120):
        while (status := await read_status(engine)).pending:  # noqa: ASYNC110 -- the database knows
            await asyncio.sleep(0.5)
    relays.end(signal.SIGTERM)
    records, expected = await asyncio.to_thread(read, kafka, name), await committed(engine)
    again = len(records) - len(set(records))
    assert status.parked == 0
    assert set(records) == set(expected)
    assert not {event_id for _, event_id in records} & writers.rolled_back
    assert by_tenant(records) == by_tenant(expected)
    assert 0 < again < len(expected)
    finding(
        f"outbox: {writers.begun:,} transactions, a third rolled back, 2 relays",
        f"{counted(relays.kills)}; all {len(expected):,} events, in commit order, {again:,} twice",
    )
    members = InboxMembers(engine, kafka.bootstrap_servers, name, tmp_path / "journal")
    await book_once(members, {event_id for _, event_id in expected})
    finding(
        "inbox: the events of the outbox, 2 members",
        f"{counted(members.ends)}; {len(expected):,} effects, each once, {members.skipped():,} duplicates skipped",
    )


async def book_once(members: InboxMembers, events: set[str]) -> None:
    await members.prepare()
    await members.book(len(events), ends=MEMBER_ENDS, seconds=400)
    effects = await members.effects()
    assert set(effects) == events
    assert [event_id for event_id, count in effects.items() if count > 1] == []
    assert members.skipped() > 0


def counted(kills: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(kills.items()))
