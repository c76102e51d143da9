"""The Kafka half of a relay: a client that never lets a record overtake another one of its partition.

The client of `EventProducer` keeps order too, until a record fails: a batch that the broker refuses, or that times out,
is given up, and the next one is written. A relay would write the failed records again, behind their successors. So its
client has one request under way at a time, never gives up by time, and stops altogether when a batch fails
(``enable.gapless.guarantee``); the relay then makes a new one, and begins again at the first row not acknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

from eventzr_kafka.outbox.rows import OutboxRow
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.transport import Acknowledgement, Failure, ProducerTransport

__all__ = ["Outcome", "Sender", "TransportFactory"]

TransportFactory: TypeAlias = Callable[[KafkaSettings], ProducerTransport]

_STRICT = {
    "enable.gapless.guarantee": True,
    "max.in.flight.requests.per.connection": 1,
    "delivery.timeout.ms": 0,  # never
}


class Outcome(NamedTuple):
    """What became of a row: acknowledged, if there is no failure."""

    row: OutboxRow
    failure: Failure | None


class Sender:
    """Sends rows and tells what became of them.

    Attributes:
        under_way: Rows without an outcome, by id.
    """

    def __init__(
        self, settings: KafkaSettings, make_transport: TransportFactory | None, reported: asyncio.Event
    ) -> None:
        """Take the configuration; `reported` is set whenever outcomes have come."""
        client = {**settings.client, **_STRICT}
        self._settings = replace(settings, client=client, client_id=f"{settings.client_id}-outbox")
        self._make_transport = make_transport or _real_transport
        self._transport: ProducerTransport | None = None
        self._outcomes: deque[Outcome] = deque()
        self._reported = reported
        self._failed: set[str] = set()  # tenants, since the last `send` began
        self._broken = False
        self.under_way: dict[int, OutboxRow] = {}

    async def start(self) -> None:
        """Make the client, unless there is one that works."""
        if self._transport is not None:
            return
        self._loop = asyncio.get_running_loop()
        transport = self._make_transport(self._settings)
        await asyncio.to_thread(transport.start, self._on_reports)
        self._transport, self._broken = transport, False

    async def close(self) -> None:
        """Give the client up; rows under way stay pending in the database."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await asyncio.to_thread(transport.close)

    def send(self, rows: Iterable[OutboxRow]) -> None:
        """Send rows, in this order; after a failure the later ones of its tenant are left out."""
        transport = self._transport
        assert transport is not None, "not started"  # noqa: S101
        self._failed.clear()
        for row in rows:
            if row.tenant_id not in self._failed:
                self.under_way[row.id] = row
                if not transport.produce(row.record(), partial(self._on_report, row)):
                    del self.under_way[row.id]
                    return

    async def outcomes(self, left: int, seconds: float) -> list[Outcome]:
        """Wait until only `left` rows have no outcome yet, `seconds` at most; returns those that came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.under_way) - len(self._outcomes) > left:
                    self._reported.clear()
                    await self._reported.wait()
        return self.collect()

    async def mend(self) -> None:
        """Replace a client in which something failed, once it has nothing under way.

        After a refused batch it has stopped. After an unknown topic it would not look for the topic for five minutes.
        """
        if self._broken and not self.under_way:
            await self.close()
            await self.start()

    def collect(self) -> list[Outcome]:
        """The outcomes that have come."""
        found: list[Outcome] = []
        while self._outcomes:
            outcome = self._outcomes.popleft()
            if self.under_way.pop(outcome.row.id, None) is not None:
                found.append(outcome)
        self._broken = self._broken or any(outcome.failure is not None for outcome in found)
        return found

    # In the client's thread

    def _on_report(self, row: OutboxRow, outcome: Acknowledgement | Failure) -> None:
        failure = outcome if isinstance(outcome, Failure) else None
        if failure is not None:
            self._failed.add(row.tenant_id)
        self._outcomes.append(Outcome(row, failure))

    def _on_reports(self) -> None:
        if self._outcomes:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._reported.set)


def _real_transport(settings: KafkaSettings) -> ProducerTransport:
    from eventzr_kafka._confluent.producer import ConfluentProducer  # noqa: PLC0415 -- loads the client library

    return ConfluentProducer(settings)
