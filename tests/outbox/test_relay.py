"""`OutboxRelay`: what is sent, marked, parked and taken over, on a Kafka that fails on command."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from tests.outbox.conftest import create_tables
from tests.outbox.fake_kafka import NO_TOPIC, TOO_LARGE, FakeKafka
from tests.postgres import Postgres
from tests.waiting import until

from eventzr_kafka import CloudEvent, KafkaSettings
from eventzr_kafka._sql.database import database_time
from eventzr_kafka.errors import AuthenticationError, ConfigurationError
from eventzr_kafka.lifecycle.signals import stopped_by_signals
from eventzr_kafka.outbox import (
    BucketsHeld,
    Outbox,
    OutboxRelay,
    OutboxStatus,
    RelayHooks,
    RelayOptions,
    RowDelayed,
    RowParked,
    RowsPublished,
    delays,
    migration,
    read_status,
)
from eventzr_kafka.outbox.leases import Leases
from eventzr_kafka.outbox.tables import BUCKETS, events

SETTINGS = KafkaSettings()
QUICK = RelayOptions(lease=timedelta(seconds=0.6), poll_every=timedelta(seconds=0.1))
OUTBOX = Outbox()


@pytest.fixture
def kafka_log() -> FakeKafka:
    return FakeKafka()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "_FIRST", 0.05)
    monkeypatch.setattr(delays, "_LONGEST", 0.1)


def relay(
    engine: AsyncEngine, kafka: FakeKafka, options: RelayOptions = QUICK, **hooks: Callable[..., None]
) -> OutboxRelay:
    return OutboxRelay(engine, SETTINGS, options=options, hooks=RelayHooks(**hooks), transport=kafka.client)


async def ready(running: OutboxRelay) -> OutboxRelay:
    """Have its leases and its client, and take no turn by itself."""
    await running._sender.start()
    await running._prepare()
    await running._renew()
    return running


async def publish(engine: AsyncEngine, tenant: str, *event_ids: str) -> None:
    async with AsyncSession(engine) as session, session.begin():
        for event_id in event_ids:
            OUTBOX.publish(session, CloudEvent(id=event_id, source="s", type="a.b", tenantid=tenant))


async def until_empty(engine: AsyncEngine) -> None:
    await until(lambda: is_empty(engine))


async def is_empty(engine: AsyncEngine) -> bool:
    return (await read_status(engine)).pending == 0


async def has_failed(engine: AsyncEngine) -> bool:
    return (await read_status(engine)).failed != ()


def first_appearances(event_ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(event_ids))


NUMBERS = [f"{n:03}" for n in range(300)]


async def test_rows_are_published_in_order(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    await publish(engine, "t1", *NUMBERS)
    await publish(engine, "t2", "x")
    async with relay(engine, kafka_log, RelayOptions(batch_rows=7)):
        await until_empty(engine)
    assert kafka_log.of("t1") == NUMBERS
    assert kafka_log.of("t2") == ["x"]


async def test_large_rows_make_small_batches(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    await publish(engine, "t1", *NUMBERS[:20])
    running = await ready(relay(engine, kafka_log, RelayOptions(batch_bytes=1)))
    assert await running._turns.take_turn() == (1, 1)
    assert kafka_log.of("t1") == NUMBERS[:1]


async def test_notify_wakes_a_sleeping_relay(postgres_engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    async with relay(postgres_engine, kafka_log, RelayOptions(poll_every=timedelta(seconds=60))) as running:
        await until(lambda: running._idle > 2)  # asleep
        await publish(postgres_engine, "t1", "x")
        await until(lambda: kafka_log.of("t1") == ["x"], 1.5)


async def test_relay_that_dies_before_its_mark_leaves_duplicates(
    engine: AsyncEngine, kafka_log: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(engine, "t1", *NUMBERS)
    dying = await ready(relay(engine, kafka_log, RelayOptions(batch_rows=50, lease=QUICK.lease)))
    monkeypatch.setattr(dying._turns, "_mark", lambda: asyncio.sleep(0))
    await dying._turns.take_turn()
    assert kafka_log.of("t1") == NUMBERS[:50]
    async with relay(engine, kafka_log):
        await until_empty(engine)
    assert kafka_log.of("t1") == NUMBERS[:50] + NUMBERS


async def test_relay_without_leases_marks_nothing(postgres_engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    await publish(postgres_engine, "t1", *NUMBERS[:20])
    told: list[RowsPublished] = []
    brief = RelayOptions(lease=timedelta(seconds=1))
    sleeper = await ready(relay(postgres_engine, kafka_log, brief, on_rows_published=told.append))
    rows = await sleeper._rows.read((), 10, 1_000_000)
    sleeper._sender.send(rows[:5])
    await sleeper._turns._settle(await sleeper._sender.wait_for_results(0, 1))  # and here it falls asleep
    kafka_log.silent.add("t1")  # so that the other relay marks nothing either
    async with relay(postgres_engine, kafka_log) as other:
        await until(lambda: len(kafka_log.log) == 25)
        await sleeper._turns._mark()
        assert told == [RowsPublished(marked=0, fenced=5)]
        sleeper._sender.send(rows[5:])
        assert await sleeper._turns.take_turn() == (0, 0)
        assert held(other) == BUCKETS
    assert (await read_status(postgres_engine)).pending == 20
    assert kafka_log.of("t1") == [*NUMBERS[:5], *NUMBERS[:20], *NUMBERS[5:10]]


async def test_failed_row_holds_only_its_tenant(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    kafka_log.failures["b"] = NO_TOPIC
    await publish(engine, "t1", "a", "b", "c")
    await publish(engine, "t2", "x")
    async with relay(engine, kafka_log):
        await until(lambda: kafka_log.of("t2") == ["x"])
        await publish(engine, "t2", "y")
        await until(lambda: kafka_log.of("t2") == ["x", "y"])
        assert kafka_log.of("t1") == ["a"]
        assert (await read_status(engine)).failed[0].failure == "_UNKNOWN_TOPIC: no such topic"
        del kafka_log.failures["b"]
        await until_empty(engine)
    assert kafka_log.of("t1") == ["a", "b", "c"]


async def test_refused_row_is_parked(
    engine: AsyncEngine, kafka_log: FakeKafka, caplog: pytest.LogCaptureFixture
) -> None:
    kafka_log.failures |= {"100": TOO_LARGE, "102": TOO_LARGE}
    await publish(engine, "t1", *NUMBERS)
    async with relay(engine, kafka_log):
        await until_empty(engine)
    status = await read_status(engine)
    assert [(row.event_id, row.failure, row.parked) for row in status.failed] == [
        ("100", "MSG_SIZE_TOO_LARGE: too large", True),
        ("102", "MSG_SIZE_TOO_LARGE: too large", True),
    ]
    assert first_appearances(kafka_log.of("t1")) == [n for n in NUMBERS if n not in {"100", "102"}]
    assert sum("parked" in line for line in caplog.messages) == status.parked == 2


async def test_relay_hooks_are_called_for_each_fact(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    kafka_log.failures = {"a": TOO_LARGE, "b": NO_TOPIC}
    await publish(engine, "t1", "a", "b")
    told: dict[type, Any] = {}

    def note(fact: object) -> None:
        told.setdefault(type(fact), fact)

    async with relay(
        engine, kafka_log, on_buckets_held=note, on_status_sampled=note, on_row_parked=note, on_row_delayed=note
    ):
        await until(lambda: len(told) == 4)
    assert told[BucketsHeld] == BucketsHeld(BUCKETS, relays=1)
    assert told[OutboxStatus].pending == 2
    assert told[RowParked] == RowParked("t1", "a", "a.b", "MSG_SIZE_TOO_LARGE: too large")
    assert told[RowDelayed] == RowDelayed("t1", "b", "a.b", "_UNKNOWN_TOPIC: no such topic", 0.05)


async def test_refused_row_may_stop_its_tenant(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    kafka_log.failures["b"] = TOO_LARGE
    await publish(engine, "t1", "a", "b", "c")
    async with relay(engine, kafka_log, RelayOptions(on_unpublishable="stop_tenant")):
        await publish(engine, "t2", "x")
        await until(lambda: kafka_log.of("t2") == ["x"])
        await until(lambda: has_failed(engine))
        assert kafka_log.of("t1") == ["a"]
        kafka_log.failures.clear()
        await until_empty(engine)
    assert kafka_log.of("t1") == ["a", "b", "c"]


async def test_tenants_behind_a_topic_hold_up_no_other(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    kafka_log.missing = {"not.there"}
    tenants = [f"w{number}" for number in range(1_250)]
    async with AsyncSession(engine) as session, session.begin():
        for tenant in tenants:
            OUTBOX.publish(session, CloudEvent(id=tenant, source="s", type="not.there", tenantid=tenant))
    await publish(engine, "t1", "x")
    small = RelayOptions(lease=QUICK.lease, poll_every=QUICK.poll_every, batch_rows=500)
    async with relay(engine, kafka_log, small) as running:
        await until(lambda: kafka_log.of("t1") == ["x"])
        await publish(engine, "t1", "y")
        await until(lambda: kafka_log.of("t1") == ["x", "y"])
        assert running.problems[0].startswith(f"not.there: {NO_TOPIC.reason}: {NO_TOPIC.text}; tenants that wait: ")
        assert kafka_log.asked < 625  # the first batch, and one row at a time since
        kafka_log.missing.clear()
        await until_empty(engine)
        assert running.problems == []


async def test_unanswered_rows_hold_up_their_tenant(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    kafka_log.silent.add("t1")
    await publish(engine, "t1", "a", "b")
    async with relay(engine, kafka_log):
        await until(lambda: kafka_log.of("t1") == ["a", "b"])
        await publish(engine, "t1", "c")
        await publish(engine, "t2", "x")
        await until(lambda: kafka_log.of("t2") == ["x"])
        assert kafka_log.of("t1") == ["a", "b"]
    assert (await read_status(engine)).pending == 3


async def test_relay_cancelled_twice_frees_leases(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    kafka_log.silent.add("t1")
    await publish(engine, "t1", "a")

    async def serve() -> None:
        async with relay(engine, kafka_log):
            await asyncio.Event().wait()

    service = asyncio.create_task(serve())
    await until(lambda: kafka_log.of("t1") == ["a"])
    for _ in range(2):
        service.cancel()
        await asyncio.sleep(0.05)
    await asyncio.wait({service}, timeout=20)
    assert service.cancelled()
    assert kafka_log.closed == kafka_log.clients == 1
    assert (await read_status(engine)).relays == ()


async def test_relay_ends_with_its_loops_runners(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    stopped: list[str] = []
    running = asyncio.create_task(relay(engine, kafka_log).run())
    await until(lambda: kafka_log.clients == 1)
    with stopped_by_signals(lambda: stopped.append("runner")):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 20)
    assert stopped == ["runner"]


async def test_relays_replace_a_dead_one(postgres_engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    dead = await ready(relay(postgres_engine, kafka_log))
    assert len(dead._leases.held) == BUCKETS
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(relay(postgres_engine, kafka_log)) for _ in range(3)]
        await until(lambda: [len(r._leases.held) for r in relays].count(22) == 2 and sum(map(held, relays)) == BUCKETS)
        async with asyncio.timeout(60):
            while await shared(postgres_engine) != BUCKETS:  # noqa: ASYNC110 -- written at each next renewal
                await asyncio.sleep(0.05)
    assert await shared(postgres_engine) == 0  # those that stopped gave theirs back
    async with relay(postgres_engine, kafka_log) as last:
        await until(lambda: held(last) == BUCKETS)


async def shared(engine: AsyncEngine) -> int:
    return sum(share.buckets for share in (await read_status(engine)).relays)


def held(running: OutboxRelay) -> int:
    return len(running._leases.held)


async def test_sqlite_takes_one_relay(tmp_path: object, kafka_log: FakeKafka) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/outbox.db"
    create_tables(url)
    engine = create_async_engine(url)
    keeping = RelayOptions()  # a lease that does not expire in the meantime
    async with relay(engine, kafka_log, keeping) as first:
        await until(lambda: held(first) == BUCKETS)
        with pytest.raises(ConfigurationError, match="SQLite takes one"):
            await relay(engine, kafka_log).run()
    await engine.dispose()


async def test_missing_tables_are_named(postgres_url: str, kafka_log: FakeKafka) -> None:
    engine = create_async_engine(postgres_url)
    with pytest.raises(ConfigurationError, match=r"eventzr_outbox is missing.*migration"):
        await relay(engine, kafka_log).run()
    await engine.dispose()


async def test_relay_keeps_what_ended_it(postgres_url: str, kafka_log: FakeKafka) -> None:
    engine = create_async_engine(postgres_url)
    running = relay(engine, kafka_log)
    assert running.error is None
    with pytest.raises(ConfigurationError) as raised:
        await until_it_ends(running)
    assert running.error is raised.value
    await engine.dispose()


async def test_error_of_the_block_goes_first(postgres_url: str, kafka_log: FakeKafka) -> None:
    engine = create_async_engine(postgres_url)
    with pytest.raises(ZeroDivisionError):
        await until_it_ends(relay(engine, kafka_log), then=ZeroDivisionError())
    await engine.dispose()


async def until_it_ends(running: OutboxRelay, then: Exception | None = None) -> None:
    async with running:
        await until(lambda: running.error is not None)
        if then is not None:
            raise then


async def test_failed_login_of_a_new_client_is_retried(
    engine: AsyncEngine, kafka_log: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventzr_kafka.outbox.relay._TRY_AGAIN_EVERY", 0.01)
    async with relay(engine, kafka_log) as running:
        await until(lambda: held(running) == BUCKETS)
        kafka_log.no_login = AuthenticationError("me", "no token", "log in")
        kafka_log.failures["a"] = TOO_LARGE
        await publish(engine, "t1", "a", "b")
        await until(lambda: running.problems == [str(kafka_log.no_login)])
        kafka_log.no_login = None
        await until_empty(engine)
        await until(lambda: running.problems == [])


async def test_relay_counts_itself_after_a_pause(engine: AsyncEngine) -> None:
    leases = Leases(engine, "me", timedelta(seconds=-1))  # a lease that has run out when it is counted
    await leases.prepare()
    await leases.renew(())
    assert (leases.alive, len(leases.held)) == (1, BUCKETS)


async def test_autocommit_engine_is_refused(postgres_url: str, kafka_log: FakeKafka) -> None:
    engine = create_async_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        await relay(engine, kafka_log).run()
    await engine.dispose()


async def test_tables_may_have_a_schema(postgres_url: str, kafka_log: FakeKafka) -> None:
    engine = create_async_engine(postgres_url, execution_options={"schema_translate_map": {None: "events"}})
    with pytest.raises(ConfigurationError, match="eventzr_outbox is missing"):
        await relay(engine, kafka_log).run()
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA events"))
        await connection.run_sync(migrate)
    async with relay(engine, kafka_log):
        await publish(engine, "t1", "a", "b")
        await until_empty(engine)
    assert kafka_log.of("t1") == ["a", "b"]
    await engine.dispose()


def migrate(connection: Connection) -> None:
    migration.upgrade(Operations(MigrationContext.configure(connection)))


async def test_tables_may_be_on_search_path(postgres_url: str, kafka_log: FakeKafka) -> None:
    create_tables(postgres_url)
    engine = create_async_engine(postgres_url, connect_args={"options": "-csearch_path=mine,public"})
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA mine"))
    await publish(engine, "t1", "a")
    async with relay(engine, kafka_log):
        await until_empty(engine)
    await engine.dispose()


@pytest.mark.parametrize("wrong", [{"batch_rows": 0}, {"poll_every": timedelta(0)}, {"on_unpublishable": "stop"}])
def test_useless_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"RelayOptions: .*{next(iter(wrong))}"):
        RelayOptions(**wrong)


async def test_rows_wait_while_kafka_is_disabled(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    await publish(engine, "t1", "a")
    async with OutboxRelay(engine, KafkaSettings(enabled=False), options=QUICK, transport=kafka_log.client):
        await asyncio.sleep(0)
    assert kafka_log.clients == 0
    assert (await read_status(engine)).pending == 1


async def test_published_rows_are_deleted_by_age(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    await publish(engine, "t1", *NUMBERS[:25])
    async with relay(engine, kafka_log):
        await until_empty(engine)
    async with engine.begin() as connection:
        last = select(func.max(events.c.id)).scalar_subquery()
        await connection.execute(
            update(events).where(events.c.id < last).values(published_at=text("'2020-01-01 00:00'"))
        )
    async with relay(engine, kafka_log, RelayOptions(clean_rows=10)):
        await until(lambda: has_one(engine))


async def test_late_rows_do_not_keep_older_ones(engine: AsyncEngine) -> None:
    row = {"bucket": 0, "tenant_id": "t", "event_id": "e", "topic": "t.v1", "headers": "[]", "value": b"", "size": 0}
    new = insert(events).values(created_at=database_time())
    async with engine.begin() as connection:
        await connection.execute(new.values(published_at=database_time()), [row] * 20)
        await connection.execute(new.values(published_at=database_time(timedelta(days=-2))), [row] * 15)
    rows = OutboxRelay(engine, SETTINGS)._rows
    assert [await rows.clean(timedelta(days=1), 10) for _ in range(3)] == [10, 5, 0]


async def has_one(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(events))).scalar_one() == 1


@pytest.fixture
async def own_server() -> AsyncGenerator[tuple[Postgres, AsyncEngine]]:
    with Postgres() as server:
        create_tables(server.url())
        engine = create_async_engine(server.url(), pool_pre_ping=True)
        yield server, engine
        await engine.dispose()


async def test_database_restart_is_two_lines(
    own_server: tuple[Postgres, AsyncEngine], kafka_log: FakeKafka, caplog: pytest.LogCaptureFixture
) -> None:
    server, engine = own_server
    caplog.set_level(logging.INFO)
    async with relay(engine, kafka_log) as running:
        await publish(engine, "t1", "a")
        await until_empty(engine)
        await asyncio.to_thread(server.kill)
        await until(lambda: "the database does not answer" in "".join(running.problems))
        started = time.monotonic()
        await until(lambda: time.monotonic() > started + 1.5)
        await asyncio.to_thread(server.start)
        await publish(engine, "t1", "b")
        await until_empty(engine)
    assert first_appearances(kafka_log.of("t1")) == ["a", "b"]
    lines = [line for line in caplog.messages if "the database" in line]
    assert [re.split(r"[(\d]", line.split(":")[1])[0].strip() for line in lines] == [
        "the database does not answer",
        "the database is back after",
    ]
