"""Leases of buckets, with fencing tokens; they expire by the database's clock.

1. A relay is alive until its own row expires; the buckets are shared evenly among those alive.
2. Taking a bucket raises its token. A relay that knows only the old token changes nothing any more.
3. A relay that stops gives its buckets back; those of one that died are taken once they have expired.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from eventzr_kafka._sql.database import database_time
from eventzr_kafka.outbox.tables import BUCKETS, leases, relays

__all__ = ["Leases"]

# Relays that start at the same time insert the same rows.
_INSERTS = {
    name: dialect.insert(leases).on_conflict_do_nothing()
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
}
_EXPIRED = leases.c.expires_at <= database_time()


class Leases:
    """The leases of one relay.

    Attributes:
        held: Bucket → fencing token.
        alive: Number of relays at the last `renew`, this one included.
    """

    def __init__(self, engine: AsyncEngine, relay: str, duration: timedelta) -> None:
        self._engine = engine
        self._relay = relay
        self._duration = duration
        self.held: dict[int, int] = {}
        self.alive = 0

    async def prepare(self) -> None:
        """Insert the rows of the buckets that do not exist."""
        async with self._engine.begin() as connection:
            there = set(await connection.scalars(select(leases.c.bucket)))
            missing = [bucket for bucket in range(BUCKETS) if bucket not in there]
            if missing:
                never = _INSERTS[connection.dialect.name].values(owner="", token=0, expires_at=database_time())
                await connection.execute(never, [{"bucket": bucket} for bucket in missing])

    async def renew(self, busy: Collection[int]) -> None:
        """Renew this relay and its leases, and take or give back buckets until the shares are even.

        Args:
            busy: Buckets with rows in flight; these are kept for now.
        """
        async with self._engine.begin() as connection:
            self.alive = await self._count_alive(connection)
            held = await self._extend(connection)
            share = -(-BUCKETS // self.alive)
            spare = [bucket for bucket in held if bucket not in busy][: max(0, len(held) - share)]
            await self._give_back(connection, {bucket: held.pop(bucket) for bucket in spare})
            held |= await self._take(connection, share - len(held))
        self.held = held

    async def give_up(self) -> None:
        """Give all buckets back, so that another relay takes them at once."""
        held, self.held = self.held, {}
        async with self._engine.begin() as connection:
            await self._give_back(connection, held)
            await connection.execute(delete(relays).where(relays.c.name == self._relay))

    def fence(self) -> ColumnElement[bool]:
        """The SQL condition that this relay holds a row of `leases`, under the token that it knows."""
        return tuple_(leases.c.bucket, leases.c.token).in_(list(self.held.items()))

    async def _count_alive(self, connection: AsyncConnection) -> int:
        until = database_time(self._duration)
        mine = update(relays).where(relays.c.name == self._relay).values(expires_at=until)
        if (await connection.execute(mine)).rowcount == 0:
            await connection.execute(insert(relays).values(name=self._relay, expires_at=until))
        # Only rows that expired long ago: two relays that delete the same ones in one moment would wait for each other.
        await connection.execute(delete(relays).where(relays.c.expires_at < database_time(-10 * self._duration)))
        # This relay counts even if a pause of the machine has let its new lease run out already.
        others = select(func.count()).where(relays.c.expires_at > database_time(), relays.c.name != self._relay)
        return 1 + (await connection.execute(others)).scalar_one()

    async def _extend(self, connection: AsyncConnection) -> dict[int, int]:
        if not self.held:
            return {}
        extended = update(leases).where(self.fence()).values(expires_at=database_time(self._duration))
        rows = await connection.execute(extended.returning(leases.c.bucket, leases.c.token))
        return {row.bucket: row.token for row in rows}

    async def _give_back(self, connection: AsyncConnection, given: dict[int, int]) -> None:
        if given:
            theirs = tuple_(leases.c.bucket, leases.c.token).in_(list(given.items()))
            await connection.execute(update(leases).where(theirs).values(expires_at=database_time()))

    async def _take(self, connection: AsyncConnection, count: int) -> dict[int, int]:
        if count <= 0:
            return {}
        free = select(leases.c.bucket).where(_EXPIRED).limit(count).with_for_update(skip_locked=True)
        taken = (
            update(leases)
            .where(leases.c.bucket.in_(free))
            .values(owner=self._relay, token=leases.c.token + 1, expires_at=database_time(self._duration))
        )
        rows = await connection.execute(taken.returning(leases.c.bucket, leases.c.token))
        return {row.bucket: row.token for row in rows}
