"""An `OutboxRelay` on the simulated database: its rows and leases are there, everything else is the relay itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from eventzr_kafka.clock import Clock
from eventzr_kafka.kafka.transport import ProducerTransport
from eventzr_kafka.outbox import OutboxRelay, RelayOptions
from eventzr_kafka.outbox.rows import OutboxRow
from eventzr_kafka.outbox.tables import BUCKETS, bucket_of
from eventzr_kafka.outbox.turn import Turns
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.testing.simulation._database import Database, StoredRow

__all__ = ["LeaseTable", "SimulatedLeases", "SimulatedRelay", "SimulatedRows"]

_OPTIONS = RelayOptions(batch_rows=8, lease=timedelta(seconds=1.2), poll_every=timedelta(seconds=0.3))


class _NoEngine(AsyncEngine):
    """Nothing connects: the simulated database is asked in its place."""

    dialect: Any = SimpleNamespace(name="postgresql", driver="simulated")

    def __init__(self) -> None:
        pass


class LeaseTable:
    """The holder of each bucket, with its token and its end; and the time until which each relay is alive."""

    def __init__(self) -> None:
        self.buckets: dict[int, tuple[str, int, float]] = dict.fromkeys(range(BUCKETS), ("", 0, 0.0))
        self.relays: dict[str, float] = {}


class SimulatedLeases:
    """The leases of one relay, in the simulated database; see ``outbox.leases``."""

    def __init__(self, database: Database, table: LeaseTable, relay: str) -> None:
        self.held: dict[int, int] = {}
        self.alive = 0
        self.table = table
        self.relay = relay
        self._database = database
        self._duration = _OPTIONS.lease.total_seconds()

    async def prepare(self) -> None:
        """The rows are there."""
        await self._database.reach()

    async def renew(self, busy: Collection[int]) -> None:
        """Stay alive, keep what is held, and take or give back what makes the shares even."""
        await self._database.reach()
        now = asyncio.get_running_loop().time()
        self.table.relays[self.relay] = now + self._duration
        self.alive = sum(until > now for until in self.table.relays.values())
        self.held = {bucket: token for bucket, token in self.held.items() if self.holds(bucket)}
        share = -(-BUCKETS // self.alive)
        for bucket in [bucket for bucket in self.held if bucket not in busy][: max(0, len(self.held) - share)]:
            self._put(bucket, self.held.pop(bucket), now)
        for bucket in self.held:
            self._put(bucket, self.held[bucket], now + self._duration)
        self._take(share - len(self.held), now)

    def holds(self, bucket: int) -> bool:
        """True if the database knows the token as this relay does."""
        owner, token, _ = self.table.buckets[bucket]
        return owner == self.relay and token == self.held.get(bucket)

    async def give_up(self) -> None:
        """Let others take everything at once."""
        await self._database.reach()
        now = asyncio.get_running_loop().time()
        self.table.relays.pop(self.relay, None)
        for bucket in [bucket for bucket in self.held if self.holds(bucket)]:
            self._put(bucket, self.held[bucket], now)
        self.held = {}

    def _take(self, count: int, now: float) -> None:
        free = [bucket for bucket, (_, _, until) in self.table.buckets.items() if until <= now]
        for bucket in free[: max(0, count)]:
            self.held[bucket] = self.table.buckets[bucket][1] + 1
            self._put(bucket, self.held[bucket], now + self._duration)

    def _put(self, bucket: int, token: int, until: float) -> None:
        self.table.buckets[bucket] = (self.relay, token, until)


class SimulatedRows:
    """The statements of one relay, on the simulated database; see ``outbox.rows``."""

    def __init__(self, database: Database, leases: SimulatedLeases) -> None:
        self._database = database
        self._leases = leases

    async def read(self, waiting: Collection[str], count: int, size: int) -> Sequence[OutboxRow]:  # noqa: ARG002 -- small rows
        """Read pending rows of the buckets that are held, lowest id first."""
        if not self._leases.held or count <= 0:
            return []
        await self._database.reach()
        found = [row for row in self._pending() if row.tenant_id not in waiting and self._may_read(row)][:count]
        if found:
            read = tuple((row.id, self._leases.table.buckets[bucket_of(row.tenant_id)][0]) for row in found)
            self._database.history.note("reads rows", self._leases.relay, read)
        return [_as_read(row) for row in found]

    async def mark_published(self, rows: Iterable[OutboxRow]) -> int:
        """Mark rows that the broker has acknowledged."""
        return await self._settle("marks rows", [row.id for row in rows])

    async def park(self, row: OutboxRow, failure: str) -> bool:  # noqa: ARG002 -- not read by the checker
        """Take a row out of its lane for good."""
        return await self._settle("parks rows", [row.id]) == 1

    async def note_failure(self, row: OutboxRow, failure: str) -> None:  # noqa: ARG002 -- not read by the checker
        """Write down why a row keeps its lane waiting."""
        await self._database.reach()

    async def clean(self, age: timedelta, count: int) -> int:  # noqa: ARG002 -- histories are short
        """Delete nothing."""
        return 0

    async def _settle(self, what: str, ids: Sequence[int]) -> int:
        await self._database.reach()
        mine = [id_ for id_ in ids if self._is_mine(self._database.rows[id_ - 1])]
        new = [id_ for id_ in mine if id_ not in self._database.settled]
        self._database.settled.update(new)
        self._database.history.note(what, self._leases.relay, tuple(new))
        return len(new)

    def _pending(self) -> list[StoredRow]:
        return [row for row in self._database.rows if row.id not in self._database.settled]

    def _may_read(self, row: StoredRow) -> bool:
        until = self._leases.table.buckets[bucket_of(row.tenant_id)][2]
        return self._is_mine(row) and until > asyncio.get_running_loop().time()

    def _is_mine(self, row: StoredRow) -> bool:
        return self._leases.holds(bucket_of(row.tenant_id))


def _as_read(row: StoredRow) -> OutboxRow:
    record, bucket = row.record, bucket_of(row.tenant_id)
    headers = json.dumps([(name, (value or b"").decode()) for name, value in record.headers])
    return OutboxRow(row.id, bucket, row.tenant_id, row.event_id, record.topic, headers, record.value)


class SimulatedRelay(OutboxRelay):
    """See the module's sentence."""

    def __init__(
        self,
        name: str,
        database: Database,
        table: LeaseTable,
        transport: Callable[[KafkaSettings], ProducerTransport],
        clock: Clock,
    ) -> None:
        super().__init__(_NoEngine(), KafkaSettings(), options=_OPTIONS, transport=transport, clock=clock)
        self.name = name
        leases: Any = SimulatedLeases(database, table, name)
        rows: Any = SimulatedRows(database, leases)
        self._leases, self._rows = leases, rows
        self._turns = Turns(rows, self._sender, _OPTIONS, self._hooks, clock=clock)

    async def _prepare(self) -> None:
        await self._leases.prepare()
