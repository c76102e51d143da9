"""The inbox: an effect and its mark commit together, whatever is delivered again, and to whomever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from tests.outbox.conftest import listings
from tests.outbox.member import TOPIC, record, running
from tests.waiting import until

from eventzr_kafka import (
    BatchItemError,
    CloudEvent,
    MessageContext,
    OutgoingRecord,
    Record,
    RetryPolicy,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.dead_letters.journal import DeadLetterJournal
from eventzr_kafka.engine.replay import Replay, ReplayResult
from eventzr_kafka.errors import ConfigurationError, RoutingError
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.deduplication import make_deduplicator
from eventzr_kafka.hooks import ConsumerHooks, DuplicateSkipped
from eventzr_kafka.inbox import SqlInbox
from eventzr_kafka.inbox.tables import marks

SOON = RetryPolicy(attempts=2, wait_initial=0.0)
Sessions = Callable[[], AsyncSession]


class Plan:
    """What the handlers are to do, and which events they were called with."""

    def __init__(self, sessions: Any) -> None:
        self.sessions = sessions
        self.called: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    def fail(self, event_id: str) -> None:
        if self.failures.get(event_id):
            raise self.failures[event_id].pop(0)


def effect(event: CloudEvent[Any]) -> Any:
    return insert(listings).values(tenant_id=event.id)


@kafka_consumer(group_id="ledger", inbox=lambda self: SqlInbox(self.sessions), retry=SOON)
class Ledger(Plan):
    @on_message(TOPIC)
    async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
        self.called.append(event.id)
        await context.session.execute(effect(event))
        await self.gate.wait()
        self.fail(event.id)


@kafka_consumer(group_id="ledger", inbox=lambda self: SqlInbox(self.sessions), retry=SOON)
class ThreadLedger(Plan):
    @on_message(TOPIC)
    def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
        self.called.append(event.id)
        context.session.execute(effect(event))
        self.fail(event.id)


@kafka_consumer(group_id="ledger", inbox=lambda self: SqlInbox(self.sessions), retry=SOON)
class BatchLedger(Plan):
    """Undoes what fails, and names it."""

    @on_batch(TOPIC, max_size=3, max_wait=0.0)
    async def book(self, events: list[CloudEvent[Any]], contexts: list[MessageContext]) -> None:
        self.called += [event.id for event in events]
        failed: list[CloudEvent[Any]] = []
        session: AsyncSession = contexts[0].session
        for event in events:
            try:
                async with session.begin_nested():
                    await session.execute(effect(event))
                    self.fail(event.id)
            except ValueError:
                failed.append(event)
        if failed:
            raise BatchItemError(*failed)


@kafka_consumer(group_id="ledger", inbox=lambda self: SqlInbox(self.sessions), retry=SOON)
class ThreadBatchLedger(Plan):
    @on_batch(TOPIC, max_size=3, max_wait=0.0)
    def book(self, events: list[CloudEvent[Any]], contexts: list[MessageContext]) -> None:
        self.called += [event.id for event in events]
        for event in events:
            with contexts[0].session.begin_nested() as savepoint:
                contexts[0].session.execute(effect(event))
                if self.failures.pop(event.id, None):
                    savepoint.rollback()
                    raise BatchItemError(event)


@pytest.fixture
def sync_sessions(engine: AsyncEngine) -> Iterator[sessionmaker[Session]]:
    made = create_engine(engine.url.set(drivername=engine.url.drivername.replace("+aiosqlite", "")))
    yield sessionmaker(made)
    made.dispose()


@pytest.fixture(params=[Ledger, ThreadLedger, BatchLedger, ThreadBatchLedger])
def ledger(request: pytest.FixtureRequest, engine: AsyncEngine, sync_sessions: sessionmaker[Session]) -> Plan:
    in_thread = request.param in (ThreadLedger, ThreadBatchLedger)
    found: Plan = request.param(sync_sessions if in_thread else async_sessionmaker(engine))
    return found


async def effects(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return sorted((await connection.scalars(select(listings.c.tenant_id))).all())


async def marked(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return sorted((await connection.scalars(select(marks.c.event_id))).all())


async def test_redelivered_event_has_no_second_effect(ledger: Plan, engine: AsyncEngine) -> None:
    async with running(ledger) as member:
        member.deliver(record(0, "a"), record(1, "b"), record(2, "a"))
        await member.done(3)
        member.deliver(record(1, "b"), record(2, "a"), record(3, "c"))  # in another epoch
        await member.done(4)
        await until(lambda: len(member.duplicates) == 3)
    assert ledger.called == ["a", "b", "c"]
    assert await effects(engine) == await marked(engine) == ["a", "b", "c"]
    assert [fact.offset for fact in member.duplicates] == [2, 1, 2]
    assert member.duplicates[0].group_id == "ledger"


async def test_failure_rolls_back_effect_and_mark(ledger: Plan, engine: AsyncEngine) -> None:
    ledger.failures = {"a": [ValueError()]}
    async with running(ledger) as member:
        member.deliver(record(0, "a"))
        await member.done(1)
    assert ledger.called == ["a", "a"]
    assert await effects(engine) == await marked(engine) == ["a"]


async def test_dead_letters_replay_is_handled_once(engine: AsyncEngine) -> None:
    ledger = Ledger(async_sessionmaker(engine))
    ledger.failures = {"a": [ValueError(), ValueError()]}
    async with running(ledger) as member:
        member.deliver(record(0, "a"))
        await member.done(1)
        assert len(member.dead_letters.records) == 1
        assert await effects(engine) == await marked(engine) == []
        member.deliver(record(1, "a"), record(2, "a"))  # replayed, and once more
        await member.done(3)
    assert await effects(engine) == ["a"]


async def write_nowhere(_note: OutgoingRecord) -> None: ...


async def replay(
    ledger: Plan, letter: OutgoingRecord, failed: Record
) -> tuple[list[ReplayResult], list[DuplicateSkipped]]:
    definition, journal = definition_of(ledger), DeadLetterJournal()
    journal.add([Record(letter.topic, 0, 0, letter.key, letter.value, letter.headers)])
    outcomes, skipped = list[ReplayResult](), list[DuplicateSkipped]()
    deduplicator = await make_deduplicator(ledger, definition.inbox, ConsumerHooks(on_duplicate_skipped=skipped.append))
    with ThreadPoolExecutor(1) as pool:
        routes = {
            route.topic: route for route in bind(ledger, definition.routes, definition.options, pool, deduplicator)
        }
        replaying = Replay("ledger", routes, definition.options, write_nowhere, outcomes.append)
        await replaying.run([(entry, failed) for entry in journal.open])
    return outcomes, skipped


async def test_replay_of_a_handled_event_is_skipped(engine: AsyncEngine) -> None:
    ledger = Ledger(async_sessionmaker(engine))
    ledger.failures = {"a": [ValueError(), ValueError()], "b": [ValueError(), ValueError()]}
    async with running(ledger) as member:
        member.deliver(record(0, "a"), record(1, "b"), record(2, "a"))
        await member.done(3)
        letters = member.dead_letters.records
    outcomes = [
        await replay(ledger, letter, record(n, name))
        for n, (letter, name) in enumerate(zip(letters, "ab", strict=True))
    ]
    assert [replayed[0].outcome for replayed, _ in outcomes] == ["replayed", "replayed"]
    assert [len(skipped) for _, skipped in outcomes] == [1, 0]
    assert await effects(engine) == await marked(engine) == ["a", "b"]


async def test_unnamed_events_of_a_batch_are_done(engine: AsyncEngine) -> None:
    ledger = BatchLedger(async_sessionmaker(engine))
    ledger.failures = {"b": [ValueError(), ValueError()]}
    async with running(ledger) as member:
        member.deliver(*(record(offset, name, tenant=name) for offset, name in enumerate("abc")))
        await member.done(3)
    assert ledger.called == ["a", "b", "c", "b"]
    assert await effects(engine) == await marked(engine) == ["a", "c"]
    assert len(member.dead_letters.records) == 1


async def test_other_sources_are_no_duplicates(engine: AsyncEngine) -> None:
    @kafka_consumer(group_id="other", inbox=SqlInbox(async_sessionmaker(engine)))
    class Other(Ledger):
        pass

    for handler in (Ledger(async_sessionmaker(engine)), Other(async_sessionmaker(engine))):
        async with running(handler) as member:
            member.deliver(record(0, "a", source="s"), record(1, "a", source="z"))
            await member.done(2)
    assert await effects(engine) == ["a"] * 4


@pytest.mark.parametrize("kind", [Ledger, ThreadLedger, BatchLedger])
async def test_two_tenants_may_share_an_id(
    kind: type[Plan], engine: AsyncEngine, sync_sessions: sessionmaker[Session]
) -> None:
    ledger = kind(sync_sessions if kind is ThreadLedger else async_sessionmaker(engine))
    async with running(ledger) as member:
        member.deliver(record(0, "42", tenant="a"), record(1, "42", tenant="b"), record(2, "42", tenant="a"))
        await member.done(3)
    assert await effects(engine) == await marked(engine) == ["42", "42"]
    assert len(member.duplicates) == 1


async def test_inbox_fails_only_named_tenant(engine: AsyncEngine) -> None:
    ledger = BatchLedger(async_sessionmaker(engine))
    ledger.failures = {"42": [ValueError()]}
    async with running(ledger) as member:
        member.deliver(record(0, "42", tenant="a"), record(1, "42", tenant="b"))
        await member.done(2)
    assert ledger.called == ["42", "42", "42"]
    assert await effects(engine) == await marked(engine) == ["42", "42"]


@pytest.mark.parametrize("kind", [Ledger, ThreadLedger])
async def test_older_marks_count_for_all_tenants(
    kind: type[Plan], engine: AsyncEngine, sync_sessions: sessionmaker[Session]
) -> None:
    async with engine.begin() as connection:
        old = {"group_id": "ledger", "source": "s", "event_id": "old", "marked_at": datetime.now(UTC)}
        await connection.execute(insert(marks), [old])
    ledger = kind(sync_sessions if kind is ThreadLedger else async_sessionmaker(engine))
    async with running(ledger) as member:
        member.deliver(record(0, "old", tenant="a"), record(1, "old", source="z"), record(2, "new", tenant="a"))
        await member.done(3)
    assert sorted(ledger.called) == ["new", "old"]
    assert [fact.offset for fact in member.duplicates] == [0]


@pytest.mark.parametrize("written", ["before its start", "while it runs"])
async def test_marks_of_an_older_member_count(written: str, engine: AsyncEngine) -> None:
    box = SqlInbox(async_sessionmaker(engine))
    if written == "while it runs":
        await box.check_tables()
    now = datetime.now(UTC)
    old = {"group_id": "ledger", "source": "s", "event_id": "old", "marked_at": now + timedelta(seconds=1)}
    new = [{**old, "event_id": str(number), "tenant_id": "a", "marked_at": now} for number in range(1_001)]
    async with engine.begin() as connection:
        await connection.execute(insert(marks), new)
        await connection.execute(insert(marks), [old])
    await (box.purge_expired() if written == "while it runs" else box.check_tables())
    event: CloudEvent[Any] = CloudEvent(id="old", source="s", type=TOPIC, tenantid="a", data={})
    delivery = event, MessageContext(record(0, "old", tenant="a"), "ledger", None)
    handled = await box.handle([delivery], refuse)
    assert handled.duplicates == [delivery]


async def refuse(_deliveries: object, _session: object) -> None:
    raise AssertionError("it was handled before")


async def test_older_table_is_named(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(marks.drop)
        await connection.execute(text("CREATE TABLE eventzr_inbox (group_id text, source text, event_id text)"))
    with pytest.raises(ConfigurationError, match=r"earlier release, without tenant_id: run .*upgrade\(op, step=2\)"):
        await start(Ledger(async_sessionmaker(engine)))


async def waits_for_a_lock(engine: AsyncEngine) -> bool:
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%eventzr_inbox%'"
    )
    async with engine.connect() as connection:
        return bool((await connection.execute(query)).scalar_one())


@pytest.mark.parametrize("first_fails", [False, True])
async def test_second_of_two_members_waits_for_the_first(postgres_engine: AsyncEngine, *, first_fails: bool) -> None:
    first, second = (Ledger(async_sessionmaker(postgres_engine)) for _ in range(2))
    first.gate.clear()
    first.failures = {"a": [ValueError(), ValueError()] if first_fails else []}
    async with running(first) as one, running(second) as other:
        one.deliver(record(0, "a"))
        await until(lambda: first.called == ["a"])
        other.deliver(record(0, "a"))
        await until(lambda: waits_for_a_lock(postgres_engine))
        first.gate.set()
        await asyncio.gather(one.done(1), other.done(1))
    assert second.called == (["a"] if first_fails else [])
    assert await effects(postgres_engine) == ["a"]


async def test_handler_that_commits_its_session_fails(engine: AsyncEngine) -> None:
    @kafka_consumer(group_id="g", inbox=SqlInbox(async_sessionmaker(engine)), retry=SOON)
    class Hasty:
        @on_message(TOPIC)
        async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
            await context.session.execute(effect(event))
            await context.session.commit()

    async with running(Hasty()) as member:
        member.deliver(record(0, "a"))
        await member.done(1)
    assert await effects(engine) == await marked(engine) == []
    assert len(member.dead_letters.records) == 1


@pytest.mark.parametrize("way", ["rollback", "close", "begin_nested"])
async def test_handler_must_leave_its_transaction_open_and_clean(way: str, engine: AsyncEngine) -> None:
    @kafka_consumer(group_id="g", inbox=SqlInbox(async_sessionmaker(engine)), retry=SOON)
    class Careless:
        @on_message(TOPIC)
        async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
            await context.session.execute(effect(event))
            await getattr(context.session, way)()

    async with running(Careless()) as member:
        member.deliver(record(0, "a"))
        await member.done(1)
    assert await effects(engine) == await marked(engine) == []
    assert len(member.dead_letters.records) == 1


async def test_slow_handler_is_rolled_back(engine: AsyncEngine) -> None:
    @kafka_consumer(group_id="g", inbox=SqlInbox(async_sessionmaker(engine)), retry=SOON, handler_timeout=0.5)
    class Slow(Plan):
        @on_message(TOPIC)
        async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
            self.called.append(event.id)
            await context.session.execute(effect(event))
            await asyncio.sleep(0 if len(self.called) > 1 else 60)

    async with running(handler := Slow(None)) as member:
        member.deliver(record(0, "a"))
        await member.done(1)
    assert handler.called == ["a", "a"]
    assert await effects(engine) == await marked(engine) == ["a"]


async def start(handler: object) -> None:
    async with running(handler):
        pass


async def test_unfit_sessions_are_refused(engine: AsyncEngine, sync_sessions: sessionmaker[Session]) -> None:
    with pytest.raises(ConfigurationError, match=r"Ledger\.book is async def: its SqlInbox needs a factory of Async"):
        await start(Ledger(sync_sessions))
    with pytest.raises(ConfigurationError, match=r"ThreadLedger\.book is def: its SqlInbox needs a factory of Session"):
        await start(ThreadLedger(async_sessionmaker(engine)))


async def test_sessions_in_autocommit_are_refused_at_the_start(engine: AsyncEngine) -> None:
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        await start(Ledger(async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))))
    if engine.dialect.name == "postgresql":
        silent = create_async_engine(engine.url, connect_args={"autocommit": True})
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await start(Ledger(async_sessionmaker(silent)))
        await silent.dispose()


async def test_missing_table_is_named_first(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(marks.drop)
    with pytest.raises(ConfigurationError, match=r"table eventzr_inbox is missing: include eventzr_kafka\.inbox\."):
        await start(Ledger(async_sessionmaker(engine)))


def test_wrong_inbox_is_refused_at_once() -> None:
    with pytest.raises(RoutingError, match=r"Wrong: inbox=str: must be an inbox, such as SqlInbox\(sessions\)"):

        @kafka_consumer(group_id="g", inbox="sql")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        class Wrong:
            @on_message(TOPIC)
            async def book(self, event: CloudEvent[Any]) -> None: ...


async def test_marks_are_deleted_stepwise(engine: AsyncEngine, sync_sessions: sessionmaker[Session]) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(days=30 if number < 2500 else 1) for number in range(2600)]
    rows = [{"group_id": "g", "source": "s", "event_id": str(n), "marked_at": now - age} for n, age in enumerate(ages)]
    async with engine.begin() as connection:
        await connection.execute(insert(marks), rows)
    inbox = SqlInbox(async_sessionmaker(engine), keep=timedelta(days=7))
    assert await inbox.purge_expired() is True
    assert await SqlInbox(sync_sessions).purge(older_than=timedelta(days=7)) == 1500
    assert await inbox.purge_expired() is False
    assert len(await marked(engine)) == 100
