"""One transaction of one tenant: what it finds is the tenant's, and what it publishes leaves if it commits."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from eventzr_kafka import EventData
from eventzr_kafka.outbox import Outbox
from examples.marketplace_service.activity import Activity
from examples.marketplace_service.database import TenantOwned, now
from examples.marketplace_service.domain.errors import NotFoundError

__all__ = ["UnitOfWork"]

RowT = TypeVar("RowT", bound=TenantOwned)

_outbox = Outbox(source="marketplace-svc")


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """What a command and a handler get in place of a session. Whoever opened the session commits it."""

    session: AsyncSession
    tenant_id: str

    async def find(self, model: type[RowT], key: str) -> RowT | None:
        """The tenant's row of this key, locked until the transaction ends."""
        return await self.session.get(model, (self.tenant_id, key), with_for_update=True)

    async def get(self, model: type[RowT], key: str) -> RowT:
        """The same for a row that must be there.

        Raises:
            NotFoundError: The tenant has none.
        """
        found = await self.find(model, key)
        if found is None:
            raise NotFoundError(model.__tablename__.removesuffix("s"), key)
        return found

    def select(self, model: type[RowT]) -> Select[RowT]:
        """A query over the tenant's rows; the only way by which queries begin."""
        return select(model).where(model.tenant_id == self.tenant_id)

    async def all(self, query: Select[RowT]) -> Sequence[RowT]:
        """The rows of a query."""
        return (await self.session.scalars(query)).all()

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
