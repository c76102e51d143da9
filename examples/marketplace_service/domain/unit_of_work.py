"""One transaction of one tenant: what it finds is the tenant's, and what it publishes leaves if it commits.

Rows are locked in one order: member, listing, quote, order, payout, dispute. So transactions wait for each other, but
never in a circle.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from eventzr_kafka import EventData, Limits
from eventzr_kafka.outbox import Outbox
from examples.marketplace_service.activity import Activity
from examples.marketplace_service.database import TenantOwned, now
from examples.marketplace_service.domain.errors import NotFoundError

__all__ = ["UnitOfWork"]

RowT = TypeVar("RowT", bound=TenantOwned)
ValueT = TypeVar("ValueT")

_limits = Limits(max_bytes=1_000_000)  # of 1 MiB that the broker takes; the rest is for key and headers
_outbox = Outbox(source="marketplace-svc", limits=_limits)


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """What a command and a handler get in place of a session. Whoever opened the session commits it."""

    session: AsyncSession
    tenant_id: str

    async def find(self, model: type[RowT], key: str, *, lock: bool = False) -> RowT | None:
        """The tenant's row of this key, if there is one."""
        return await self.session.get(
            model, (self.tenant_id, key), with_for_update=lock or None, populate_existing=lock
        )

    async def get(self, model: type[RowT], key: str) -> RowT:
        """A row that must be there, to be looked at.

        Raises:
            NotFoundError: The tenant has none.
        """
        return _there(await self.find(model, key), model, key)

    async def lock(self, model: type[RowT], key: str) -> RowT:
        """The same, to be changed: as it is now, and nobody else's until the transaction ends.

        Raises:
            NotFoundError: The tenant has none.
        """
        return _there(await self.find(model, key, lock=True), model, key)

    async def fixed(self, column: InstrumentedAttribute[ValueT], key: str) -> ValueT:
        """A value that a row has for good, read without a lock: says what has to be locked before the row.

        Raises:
            NotFoundError: The tenant has no such row.
        """
        model = cast("type[TenantOwned]", column.class_)
        query: Select[ValueT] = select(column).where(model.tenant_id == self.tenant_id, model.id == key)
        return _there(await self.session.scalar(query), model, key)

    def select(self, model: type[RowT]) -> Select[RowT]:
        """A query over the tenant's rows; the only way by which queries begin."""
        return select(model).where(model.tenant_id == self.tenant_id)

    async def all(self, query: Select[RowT]) -> Sequence[RowT]:
        """The rows of a query."""
        return (await self.session.scalars(query)).all()

    async def count(self, query: Select[RowT]) -> int:
        """How many rows a query has."""
        return await self.session.scalar(select(func.count()).select_from(query.subquery())) or 0

    def add(self, model: type[RowT], *, id: str | None = None, **values: Any) -> RowT:  # noqa: A002 -- the column's name
        """Make a row of the tenant, with an id of its own unless it is given."""
        row = model(tenant_id=self.tenant_id, id=id or str(uuid.uuid4()), **values)
        self.session.add(row)
        return row

    def publish(self, event: EventData) -> None:
        """Have an event published when the transaction commits."""
        event_id = _outbox.publish(self.session, event, tenant_id=self.tenant_id)
        self.note("out", type(event).__topic__ or "", event_id, event.default_subject())

    def note(self, direction: str, topic: str, event_id: str, subject: str | None) -> None:
        """Add a line to the tenant's feed."""
        line = Activity(
            tenant_id=self.tenant_id, direction=direction, topic=topic, event_id=event_id, subject=subject, at=now()
        )
        self.session.add(line)


def _there(found: ValueT | None, model: type[TenantOwned], key: str) -> ValueT:
    if found is None:
        raise NotFoundError(model.__tablename__.removesuffix("s"), key)
    return found
