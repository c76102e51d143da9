"""The outbox on PostgreSQL, fsync on: the cost of an event in a transaction, and the rate of a relay.

``python -m benchmarks.outbox``. It compares a transaction that inserts one row with the same one plus events.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from tests.postgres import Postgres

from eventzr_kafka import KafkaSettings
from eventzr_kafka.outbox import Outbox, OutboxRelay, RelayHooks, RowsPublished, metadata
from eventzr_kafka.testing.kafka_server import start_kafka
from eventzr_marketplace_events import ListingCreated, example

EVENT = example(ListingCreated)
TOPIC = "eventzr.marketplace.listing.created.v1"
OUTBOX = Outbox()
ROUNDS, TRANSACTIONS, BACKLOG, TENANTS = 5, 300, 50_000, 1_000


async def transactions(engine: AsyncEngine, events: int) -> float:
    """Return the seconds of one transaction."""
    started = time.perf_counter()
    for number in range(TRANSACTIONS):
        async with AsyncSession(engine) as session, session.begin():
            await session.execute(text("INSERT INTO business (number) VALUES (:number)"), {"number": number})
            for _ in range(events):
                OUTBOX.publish(session, EVENT, tenant_id=f"t{number % TENANTS}")
    return (time.perf_counter() - started) / TRANSACTIONS


async def overhead(engine: AsyncEngine) -> None:
    """Print the cost of events in a transaction."""
    sizes = (0, 1, 10)
    runs = [{events: await transactions(engine, events) for events in sizes} for _ in range(ROUNDS)]
    best = {events: statistics.median(run[events] for run in runs) * 1e6 for events in sizes}
    for events in sizes[1:]:
        added = best[events] - best[0]
        print_figure(
            f"transaction of {best[0]:.0f} us, with {events} events: +{added:.0f} us, {added / events:.0f} us per event"
        )


async def fill(engine: AsyncEngine) -> None:
    """Commit the backlog."""
    for start in range(0, BACKLOG, 500):
        async with AsyncSession(engine) as session, session.begin():
            for number in range(start, start + 500):
                OUTBOX.publish(session, EVENT, tenant_id=f"t{number % TENANTS}")


async def throughput(engine: AsyncEngine, brokers: str) -> None:
    """Print the rate at which a relay publishes the backlog."""
    empty, left = asyncio.Event(), BACKLOG

    def count(fact: RowsPublished) -> None:
        nonlocal left
        left -= fact.marked
        if left <= 0:
            empty.set()

    started, used = time.perf_counter(), time.process_time()
    async with OutboxRelay(engine, KafkaSettings(brokers=brokers), hooks=RelayHooks(on_rows_published=count)):
        await empty.wait()
        seconds, used = time.perf_counter() - started, time.process_time() - used
    per_row = used / BACKLOG * 1e6
    print_figure(f"relay: {BACKLOG / seconds:,.0f} rows/s, start included; {per_row:.0f} us of processor per row")


def print_figure(line: str) -> None:
    """Print a figure."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(url: str, brokers: str) -> None:
    """Run all."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(text("CREATE TABLE business (id serial PRIMARY KEY, number int)"))
    await overhead(engine)
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE eventzr_outbox"))
    await fill(engine)
    await throughput(engine, brokers)
    await engine.dispose()


if __name__ == "__main__":
    with Postgres(durable=True) as postgres, start_kafka() as kafka:
        kafka.create_topic(TOPIC, partitions=6)
        asyncio.run(main(postgres.url(), kafka.bootstrap_servers))
