"""A handler that ends its transaction below the inbox's session: neither a mark without its effect, nor silence."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from tests.outbox.conftest import listings
from tests.outbox.member import TOPIC, record, running
from tests.outbox.test_inbox import SOON, effect, effects, marked

from eventzr_kafka import CloudEvent, MessageContext, kafka_consumer, on_batch, on_message
from eventzr_kafka.inbox import SqlInbox

Way = Callable[[AsyncSession], Awaitable[None]]
SyncWay = Callable[[Session], object]


async def connection_commits(session: AsyncSession) -> None:
    await (await session.connection()).commit()


async def statement_commits(session: AsyncSession) -> None:
    await session.execute(text("COMMIT"))


async def driver_commits(session: AsyncSession) -> None:
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    if hasattr(driver, "commit"):
        await driver.commit()
    else:  # asyncpg
        await driver.execute("COMMIT")


async def connection_rolls_back(session: AsyncSession) -> None:
    await (await session.connection()).rollback()


async def statement_rolls_back(session: AsyncSession) -> None:
    await session.execute(text("ROLLBACK"))


async def driver_rolls_back(session: AsyncSession) -> None:
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    await (driver.rollback() if hasattr(driver, "rollback") else driver.execute("ROLLBACK"))


WAYS: dict[str, Way] = {
    "connection commits": connection_commits,
    "statement commits": statement_commits,
    "driver commits": driver_commits,
    "connection rolls back": connection_rolls_back,
    "statement rolls back": statement_rolls_back,
    "driver rolls back": driver_rolls_back,
}
SYNC: dict[str, SyncWay] = {
    "connection commits": lambda session: session.connection().commit(),
    "statement commits": lambda session: session.execute(text("COMMIT")),
    "driver commits": lambda session: session.connection().connection.commit(),
    "connection rolls back": lambda session: session.connection().rollback(),
    "statement rolls back": lambda session: session.execute(text("ROLLBACK")),
    "driver rolls back": lambda session: session.connection().connection.rollback(),
}
GOOD = "good"
# By event id: the way, and whether the handler then writes once more, or fails.
CASES = {f"{way}{then}": (way, then) for way in WAYS for then in ("", ", and it goes on", ", and it fails")}
# What SQLAlchemy says of it, which is an error in tests:
pytestmark = pytest.mark.filterwarnings("ignore:transaction already deassociated from connection")


async def deliver(handler: object, ids: Sequence[str]) -> dict[str, str]:
    """Deliver events; returns the reasons of the dead letters by event id."""
    async with running(handler) as member:
        member.deliver(*(record(number, name) for number, name in enumerate(ids)))
        await member.done(len(ids))
        headers = [dict(letter.headers) for letter in member.dead_letters.records]
    texts = [[(each[f"eventzr-dlq-{name}"] or b"").decode() for name in ("event-id", "reason")] for each in headers]
    return {name: reason for name, reason in texts}  # noqa: C416 -- pairs are lists here


async def assert_that_no_mark_is_alone(reasons: dict[str, str], called: list[str], engine: AsyncEngine) -> None:
    committed = {name for name in CASES if "commits" in name}
    assert reasons.keys() == CASES.keys()
    assert {name for name, reason in reasons.items() if reason.startswith("the handler committed below")} == committed
    assert {name: called.count(name) for name in CASES} == {name: 1 if name in committed else 2 for name in CASES}
    assert await effects(engine) == sorted([*committed, GOOD])  # what was committed is kept, and not repeated
    assert await marked(engine) == [GOOD]


async def test_transaction_ended_below_its_session_leaves_no_mark(engine: AsyncEngine) -> None:
    called: list[str] = []

    @kafka_consumer(group_id="g", inbox=SqlInbox(async_sessionmaker(engine)), retry=SOON)
    class Careless:
        @on_message(TOPIC)
        async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
            called.append(event.id)
            await context.session.execute(effect(event))
            way, then = CASES.get(event.id, (None, ""))
            if way is not None:
                await WAYS[way](context.session)
            if then == ", and it goes on":
                with suppress(Exception):
                    await context.session.execute(effect(event))
            if then == ", and it fails":
                raise ValueError

    reasons = await deliver(Careless(), [*CASES, GOOD])
    await assert_that_no_mark_is_alone(reasons, called, engine)


async def test_def_handlers_transaction_ended_below_leaves_no_mark(engine: AsyncEngine) -> None:
    called: list[str] = []
    sync = create_engine(engine.url.set(drivername=engine.url.drivername.replace("+aiosqlite", "")))

    @kafka_consumer(group_id="g", inbox=SqlInbox(sessionmaker(sync)), retry=SOON)
    class Careless:
        @on_message(TOPIC)
        def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
            called.append(event.id)
            context.session.execute(effect(event))
            way, then = CASES.get(event.id, (None, ""))
            if way is not None:
                SYNC[way](context.session)
            if then == ", and it goes on":
                with suppress(Exception):
                    context.session.execute(effect(event))
            if then == ", and it fails":
                raise ValueError

    reasons = await deliver(Careless(), [*CASES, GOOD])
    sync.dispose()
    await assert_that_no_mark_is_alone(reasons, called, engine)


def consumer(engine: AsyncEngine, way: Way) -> Any:
    @kafka_consumer(group_id="g", inbox=SqlInbox(async_sessionmaker(engine)), retry=SOON)
    class Books:
        @on_message(TOPIC)
        async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
            await context.session.execute(effect(event))
            if event.id != GOOD:
                await way(context.session)

    return Books()


async def test_batch_committed_below_has_no_mark(engine: AsyncEngine) -> None:
    @kafka_consumer(group_id="g", inbox=SqlInbox(async_sessionmaker(engine)), retry=SOON)
    class Careless:
        @on_batch(TOPIC, max_size=2, max_wait=0.0)
        async def book(self, events: list[CloudEvent[Any]], contexts: list[MessageContext]) -> None:
            for event in events:
                await contexts[0].session.execute(effect(event))
            await connection_commits(contexts[0].session)

    assert len(await deliver(Careless(), ["a", "b"])) == 2
    assert await marked(engine) == []


async def test_swallowed_database_error_is_a_failure(postgres_engine: AsyncEngine) -> None:
    async def fails(session: AsyncSession) -> None:
        with suppress(DBAPIError):
            await session.execute(text("SELECT 1 / 0"))

    reasons = await deliver(consumer(postgres_engine, fails), ["a", GOOD])
    assert reasons["a"].startswith("ConsumerStateError at ")
    assert await effects(postgres_engine) == await marked(postgres_engine) == [GOOD]


async def test_savepoints_belong_to_handler(engine: AsyncEngine) -> None:
    async def nests(session: AsyncSession) -> None:
        async with session.begin_nested():
            await session.execute(listings.insert().values(tenant_id="nested"))
        async with session.begin_nested() as savepoint:
            await session.execute(listings.insert().values(tenant_id="undone"))
            await savepoint.rollback()

    assert await deliver(consumer(engine, nests), ["a"]) == {}
    assert await marked(engine) == ["a"]
    assert await effects(engine) == ["a", "nested"]


async def test_mark_in_doubt_is_reported(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = SqlInbox(async_sessionmaker(engine))

    async def gone(*_: object) -> int:
        raise ConnectionRefusedError

    @kafka_consumer(group_id="g", inbox=inbox, retry=SOON)
    class Careless:
        @on_message(TOPIC)
        async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:  # noqa: ARG002
            await connection_rolls_back(context.session)
            monkeypatch.setattr(inbox, "_run", gone)

    with caplog.at_level(logging.ERROR, "eventzr_kafka.inbox"):
        assert len(await deliver(Careless(), ["a"])) == 1
    assert "the database does not say whether its mark was kept (ConnectionRefusedError" in caplog.text
