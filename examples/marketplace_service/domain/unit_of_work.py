"""One transaction of one tenant: it finds only the tenant's rows, and its events are published if it commits.

Rows are locked in one order: member, listing, quote, order, dispute, payout. So transactions wait for each other, but
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

from eventzr_kafka import EventData, Limits, topic_of
from eventzr_kafka.outbox import Outbox
from examples.marketplace_service.activity import Activity
from examples.marketplace_service.database import TenantOwned, now
from examples.marketplace_service.domain.errors import NotFoundError

__all__ = ["UnitOfWork"]

RowT = TypeVar("RowT", bound=TenantOwned)
ValueT = TypeVar("ValueT")

_limits = Limits(max_bytes=1_000_000)  # the broker takes 1 MiB; the rest is for key and headers
_outbox = Outbox(source="marketplace-svc", limits=_limits)


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """The session and tenant of a request or a handler; the caller that opened the session commits it."""

    session: AsyncSession
    tenant_id: str

    async def find(self, model: type[RowT], key: str, *, lock: bool = False) -> RowT | None:
        """Return the tenant's row of this key, or None."""
        return await self.session.get(
            model, (self.tenant_id, key), with_for_update=lock or None, populate_existing=lock
        )

    async def get(self, model: type[RowT], key: str) -> RowT:
        """Return a row for reading.

        Raises:
            NotFoundError: The tenant does not have it.
        """
        return _require_found(await self.find(model, key), model, key)

    async def lock(self, model: type[RowT], key: str) -> RowT:
        """Return a row for changing: read anew, and locked until the transaction ends.

        Raises:
            NotFoundError: The tenant does not have it.
        """
        return _require_found(await self.find(model, key, lock=True), model, key)

    async def fixed(self, column: InstrumentedAttribute[ValueT], key: str) -> ValueT:
        """Return a value that never changes, read without a lock, to lock its row before this one.

        Raises:
            NotFoundError: The tenant does not have the row.
        """
        model = cast("type[TenantOwned]", column.class_)
        query: Select[ValueT] = select(column).where(model.tenant_id == self.tenant_id, model.id == key)
        return _require_found(await self.session.scalar(query), model, key)

    def select(self, model: type[RowT]) -> Select[RowT]:
        """Begin a query over the tenant's rows. All queries begin here."""
        return select(model).where(model.tenant_id == self.tenant_id)

    async def all(self, query: Select[RowT]) -> Sequence[RowT]:
        """Return the rows of a query."""
        return (await self.session.scalars(query)).all()

    async def count(self, query: Select[RowT]) -> int:
        """Count the rows of a query."""
        return await self.session.scalar(select(func.count()).select_from(query.subquery())) or 0

    def add(self, model: type[RowT], *, id: str | None = None, **values: Any) -> RowT:  # noqa: A002 -- the column's name
        """Add a row of the tenant, with a new id unless one is given."""
        row = model(tenant_id=self.tenant_id, id=id or str(uuid.uuid4()), **values)
        self.session.add(row)
        return row

    def publish(self, event: EventData) -> None:
        """Publish an event when the transaction commits."""
        event_id = _outbox.publish(self.session, event, tenant_id=self.tenant_id)
        self.note("out", topic_of(type(event)) or "", event_id, event.default_subject())

    def note(self, direction: str, topic: str, event_id: str, subject: str | None) -> None:
        """Add a line to the tenant's feed."""
        line = Activity(
            tenant_id=self.tenant_id, direction=direction, topic=topic, event_id=event_id, subject=subject, at=now()
        )
        self.session.add(line)


def _require_found(found: ValueT | None, model: type[TenantOwned], key: str) -> ValueT:
    if found is None:
        raise NotFoundError(model.__tablename__.removesuffix("s").replace("_", " "), key)
    return found
