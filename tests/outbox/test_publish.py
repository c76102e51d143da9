"""`Outbox.publish`: rows and transactions live and die together; errors surface where the event is made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.dialects import mysql
from sqlalchemy.event import listens_for
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from tests.outbox.conftest import create_tables, listings

from eventzr_kafka import CloudEvent, Record, decode
from eventzr_kafka.codec.limits import Limits
from eventzr_kafka.errors import ConfigurationError, EncodeError, MissingTenantError, ProducerError
from eventzr_kafka.events.context import enter, leave
from eventzr_kafka.outbox import Outbox, OutboxRelay, read_status, requeue
from eventzr_kafka.outbox.rows import OutboxRow
from eventzr_kafka.outbox.tables import events
from eventzr_marketplace_events import ListingCreated, example

LISTING = example(ListingCreated)
OUTBOX = Outbox()


async def event_ids(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list(await connection.scalars(select(events.c.event_id).order_by(events.c.id)))


async def test_commit_leaves_encoded_record(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        event_id = OUTBOX.publish(session, LISTING, tenant_id="t1", subject="listing:1")
    columns = [events.c[name] for name in OutboxRow._fields]
    async with engine.connect() as connection:
        record = OutboxRow(*(await connection.execute(select(*columns))).one()).record()
    event = decode(Record(record.topic, 0, 0, record.key, record.value, record.headers))
    assert (event.id, event.tenantid, event.subject, event.type) == (event_id, "t1", "listing:1", record.topic)
    assert event.data == LISTING


async def test_binary_mode_keeps_its_headers(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        Outbox(mode="binary").publish(session, LISTING, tenant_id="t1", event_id="e-ü")
    async with engine.connect() as connection:
        row = OutboxRow(*(await connection.execute(select(*(events.c[n] for n in OutboxRow._fields)))).one())
    assert dict(row.record().headers)["ce_id"] == "e-ü".encode()


async def test_rollback_leaves_nothing(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        OUTBOX.publish(session, LISTING, tenant_id="t1")
        await session.rollback()
        await session.commit()
    async with AsyncSession(engine) as session:
        OUTBOX.publish(session, LISTING, tenant_id="t1")  # closed without a commit
    assert await event_ids(engine) == []


async def test_savepoint_takes_its_events_along(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="before")
        kept = await session.begin_nested()
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="kept")
        inner = await session.begin_nested()
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="inner of kept")
        await inner.rollback()
        await kept.commit()
        lost = await session.begin_nested()
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="lost")
        inner = await session.begin_nested()
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="released inside of lost")
        await inner.commit()
        await lost.rollback()
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="after")
    assert await event_ids(engine) == ["before", "kept", "after"]


async def test_failed_flush_leaves_nothing(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="lost")
        for _ in range(2):
            with pytest.raises(DBAPIError):
                await session.execute(text("INSERT INTO nowhere VALUES (1)"))
        await session.rollback()
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="kept")
        await session.commit()
        OUTBOX.publish(session, LISTING, tenant_id="t", event_id="next transaction")
        await session.commit()
    assert await event_ids(engine) == ["kept", "next transaction"]


def test_sync_session_does_the_same(url: str) -> None:
    create_tables(url)
    engine = create_engine(url.replace("+aiosqlite", ""))
    with Session(engine) as session, session.begin():
        session.execute(insert(listings).values(tenant_id="t"))
        event_id = OUTBOX.publish(session, CloudEvent(id="e", source="s", type="a.b", tenantid="t", data=1))
    with engine.connect() as connection:
        assert connection.scalars(select(events.c.event_id)).all() == [event_id] == ["e"]
    engine.dispose()


async def test_errors_surface_at_the_event(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        with pytest.raises(EncodeError, match="tenantid"):
            OUTBOX.publish(session, LISTING, tenant_id="")
        with pytest.raises(EncodeError, match="limit is 10"):
            Outbox(limits=Limits(max_bytes=10)).publish(session, LISTING, tenant_id="t")
        await session.commit()
    assert await event_ids(engine) == []


def test_another_database_is_refused() -> None:
    engine = create_engine("sqlite://")
    engine.dialect = mysql.dialect()
    with Session(engine) as session, pytest.raises(ConfigurationError, match=r"PostgreSQL and SQLite.*mysql"):
        OUTBOX.publish(session, LISTING, tenant_id="t")
    engine.dispose()


async def test_autocommit_session_is_refused_at_the_event(url: str) -> None:
    create_tables(url)
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigurationError, match=r"AUTOCOMMIT isolation: give it an engine without isolation_level"):
        OUTBOX.publish(AsyncSession(engine), LISTING, tenant_id="t")
    await engine.dispose()
    engine = create_async_engine(url)
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        OUTBOX.publish(AsyncSession(engine.execution_options(isolation_level="AUTOCOMMIT")), LISTING, tenant_id="t")
    await engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_autocommit_fails_the_commit(engine: AsyncEngine) -> None:
    """The engine does not know of it: it was asked for with the session's connection, or of the driver."""
    silent = create_async_engine(engine.url, connect_args={"autocommit": True})
    async with AsyncSession(engine) as asked, AsyncSession(silent) as told:
        await asked.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        for session in (asked, told):
            OUTBOX.publish(session, LISTING, tenant_id="t")
            with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
                await session.commit()
    await silent.dispose()
    assert await event_ids(engine) == []


async def test_missing_tables_fail_without_a_payload(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with Session(engine) as session:
        OUTBOX.publish(session, CloudEvent(id="e", source="s", type="a.b", tenantid="t", data="s3cret"))
        with pytest.raises(DBAPIError, match=r'relation "eventzr_outbox" does not exist') as raised:
            session.commit()
        assert "s3cret" not in str(raised.value)
    with Session(engine) as session, session.begin():
        assert session.scalar(text("SELECT 1")) == 1  # the connection is fit for others
    engine.dispose()


async def test_crossed_transactions_do_not_deadlock(postgres_engine: AsyncEngine) -> None:
    """Each publishes first and then locks a row that the other one has locked; tenants come in opposite orders."""
    async with postgres_engine.begin() as connection:
        await connection.execute(insert(listings), [{"id": 1}, {"id": 2}])

    async def transaction(first: str, second: str) -> None:
        async with AsyncSession(postgres_engine) as session, session.begin():
            OUTBOX.publish(session, LISTING, tenant_id=first)
            await session.execute(text("UPDATE listing SET tenant_id = 't' WHERE id = 1"))
            OUTBOX.publish(session, LISTING, tenant_id=second)

    async with asyncio.timeout(60):
        await asyncio.gather(*(transaction(*("ab" if n % 2 else "ba")) for n in range(40)))
    assert len(await event_ids(postgres_engine)) == 80


async def test_listeners_event_joins_its_transaction(engine: AsyncEngine) -> None:
    class Collecting(Session):
        """Publishes what a domain has collected, when it commits."""

    @listens_for(Collecting, "before_commit")
    def collect(session: Session) -> None:
        OUTBOX.publish(session, LISTING, tenant_id="t1", event_id="late")

    async with AsyncSession(engine, sync_session_class=Collecting) as session, session.begin():
        OUTBOX.publish(session, LISTING, tenant_id="t1", event_id="early")
    assert await event_ids(engine) == ["early", "late"]


async def test_commit_over_a_savepoint_keeps_its_events(engine: AsyncEngine) -> None:
    async def careless() -> None:
        async with AsyncSession(engine) as session, session.begin():
            await session.begin_nested()
            OUTBOX.publish(session, LISTING, tenant_id="t1")

    with pytest.raises(ProducerError, match=r"1 events were not written .* a savepoint was open"):
        await careless()


# Sessions of other kinds


async def test_scoped_session_publishes(url: str) -> None:
    create_tables(url)
    engine = create_engine(url.replace("+aiosqlite", ""))
    registry = scoped_session(sessionmaker(engine))
    with registry.begin():
        OUTBOX.publish(registry, LISTING, tenant_id="t1", event_id="kept")
    OUTBOX.publish(registry, LISTING, tenant_id="t1", event_id="undone")
    registry.rollback()
    registry.remove()
    with engine.connect() as connection:
        assert list(connection.scalars(select(events.c.event_id))) == ["kept"]
    engine.dispose()


async def test_async_scoped_session_publishes(engine: AsyncEngine) -> None:
    registry = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    async with registry.begin():
        OUTBOX.publish(registry, LISTING, tenant_id="t1", event_id="kept")
    OUTBOX.publish(registry, LISTING, tenant_id="t1", event_id="undone")
    await registry.rollback()
    await registry.remove()
    assert await event_ids(engine) == ["kept"]


async def test_connection_is_refused_with_a_hint(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        hint = r"takes an SQLAlchemy session, not a AsyncConnection: publish with a AsyncSession\(bind=connection\)"
        with pytest.raises(ConfigurationError, match=hint):
            OUTBOX.publish(connection, LISTING, tenant_id="t1")  # type: ignore[call-overload]
        async with AsyncSession(bind=connection) as session:
            OUTBOX.publish(session, LISTING, tenant_id="t1", event_id="kept")
            await session.commit()
    async with engine.connect() as connection, connection.begin() as outer:
        async with AsyncSession(bind=connection) as session:
            OUTBOX.publish(session, LISTING, tenant_id="t1", event_id="undone")
            await session.commit()
        await outer.rollback()
    assert await event_ids(engine) == ["kept"]


def test_sync_connection_is_refused_with_a_hint(url: str) -> None:
    create_tables(url)
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        with pytest.raises(ConfigurationError, match=r"publish with a Session\(bind=connection\), and commit that"):
            OUTBOX.publish(connection, LISTING, tenant_id="t1")  # type: ignore[call-overload]
        with Session(bind=connection) as session:
            OUTBOX.publish(session, LISTING, tenant_id="t1", event_id="kept")
            session.commit()
    with engine.connect() as connection:
        assert list(connection.scalars(select(events.c.event_id))) == ["kept"]
    engine.dispose()


@pytest.mark.parametrize("given", [None, object(), sessionmaker()])
def test_non_session_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes an SQLAlchemy session, not a"):
        OUTBOX.publish(given, LISTING, tenant_id="t1")


async def test_sync_engine_is_refused(url: str) -> None:
    engine: Any = create_engine(url.replace("+aiosqlite", ""))
    hint = r"takes an AsyncEngine, not a Engine: pass create_async_engine\(url\) with the same address"
    with pytest.raises(ConfigurationError, match=r"OutboxRelay\(\) " + hint):
        OutboxRelay(engine)
    with pytest.raises(ConfigurationError, match=r"read_status\(\) " + hint):
        await read_status(engine)
    with pytest.raises(ConfigurationError, match=r"requeue\(\) " + hint):
        await requeue(engine)
    engine.dispose()


@pytest.mark.parametrize("in_handler", [False, True])
async def test_outbox_needs_a_tenant(engine: AsyncEngine, *, in_handler: bool) -> None:
    token = enter(CloudEvent(id="1", source="s", type="t", tenantid="t1", data=None)) if in_handler else None
    try:
        async with AsyncSession(engine) as session:
            with pytest.raises(MissingTenantError):
                OUTBOX.publish(session, LISTING, tenant_id=None)  # type: ignore[call-overload]
    finally:
        if token is not None:
            leave(token)
