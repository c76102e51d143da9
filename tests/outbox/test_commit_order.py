"""Within a tenant, ids rise in commit order. PostgreSQL's own commit timestamps say what that order was."""

from __future__ import annotations

import asyncio
import random

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from eventzr_kafka import CloudEvent
from eventzr_kafka.outbox import Outbox

TENANTS, WRITERS, TRANSACTIONS = 3, 6, 40
OUTBOX = Outbox()
# Runs between the insert and the end of COMMIT, which is where another transaction might slip past.
SLOW_COMMIT = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(random() / 200 + CASE NEW.event_id WHEN ''slow'' THEN 1 ELSE 0 END); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON eventzr_outbox
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
OUT_OF_ORDER = """
    SELECT count(*) FROM eventzr_outbox early JOIN eventzr_outbox late USING (tenant_id)
    WHERE early.id < late.id AND pg_xact_commit_timestamp(early.xmin) > pg_xact_commit_timestamp(late.xmin)
"""


def event(tenant: str, event_id: str) -> CloudEvent[None]:
    return CloudEvent(id=event_id, source="s", type="a.b", tenantid=tenant)


async def commit(engine: AsyncEngine, tenant: str, event_id: str) -> None:
    async with AsyncSession(engine) as session, session.begin():
        OUTBOX.publish(session, event(tenant, event_id))


async def write(engine: AsyncEngine, seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311
    for number in range(TRANSACTIONS):
        async with AsyncSession(engine) as session, session.begin():
            for _ in range(choice.randint(1, 3)):
                OUTBOX.publish(session, event(f"t{choice.randrange(TENANTS)}", f"{seed}-{number}"))
            if choice.random() < 1 / 3:
                await session.rollback()


async def ask(engine: AsyncEngine, statement: str) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text(statement))).scalar_one())


async def slow_down(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(SLOW_COMMIT.replace(":", "\\:")))


async def test_ids_rise_in_commit_order(postgres_engine: AsyncEngine) -> None:
    await slow_down(postgres_engine)
    async with asyncio.timeout(60):
        await asyncio.gather(*(write(postgres_engine, seed) for seed in range(WRITERS)))
    assert await ask(postgres_engine, "SELECT count(*) FROM eventzr_outbox") > WRITERS * TRANSACTIONS
    assert await ask(postgres_engine, OUT_OF_ORDER) == 0


async def test_transactions_of_one_tenant_wait_for_each_other(postgres_engine: AsyncEngine) -> None:
    await slow_down(postgres_engine)
    slow = asyncio.create_task(commit(postgres_engine, "t1", "slow"))
    while not await ask(postgres_engine, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"):
        assert not slow.done()
    await commit(postgres_engine, "t2", "other")
    assert not slow.done()
    await commit(postgres_engine, "t1", "same")
    assert slow.done()
