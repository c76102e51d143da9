"""One turn of a relay: read, send, wait for the outcomes, mark."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.codec.size_hints import size_hint
from eventzr_kafka.hooks import notify
from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.outbox.failures import is_refusal, judge
from eventzr_kafka.outbox.hooks import RelayHooks, RowDelayed, RowParked, RowsPublished
from eventzr_kafka.outbox.options import RelayOptions
from eventzr_kafka.outbox.rows import OutboxRow, Rows
from eventzr_kafka.outbox.sending import Outcome, Sender
from eventzr_kafka.outbox.waiting import Choice, Waiting
from eventzr_kafka.safe_text import printable

__all__ = ["Turns"]

log = logging.getLogger("eventzr_kafka.outbox")

_PATIENCE = 1.0  # seconds that a turn waits for outcomes
_MOST_UNDER_WAY = 4  # batches: a partition without leader keeps its rows under way, and others need room too
_LONG = 30.0  # seconds without an answer, or with nothing but failures, that are a problem


class Turns:
    """What a relay does again and again, and what it remembers from one turn to the next.

    After a refused batch the turns get small, until the row that the broker refuses is alone in one.
    """

    def __init__(
        self, rows: Rows, sender: Sender, options: RelayOptions, hooks: RelayHooks, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._rows = rows
        self._sender = sender
        self._options = options
        self._hooks = hooks
        self._monotonic = clock.monotonic
        self._waiting = Waiting()
        self._acknowledged: list[OutboxRow] = []
        self._size = options.batch_rows
        self._oldest: tuple[int | None, float] = (None, 0.0)  # row under way, and since when at least
        self._failing: tuple[float, str] | None = None  # since when, and why, if rows are only sent again since

    @property
    def problems(self) -> list[str]:
        """Why rows wait at the moment, in words."""
        now = self._monotonic()
        found = self._waiting.problems(self._busy_topics(), now)
        oldest, since = self._oldest
        if oldest is not None and now - since > _LONG:
            found.append(f"the broker has not answered for {now - since:.0f} s about the oldest row under way")
        if self._failing is not None and now - self._failing[0] > _LONG:
            found.append(f"nothing was published for {now - self._failing[0]:.0f} s: {self._failing[1]}")
        return found

    def busy_buckets(self) -> set[int]:
        """Buckets with rows that are under way, or not marked yet."""
        return {row.bucket for row in (*self._sender.under_way.values(), *self._acknowledged)}

    def buckets_changed(self) -> None:
        """Note that the tenants are not the same any more."""
        self._waiting.forget_tenants()

    async def take(self) -> tuple[int, int]:
        """Have a turn; returns how many rows were sent or set aside, and of how many it is known what comes next."""
        await self._mark()  # what the last turn could not: unmarked rows would be read again
        found = await self._read()
        await self._settle(self._sender.collect())
        if self._sender.broken:
            await self._replace_client()
        rows, aside = self._choose(found)
        before = len(self._sender.under_way)
        self._sender.send(rows)
        settled = await self._settle(await self._sender.outcomes(before, _PATIENCE))
        await self._mark()
        self._watch()
        return len(rows) + aside, settled + aside

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way, and mark it."""
        await self._settle(await self._sender.outcomes(0, seconds))
        await self._mark()

    async def _replace_client(self) -> None:
        """Make a new client; what is under way has a last chance, and is then sent again, which at worst repeats it."""
        await self._settle(await self._sender.outcomes(0, _PATIENCE))
        await self._sender.close()
        await self._settle(self._sender.collect())
        await self._sender.start()

    async def _read(self) -> Sequence[OutboxRow]:
        under_way = {row.tenant_id for row in self._sender.under_way.values()}
        left_out = under_way | self._waiting.leave_out(self._busy_topics(), self._monotonic())
        return await self._rows.read(left_out, *self._room())

    def _choose(self, found: Sequence[OutboxRow]) -> Choice:
        rows, set_aside = self._waiting.choose(found, self._busy_topics(), self._monotonic())
        return Choice(rows[: self._size], set_aside)

    def _busy_topics(self) -> set[str]:
        return {row.topic for row in self._sender.under_way.values()}

    def _room(self) -> tuple[int, int]:
        """How many rows and bytes may be read."""
        rows, size = self._options.batch_rows, self._options.batch_bytes
        under_way = self._sender.under_way.values()
        free = _MOST_UNDER_WAY * size - sum(len(row.value or b"") for row in under_way)
        return min(rows, _MOST_UNDER_WAY * rows - len(under_way)) if free > 0 else 0, min(size, free)

    async def _mark(self) -> None:
        rows = self._acknowledged
        if rows:
            marked = await self._rows.mark_published(rows)
            self._acknowledged = []
            notify(self._hooks.on_rows_published, RowsPublished(marked, len(rows) - marked))

    async def _settle(self, outcomes: Iterable[Outcome]) -> int:
        acknowledged, settled, refused = 0, 0, False
        for outcome in outcomes:
            if outcome.failure is None:
                self._on_acknowledged(outcome.row)
                acknowledged += 1
            else:
                refused = refused or (is_refusal(outcome.failure) and not outcome.alone)
                settled += await self._fail(outcome, outcome.failure)
        if refused:
            self._size = max(1, self._size // 8)
        elif acknowledged:
            self._size = min(self._options.batch_rows, self._size * 2)
        return acknowledged + settled

    def _on_acknowledged(self, row: OutboxRow) -> None:
        self._acknowledged.append(row)
        self._failing = None
        if self._waiting.acknowledged(row):
            log.info("events for %s are published again", printable(row.topic, limit=249))

    async def _fail(self, outcome: Outcome, failure: DeliveryFailure) -> bool:
        """Do what the failure asks for; returns whether more than sending the row again."""
        row, now = outcome.row, self._monotonic()
        verdict = judge(failure, alone=outcome.alone)
        text = f"{failure.reason}: {printable(failure.text, limit=200)}"
        self._failing = (self._failing[0] if self._failing else now, text) if verdict == "again" else None
        if verdict == "topic waits":
            await self._wait(row, text, self._waiting.topic_failed)
        elif verdict == "again":
            if outcome.late:
                self._waiting.tenant_unanswered(row.tenant_id, now)
        elif self._options.on_unpublishable == "stop_tenant":
            await self._wait(row, text, self._waiting.tenant_stopped)
        else:
            hint = size_hint(failure.reason, local=failure.local)
            await self._park(row, text, f"{hint}, and requeue the row" if hint else "")
        return verdict != "again"

    async def _wait(self, row: OutboxRow, failure: str, begin: Callable[[OutboxRow, str, float], float]) -> None:
        is_known = self._waiting.is_known(row)
        seconds = begin(row, failure, self._monotonic())
        if not seconds:
            return
        if not is_known:
            log.error("not published: %s: %s; what comes behind it waits", _which(row), failure)
        await self._rows.note_failure(row, failure)
        notify(self._hooks.on_row_delayed, RowDelayed(row.tenant_id, row.event_id, row.topic, failure, seconds))

    async def _park(self, row: OutboxRow, failure: str, hint: str) -> None:
        self._waiting.parked(row)
        if await self._rows.park(row, failure):
            log.error("parked: %s: %s; the tenant's later events go on%s", _which(row), failure, hint and f"; {hint}")
            notify(self._hooks.on_row_parked, RowParked(row.tenant_id, row.event_id, row.topic, failure))

    def _watch(self) -> None:
        oldest = next(iter(self._sender.under_way), None)
        if oldest != self._oldest[0]:
            self._oldest = (oldest, self._monotonic())


def _which(row: OutboxRow) -> str:
    return f"outbox row {row.id}, event {printable(row.event_id)} for {printable(row.topic, limit=249)}"
