"""The inbox on PostgreSQL, fsync on: a handler that inserts one row, with the inbox and with a session of its own.

``python -m benchmarks.inbox``. Both run under a `ConsumerRunner` that gets its records without Kafka, because Kafka
would add the same to both.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from tests.outbox.member import TOPIC, record, running
from tests.postgres import Postgres

from eventzr_kafka import CloudEvent, MessageContext, kafka_consumer, on_message
from eventzr_kafka.inbox import SqlInbox, metadata
from eventzr_kafka.inbox.protocol import AsyncHandling, Handled, ReceivedEvent

BUSINESS = text("INSERT INTO business (event_id) VALUES (:event_id)")
ROUNDS, EVENTS, CONCURRENCY = 7, 1_500, 16
IDS = itertools.count()


class Countdown:
    """Sets an event when everything is committed."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.sessions = async_sessionmaker(engine)
        self.left = EVENTS
        self.over = asyncio.Event()

    def count(self) -> None:
        """Count one more commit."""
        self.left -= 1
        if not self.left:
            self.over.set()


class CountingInbox(SqlInbox):
    """Counts committed events."""

    def __init__(self, countdown: Countdown) -> None:
        super().__init__(countdown.sessions)
        self._countdown = countdown

    async def handle(self, deliveries: Sequence[ReceivedEvent], handler: AsyncHandling, /) -> Handled:
        """Handle one event."""
        handled = await super().handle(deliveries, handler)
        self._countdown.count()
        return handled


def counting_inbox(handler: Countdown) -> SqlInbox:
    """Return the inbox of a handler."""
    return CountingInbox(handler)


@kafka_consumer(group_id="own", max_concurrency=CONCURRENCY)
class Own(Countdown):
    """Commits by itself; a redelivered event is booked twice."""

    @on_message(TOPIC)
    async def book(self, event: CloudEvent[Any]) -> None:
        """Insert one row, and commit."""
        async with self.sessions() as session, session.begin():
            await session.execute(BUSINESS, {"event_id": event.id})
        self.count()


@kafka_consumer(group_id="inbox", max_concurrency=CONCURRENCY, inbox=counting_inbox)
class WithInbox(Countdown):
    """Books each event once."""

    @on_message(TOPIC)
    async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
        """Insert one row."""
        await context.session.execute(BUSINESS, {"event_id": event.id})


async def seconds(handler: Countdown, tenants: int) -> float:
    """Return the seconds that one event takes."""
    records = [record(n, f"event-{next(IDS):012}", tenant=f"t{n % tenants}") for n in range(EVENTS)]
    async with running(handler) as member:
        started = time.perf_counter()
        member.deliver(*records)
        await handler.over.wait()
        return (time.perf_counter() - started) / EVENTS


async def compare(engine: AsyncEngine, tenants: int) -> None:
    """Print the cost of the inbox with a number of lanes."""
    runs = [[await seconds(kind(engine), tenants) for kind in (Own, WithInbox)] for _ in range(ROUNDS)]
    own, inbox = (statistics.median(run[kind] for run in runs) * 1e6 for kind in (0, 1))
    least, most = (pick(run[0] / run[1] for run in runs) for pick in (min, max))
    line = f"{tenants} lanes: {own:.0f} us an event, with the inbox {inbox:.0f} us: {own / inbox:.2f} of the rate"
    sys.stdout.write(f"{line} ({least:.2f} to {most:.2f} in {ROUNDS} rounds)\n")
    sys.stdout.flush()


async def main(url: str) -> None:
    """Run all."""
    engine = create_async_engine(url, pool_size=CONCURRENCY)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(text("CREATE TABLE business (id serial PRIMARY KEY, event_id text)"))
    for tenants in (1, CONCURRENCY):
        await compare(engine, tenants)
    await engine.dispose()


if __name__ == "__main__":
    with Postgres(durable=True) as postgres:
        asyncio.run(main(postgres.url()))
