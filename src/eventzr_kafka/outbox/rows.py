"""The statements with which a relay reads and marks rows.

Every statement is fenced: it touches a row only while this relay holds the row's bucket under the token that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, ColumnElement, Select, Text, Update, delete, exists, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from eventzr_kafka._sql.database import database_time
from eventzr_kafka.kafka.record import Header, OutgoingRecord
from eventzr_kafka.outbox.leases import Leases
from eventzr_kafka.outbox.tables import BUCKETS, events, is_pending, leases

__all__ = ["OutboxRow", "RelayRows"]

_READ = [events.c[name] for name in ("id", "bucket", "tenant_id", "event_id", "topic", "headers", "value")]
_MARKED_AT_ONCE = 1_000
# Statistics of a queue are from when it was empty: PostgreSQL would read a whole backlog and sort it, for each batch.
_BY_INDEX = text("SET LOCAL enable_sort = off")


class OutboxRow(NamedTuple):
    """One event of the outbox."""

    id: int
    bucket: int
    tenant_id: str
    event_id: str
    topic: str
    headers: str
    value: bytes | None

    def record(self) -> OutgoingRecord:
        """The record that was encoded when the event was published."""
        return OutgoingRecord(self.topic, self.tenant_id.encode(), self.value, _headers(self.headers))


@lru_cache(maxsize=64)
def _headers(text: str) -> tuple[Header, ...]:
    return tuple((name, None if value is None else value.encode()) for name, value in json.loads(text))


@dataclass(frozen=True, slots=True)
class RelayRows:
    """The statements of one relay."""

    engine: AsyncEngine
    leases: Leases

    async def read(self, waiting: Collection[str], count: int, size: int) -> Sequence[OutboxRow]:
        """Read pending rows, lowest id first.

        Args:
            waiting: Tenants whose rows are not read.
            count: RelayRows at most.
            size: Bytes of values after which no further row is read.
        """
        if not self.leases.held or count <= 0:
            return []
        async with self.engine.connect() as connection:
            held = select(leases.c.bucket).where(self.leases.fence(), leases.c.expires_at > database_time())
            buckets = (await connection.scalars(held)).all()
            await _go_by_index(connection)
            left_out = _names(waiting, connection.dialect.name) if waiting else None
            found = await connection.execute(_pending(buckets, left_out, count, size))
            return [OutboxRow(*row) for row in found]

    async def mark_published(self, rows: Iterable[OutboxRow]) -> int:
        """Mark rows as published; returns the number of those whose buckets this relay still holds."""
        return await self._mark([row.id for row in rows], published_at=database_time())

    async def park(self, row: OutboxRow, failure: str) -> bool:
        """Park a row; returns False if another relay holds its bucket now."""
        return await self._mark([row.id], parked_at=database_time(), failure=failure) == 1

    async def note_failure(self, row: OutboxRow, failure: str) -> None:
        """Record the failure for which a row keeps its tenant waiting."""
        await self._mark([row.id], failure=failure)

    async def clean(self, age: timedelta, count: int) -> int:
        """Delete at most `count` rows that were published more than `age` ago, oldest first; returns their number."""
        async with self.engine.begin() as connection:
            await _go_by_index(connection)
            moment = await connection.scalar(select(database_time(-age)))  # as a parameter, the index finds it
            old = select(events.c.id).where(events.c.published_at < moment).order_by(events.c.published_at).limit(count)
            return (await connection.execute(delete(events).where(events.c.id.in_(old)))).rowcount

    async def _mark(self, ids: Sequence[int], **values: Any) -> int:
        if not ids or not self.leases.held:
            return 0
        marked = 0
        async with self.engine.begin() as connection:
            for start in range(0, len(ids), _MARKED_AT_ONCE):
                chosen = events.c.id.in_(ids[start : start + _MARKED_AT_ONCE])
                marked += (await connection.execute(self._update(chosen).values(**values))).rowcount
        return marked

    def _update(self, chosen: ColumnElement[bool]) -> Update:
        held = exists().where(leases.c.bucket == events.c.bucket, self.leases.fence())
        return update(events).where(chosen, is_pending, held)


async def _go_by_index(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(_BY_INDEX)


def _names(names: Collection[str], dialect: str) -> Select[str]:
    """Names as rows from one parameter: a statement takes 32,000 of them, and there may be more."""
    if dialect == "postgresql":
        return select(func.unnest(literal(list(names), ARRAY(Text))).column_valued())
    return select(func.json_each(json.dumps(list(names))).table_valued("value").c.value)


def _pending(buckets: Collection[int], left_out: Select[str] | None, count: int, size: int) -> Select[*tuple[Any, ...]]:
    """Read along the index of pending rows; a join with the leases would make PostgreSQL sort all of them."""
    chosen = [is_pending]
    if len(buckets) < BUCKETS:
        chosen.append(events.c.bucket.in_(buckets))
    if left_out is not None:
        chosen.append(events.c.tenant_id.not_in(left_out))
    total = func.sum(events.c.size).over(order_by=events.c.id, rows=(None, 0))
    before = (total - events.c.size).label("before")
    lowest = select(*_READ, before).where(*chosen).order_by(events.c.id).limit(count).subquery()
    columns = [column for column in lowest.c if column.name != "before"]
    return select(*columns).where(lowest.c.before < size).order_by(lowest.c.id)
