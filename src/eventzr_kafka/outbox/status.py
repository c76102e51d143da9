"""Status of the outbox: pending and parked rows, by tenant, and the relays."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from eventzr_kafka._sql.database import database_time, require_async_engine
from eventzr_kafka.outbox.tables import events, is_pending, leases, relays

__all__ = ["FailedRow", "OutboxStatus", "RelayShare", "TenantBacklog", "read_status"]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class TenantBacklog:
    """A tenant and the number of its pending rows."""

    tenant_id: str
    pending: int


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that was parked, or one that keeps its tenant waiting."""

    id: int
    tenant_id: str
    event_id: str
    topic: str
    failure: str | None
    parked: bool


@dataclass(frozen=True, slots=True)
class RelayShare:
    """A living relay and the number of its buckets."""

    name: str
    buckets: int


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The outbox at one moment.

    Attributes:
        pending: RelayRows that wait to be published.
        oldest: Seconds that the oldest of them has waited; None without any.
        tenants: Those with the most pending rows, the most first.
        parked: Number of parked rows.
        failed: The oldest parked rows, then the oldest rows that keep their tenants waiting.
        relays: The relays that are alive.
    """

    pending: int
    oldest: float | None
    tenants: tuple[TenantBacklog, ...]
    parked: int
    failed: tuple[FailedRow, ...]
    relays: tuple[RelayShare, ...]


async def read_status(engine: AsyncEngine) -> OutboxStatus:
    """Read the status of the outbox. It counts every pending row: do not call it many times a second."""
    require_async_engine(engine, "read_status()")
    async with engine.connect() as connection:
        pending, oldest = await _pending(connection)
        return OutboxStatus(
            pending, oldest, await _tenants(connection), *await _failed(connection), await _relays(connection)
        )


async def _pending(connection: AsyncConnection) -> tuple[int, float | None]:
    found = select(func.count(), func.min(events.c.created_at), database_time()).where(is_pending)
    count, oldest, now = (await connection.execute(found)).one()
    return count, None if oldest is None else max(0.0, (now - oldest).total_seconds())


async def _tenants(connection: AsyncConnection) -> tuple[TenantBacklog, ...]:
    rows = func.count().label("rows")
    most = select(events.c.tenant_id, rows).where(is_pending).group_by(events.c.tenant_id).order_by(rows.desc())
    return tuple(TenantBacklog(*row) for row in await connection.execute(most.limit(_SHOWN)))


async def _failed(connection: AsyncConnection) -> tuple[int, tuple[FailedRow, ...]]:
    is_parked = events.c.parked_at.is_not(None)
    count = (await connection.execute(select(func.count()).where(is_parked))).scalar_one()
    parked = await _first(connection, is_parked, parked=True)
    waiting = await _first(connection, is_pending & events.c.failure.is_not(None), parked=False)
    return count, (*parked, *waiting)


async def _first(connection: AsyncConnection, chosen: ColumnElement[bool], *, parked: bool) -> list[FailedRow]:
    columns = [events.c[name] for name in ("id", "tenant_id", "event_id", "topic", "failure")]
    found = await connection.execute(select(*columns).where(chosen).order_by(events.c.id).limit(_SHOWN))
    return [FailedRow(**row, parked=parked) for row in found.mappings()]


async def _relays(connection: AsyncConnection) -> tuple[RelayShare, ...]:
    held = (leases.c.owner == relays.c.name) & (leases.c.expires_at > database_time())
    alive = (
        select(relays.c.name, func.count(leases.c.bucket))
        .outerjoin(leases, held)
        .where(relays.c.expires_at > database_time())
        .group_by(relays.c.name)
        .order_by(relays.c.name)
    )
    return tuple(RelayShare(*row) for row in await connection.execute(alive))
