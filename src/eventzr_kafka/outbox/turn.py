"""One turn of a relay: read rows, send them, wait for their results, mark them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.codec.size_hints import size_hint
from eventzr_kafka.hooks import notify
from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.outbox.delays import Delays, RowChoice
from eventzr_kafka.outbox.failures import decide_action, is_refusal
from eventzr_kafka.outbox.hooks import RelayHooks, RowDelayed, RowParked, RowsPublished
from eventzr_kafka.outbox.options import RelayOptions
from eventzr_kafka.outbox.rows import OutboxRow, RelayRows
from eventzr_kafka.outbox.sending import Sender, SendResult
from eventzr_kafka.safe_text import printable

__all__ = ["TurnResult", "Turns"]

log = logging.getLogger("eventzr_kafka.outbox")

_PATIENCE = 1.0  # seconds that a turn waits for results
_MOST_IN_FLIGHT = 4  # batches: a partition without leader keeps its rows in flight, and others need room too
_LONG = 30.0  # seconds without an answer, or with nothing but failures, that are a problem


class TurnResult(NamedTuple):
    """Counts of a turn.

    Attributes:
        sent: Rows that were sent, and tenants that were set aside.
        settled: Rows that need not be sent again at once, and tenants that were set aside.
    """

    sent: int
    settled: int


@dataclass(frozen=True, slots=True)
class _OldestRow:
    """The oldest row in flight, if any, and the time since which it has been that, at least."""

    id: int | None
    since: float


@dataclass(frozen=True, slots=True)
class _OnlyFailures:
    """Time and text of the first failure since the last row that was not just to be sent again."""

    since: float
    failure: str


class Turns:
    """The turns of a relay, and the state that lasts from one turn to the next.

    After a refused batch the turns get smaller, until the refused row is alone in one.
    """

    def __init__(
        self, rows: RelayRows, sender: Sender, options: RelayOptions, hooks: RelayHooks, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._rows = rows
        self._sender = sender
        self._options = options
        self._hooks = hooks
        self._monotonic = clock.monotonic
        self._delays = Delays()
        self._acknowledged: list[OutboxRow] = []
        self._size = options.batch_rows
        self._oldest = _OldestRow(None, 0.0)
        self._failing: _OnlyFailures | None = None

    @property
    def problems(self) -> list[str]:
        """The present reasons why rows wait, in words."""
        now = self._monotonic()
        found = self._delays.problems(self._busy_topics(), now)
        oldest, failing = self._oldest, self._failing
        if oldest.id is not None and now - oldest.since > _LONG:
            found.append(f"the broker has not answered for {now - oldest.since:.0f} s about the oldest row in flight")
        if failing is not None and now - failing.since > _LONG:
            found.append(f"nothing was published for {now - failing.since:.0f} s: {failing.failure}")
        return found

    def busy_buckets(self) -> set[int]:
        """Buckets with rows that are in flight, or not marked yet."""
        return {row.bucket for row in (*self._sender.in_flight.values(), *self._acknowledged)}

    def buckets_changed(self) -> None:
        """Note that the relay holds other buckets, with other tenants."""
        self._delays.forget_tenants()

    async def take_turn(self) -> TurnResult:
        """Read, send and mark rows once."""
        await self._mark()  # rows that the last turn could not mark would be read again
        found = await self._read()
        await self._settle(self._sender.collect())
        if self._sender.broken:
            await self._replace_client()
        rows, aside = self._choose(found)
        before = len(self._sender.in_flight)
        self._sender.send(rows)
        settled = await self._settle(await self._sender.wait_for_results(before, _PATIENCE))
        await self._mark()
        oldest = next(iter(self._sender.in_flight), None)
        if oldest != self._oldest.id:
            self._oldest = _OldestRow(oldest, self._monotonic())
        return TurnResult(len(rows) + aside, settled + aside)

    async def finish(self, seconds: float) -> None:
        """Wait for the rows in flight, and mark those that are acknowledged."""
        await self._settle(await self._sender.wait_for_results(0, seconds))
        await self._mark()

    async def _replace_client(self) -> None:
        """Make a new client. Rows in flight get a last wait; then they are sent again, which may duplicate them."""
        await self._settle(await self._sender.wait_for_results(0, _PATIENCE))
        await self._sender.close()
        await self._settle(self._sender.collect())
        await self._sender.start()

    async def _read(self) -> Sequence[OutboxRow]:
        in_flight = {row.tenant_id for row in self._sender.in_flight.values()}
        left_out = in_flight | self._delays.tenants_to_skip(self._busy_topics(), self._monotonic())
        return await self._rows.read(left_out, *self._free_room())

    def _choose(self, found: Sequence[OutboxRow]) -> RowChoice:
        rows, set_aside = self._delays.choose_rows(found, self._busy_topics(), self._monotonic())
        return RowChoice(rows[: self._size], set_aside)

    def _busy_topics(self) -> set[str]:
        return {row.topic for row in self._sender.in_flight.values()}

    def _free_room(self) -> tuple[int, int]:
        """The numbers of rows and of bytes that may be read."""
        rows, size = self._options.batch_rows, self._options.batch_bytes
        in_flight = self._sender.in_flight.values()
        free = _MOST_IN_FLIGHT * size - sum(len(row.value or b"") for row in in_flight)
        return min(rows, _MOST_IN_FLIGHT * rows - len(in_flight)) if free > 0 else 0, min(size, free)

    async def _mark(self) -> None:
        rows = self._acknowledged
        if rows:
            marked = await self._rows.mark_published(rows)
            self._acknowledged = []
            notify(self._hooks.on_rows_published, RowsPublished(marked, len(rows) - marked))

    async def _settle(self, results: Iterable[SendResult]) -> int:
        """Note acknowledgements and handle failures; returns the number of rows that are not just sent again."""
        acknowledged, settled, batch_refused = 0, 0, False
        for result in results:
            if result.failure is None:
                self._on_acknowledged(result.row)
                acknowledged += 1
            else:
                batch_refused = batch_refused or (is_refusal(result.failure) and not result.alone)
                settled += await self._handle_failure(result, result.failure)
        # A refused batch is tried in smaller turns, until the refused row is alone.
        if batch_refused:
            self._size = max(1, self._size // 8)
        elif acknowledged:
            self._size = min(self._options.batch_rows, self._size * 2)
        return acknowledged + settled

    def _on_acknowledged(self, row: OutboxRow) -> None:
        self._acknowledged.append(row)
        self._failing = None
        if self._delays.acknowledged(row):
            log.info("events for %s are published again", printable(row.topic, limit=249))

    async def _handle_failure(self, result: SendResult, failure: DeliveryFailure) -> bool:
        """Delay or park the row; returns False if it is just sent again."""
        row, now = result.row, self._monotonic()
        action = decide_action(failure, alone=result.alone)
        text = f"{failure.reason}: {printable(failure.text, limit=200)}"
        if action == "resend":
            self._failing = _OnlyFailures(self._failing.since if self._failing else now, text)
            if result.late:
                self._delays.delay_tenant(row.tenant_id, now)
            return False
        self._failing = None
        if action == "delay_topic":
            await self._delay(row, text, self._delays.delay_topic)
        elif self._options.on_unpublishable == "stop_tenant":
            await self._delay(row, text, self._delays.stop_tenant_at)
        else:
            hint = size_hint(failure.reason, local=failure.local)
            await self._park(row, text, f"{hint}, and requeue the row" if hint else "")
        return True

    async def _delay(self, row: OutboxRow, failure: str, begin: Callable[[OutboxRow, str, float], float]) -> None:
        is_known = self._delays.is_known(row)
        seconds = begin(row, failure, self._monotonic())
        if not seconds:
            return
        if not is_known:
            log.error("not published: %s: %s; the rows behind it wait", _describe_row(row), failure)
        await self._rows.note_failure(row, failure)
        notify(self._hooks.on_row_delayed, RowDelayed(row.tenant_id, row.event_id, row.topic, failure, seconds))

    async def _park(self, row: OutboxRow, failure: str, hint: str) -> None:
        self._delays.parked(row)
        if await self._rows.park(row, failure):
            log.error(
                "parked: %s: %s; the tenant's later events go on%s", _describe_row(row), failure, hint and f"; {hint}"
            )
            notify(self._hooks.on_row_parked, RowParked(row.tenant_id, row.event_id, row.topic, failure))


def _describe_row(row: OutboxRow) -> str:
    return f"outbox row {row.id}, event {printable(row.event_id)} for {printable(row.topic, limit=249)}"
