"""One turn of a relay: read, send, wait for the outcomes, mark."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from eventzr_kafka.errors import printable
from eventzr_kafka.hooks import tell
from eventzr_kafka.outbox.failures import WaitingLanes, is_refusal, judge
from eventzr_kafka.outbox.hooks import LaneWaits, RelayHooks, RowParked, RowsPublished
from eventzr_kafka.outbox.options import RelayOptions
from eventzr_kafka.outbox.rows import OutboxRow, Rows
from eventzr_kafka.outbox.sending import Outcome, Sender
from eventzr_kafka.transport import Failure

__all__ = ["Turns"]

log = logging.getLogger("eventzr_kafka.outbox")

_PATIENCE = 1.0  # seconds that a turn waits for outcomes
_MAX_WAITING_LANES = 2_000


class Turns:
    """What a relay does again and again, and what it remembers from one turn to the next.

    After a refused batch the turns get small, until the row that the broker refuses is alone in one.
    """

    def __init__(self, rows: Rows, sender: Sender, options: RelayOptions, hooks: RelayHooks) -> None:
        self._rows = rows
        self._sender = sender
        self._options = options
        self._hooks = hooks
        self._lanes = WaitingLanes()
        self._acknowledged: list[OutboxRow] = []
        self._size = options.batch_rows

    def busy_buckets(self) -> set[int]:
        """Buckets with rows that are under way, or not marked yet."""
        return {row.bucket for row in (*self._sender.under_way.values(), *self._acknowledged)}

    async def take(self) -> tuple[int, int]:
        """Have a turn; returns how many rows were sent, and of how many it is known what becomes of them."""
        await self._mark()  # what the last turn could not: unmarked rows would be read again
        found = await self._read()
        late = self._sender.collect()
        if late:  # else what is sent now would keep a broken client from being replaced, turn after turn
            await self._settle(late, alone=False)
        before = len(self._sender.under_way)
        rows = self._choose(found)
        self._sender.send(rows)
        outcomes = await self._sender.outcomes(before, _PATIENCE)
        settled = await self._settle(outcomes, alone=before + len(rows) == 1)
        await self._mark()
        return len(rows), settled

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way, and mark it."""
        await self._settle(await self._sender.outcomes(0, seconds), alone=False)
        await self._mark()

    async def _read(self) -> Sequence[OutboxRow]:
        waiting = {row.tenant_id for row in self._sender.under_way.values()} | set(
            self._lanes.waiting(time.monotonic())
        )
        if len(waiting) > _MAX_WAITING_LANES:
            return []
        room = min(self._size, self._options.batch_rows - len(self._sender.under_way))
        return await self._rows.read(waiting, room, self._options.batch_bytes)

    def _choose(self, rows: Sequence[OutboxRow]) -> Sequence[OutboxRow]:
        """Leave lanes on trial out, but for one row, and that one alone."""
        trials = [row for row in rows if self._lanes.on_trial(row.tenant_id)]
        if not trials:
            return rows
        if self._sender.under_way:
            return [row for row in rows if not self._lanes.on_trial(row.tenant_id)]
        return trials[:1]

    async def _mark(self) -> None:
        rows = self._acknowledged
        if rows:
            marked = await self._rows.mark_published(rows)
            self._acknowledged = []
            tell(self._hooks.published, RowsPublished(marked, len(rows) - marked))

    async def _settle(self, outcomes: Iterable[Outcome], *, alone: bool) -> int:
        settled, refused = 0, False
        await self._sender.mend()
        for row, failure in outcomes:
            if failure is None:
                self._acknowledged.append(row)
                self._lanes.recovered(row.tenant_id)
                settled += 1
            else:
                refused = refused or (is_refusal(failure) and not alone)
                settled += await self._fail(row, failure, alone=alone)
        self._size = self._next_size(refused=refused)
        return settled

    def _next_size(self, *, refused: bool) -> int:
        return max(1, self._size // 8) if refused else min(self._options.batch_rows, self._size * 2)

    async def _fail(self, row: OutboxRow, failure: Failure, *, alone: bool) -> bool:
        """Do what the failure asks for; returns whether more than sending the row again."""
        verdict = judge(failure, alone=alone)
        text = f"{failure.reason}: {printable(failure.text, limit=200)}"
        if verdict == "lane waits":
            await self._wait(row, text)
        elif verdict == "unpublishable" and self._options.on_unpublishable == "stop_lane":
            await self._wait(row, text, stopped=True)
        elif verdict == "unpublishable":
            await self._park(row, text)
        return verdict != "again"

    async def _wait(self, row: OutboxRow, failure: str, *, stopped: bool = False) -> None:
        known = self._lanes.on_trial(row.tenant_id)
        seconds = self._lanes.wait(row.tenant_id, time.monotonic(), longest=stopped)
        if not known:
            await self._rows.note_failure(row, failure)
            log.error("not published: %s: %s; the tenant's later events wait", _which(row), failure)
        if seconds:
            tell(self._hooks.lane_waits, LaneWaits(row.tenant_id, row.event_id, row.topic, failure, seconds))

    async def _park(self, row: OutboxRow, failure: str) -> None:
        self._lanes.recovered(row.tenant_id)
        if await self._rows.park(row, failure):
            log.error("parked: %s: %s; the tenant's later events go on", _which(row), failure)
            tell(self._hooks.parked, RowParked(row.tenant_id, row.event_id, row.topic, failure))


def _which(row: OutboxRow) -> str:
    return f"outbox row {row.id}, event {printable(row.event_id)} for {printable(row.topic, limit=249)}"
