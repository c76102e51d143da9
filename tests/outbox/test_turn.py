"""One turn after another, on rows and a client that are slow in their own ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pytest

from eventzr_kafka import KafkaSettings, OutgoingRecord
from eventzr_kafka.outbox import RelayHooks, RelayOptions, turn
from eventzr_kafka.outbox.rows import OutboxRow
from eventzr_kafka.outbox.sending import Sender
from eventzr_kafka.outbox.turn import Turns
from eventzr_kafka.transport import Acknowledgement, Failure, Report

FATAL = Failure("_FATAL", "another batch failed", unknown=True)
SOON = 0.01  # seconds until a report; a turn waits less for it, and reads longer


class SlowRows:
    """Pending rows of two tenants."""

    def __init__(self) -> None:
        self.pending = [OutboxRow(number, 0, tenant, tenant, "a.b", "[]", b"") for number, tenant in enumerate("ab")]

    async def read(self, waiting: Collection[str], count: int, _size: int) -> Sequence[OutboxRow]:
        await asyncio.sleep(2 * SOON)
        return [row for row in self.pending if row.tenant_id not in waiting][:count]

    async def mark_published(self, rows: Iterable[OutboxRow]) -> int:
        self.pending = [row for row in self.pending if row not in rows]
        return 1


class SmallClient:
    """Has room for one record, and reports it soon."""

    def __init__(self, outcome: Acknowledgement | Failure) -> None:
        self._outcome = outcome
        self._is_full = False

    def start(self, reported: Callable[[], None]) -> None:
        self._reported = reported

    def produce(self, record: OutgoingRecord, report: Report) -> bool:
        if self._is_full or record.key is None:
            return False
        self._is_full = True
        asyncio.get_running_loop().call_later(SOON, self._tell, report)
        return True

    def _tell(self, report: Report) -> None:
        self._is_full = False
        report(self._outcome)
        self._reported()

    def flush(self, timeout: float) -> int:
        return int(timeout)

    def close(self) -> None: ...


async def test_a_broken_client_is_replaced_although_there_is_more_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE", SOON / 2)
    clients = [SmallClient(FATAL), *(SmallClient(Acknowledgement(0, 0)) for _ in range(20))]
    rows: Any = SlowRows()
    sender = Sender(KafkaSettings(), lambda _: clients.pop(0), asyncio.Event())
    await sender.start()
    turns = Turns(rows, sender, RelayOptions(), RelayHooks())
    for _ in range(12):
        await turns.take()
    assert not rows.pending
