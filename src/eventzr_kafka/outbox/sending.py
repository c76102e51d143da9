"""The Kafka half of a relay: a client that never lets a record overtake another one of its partition.

The client of `EventProducer` keeps order too, until a record fails: a batch that the broker refuses, or that times out,
is given up, and the next one is written. A relay would write the failed records again, behind their successors. So its
client has one request in flight at a time, never gives up by time, and stops altogether when a batch fails
(``enable.gapless.guarantee``); the relay then makes a new one, and begins again at the first row not acknowledged.

A batch that is refused for its size may be larger than its topic takes, though none of its rows is. So the batches of
the next client are bounded by an eighth of that. A row that is larger than the bound is alone in its batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

from eventzr_kafka.codec.size_hints import TOO_LARGE
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import DeliveryFailure, DeliveryOutcome, ProducerTransport
from eventzr_kafka.lifecycle.shutdown import LoopWatch, complete
from eventzr_kafka.outbox.failures import is_refusal
from eventzr_kafka.outbox.rows import OutboxRow
from eventzr_kafka.producing.producer import make_producer_client
from eventzr_kafka.settings import KafkaSettings

__all__ = ["SendResult", "Sender", "TransportFactory"]

log = logging.getLogger("eventzr_kafka.outbox")

TransportFactory: TypeAlias = Callable[[KafkaSettings], ProducerTransport]

_STRICT = {
    "enable.gapless.guarantee": True,
    "max.in.flight.requests.per.connection": 1,
    "delivery.timeout.ms": 0,  # never
}
_UNREADABLE = (AttributeError, TypeError, ValueError)  # raised by a row that `Outbox` did not write


class SendResult(NamedTuple):
    """Result of a row that was sent: acknowledged, if `failure` is None.

    Attributes:
        alone: True if no other row can be the cause: the client refused the row, it is larger than a batch, or no other
            row of its topic was in flight.
        late: True if an earlier call than the last one of `Sender.send` has sent it.
    """

    row: OutboxRow
    failure: DeliveryFailure | None
    alone: bool = False
    late: bool = False


class Sender:
    """Sends rows and collects their results.

    Attributes:
        in_flight: Rows without a result, by id, in the order in which they were sent.
        broken: True if the client has to be replaced. After a refused batch it has stopped; after an unknown topic it
            would not look for the topic for five minutes.
    """

    def __init__(
        self, settings: KafkaSettings, make_transport: TransportFactory | None, reported: asyncio.Event
    ) -> None:
        """Take the configuration; `reported` is set whenever results have arrived."""
        client = {**settings.librdkafka, **_STRICT}
        self._settings = replace(settings, librdkafka=client, client_id=f"{settings.client_id}-outbox")
        self._batches_are_large = False  # for a topic
        self._make_transport = make_transport or make_producer_client
        self._transport: ProducerTransport | None = None
        self._reports: deque[tuple[OutboxRow, DeliveryFailure | None]] = deque()
        self._reported = reported
        self._failed: set[str] = set()  # tenants, since the last `send` began
        self._late: set[int] = set()  # ids, as the next one
        self._alone: set[int] = set()
        self.in_flight: dict[int, OutboxRow] = {}
        self.broken = False

    async def start(self) -> None:
        """Make the client, unless there is one that works."""
        if self._transport is not None:
            return
        if self._batches_are_large:
            self._shrink_batches()
        transport, loop = self._make_transport(self._settings), asyncio.get_running_loop()
        watch = LoopWatch(loop, "outbox relay", transport.close)

        def on_reports() -> None:  # called in the client's thread
            watch()
            if self._reports:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._reported.set)

        starting = asyncio.create_task(asyncio.to_thread(transport.start, on_reports))
        try:
            await complete(starting)
        finally:  # also after a cancellation, so that `close` finds the client
            if not starting.cancelled() and starting.exception() is None:
                self._transport, self.broken = transport, False

    async def close(self) -> None:
        """Close the client; rows in flight stay pending in the database."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await complete(asyncio.to_thread(transport.close))

    def send(self, rows: Sequence[OutboxRow]) -> None:
        """Send rows in this order; after a failure of one, the later rows of its tenant are left out."""
        self._failed.clear()
        self._late = set(self.in_flight)
        self._alone = self._rows_alone(rows)
        for row in rows:
            if row.tenant_id not in self._failed and not self._send(row):
                return

    def _send(self, row: OutboxRow) -> bool:
        assert self._transport is not None, "not started"  # noqa: S101
        self.in_flight[row.id] = row
        record = _encode_row(row)
        if isinstance(record, DeliveryFailure):
            self._on_report(row, record)
        elif not self._transport.produce(record, partial(self._on_report, row)):
            del self.in_flight[row.id]
            return False
        return True

    def _rows_alone(self, rows: Sequence[OutboxRow]) -> set[int]:
        """Of the rows in flight and those to be sent, the ids of those that have always been alone in their topic."""
        count = Counter(row.topic for row in (*self.in_flight.values(), *rows))
        candidates = (*(row for row in self.in_flight.values() if row.id in self._alone), *rows)
        return {row.id for row in candidates if count[row.topic] == 1}

    async def wait_for_results(self, left: int, seconds: float) -> list[SendResult]:
        """Wait until only `left` rows have no result, for `seconds` at most; returns the results that have arrived."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.in_flight) - len(self._reports) > left:
                    self._reported.clear()
                    await self._reported.wait()
        return self.collect()

    def collect(self) -> list[SendResult]:
        """Take the results that have arrived."""
        found: list[SendResult] = []
        while self._reports:
            row, failure = self._reports.popleft()
            if self.in_flight.pop(row.id, None) is not None:
                found.append(self._make_result(row, failure))
        return found

    def _make_result(self, row: OutboxRow, failure: DeliveryFailure | None) -> SendResult:
        if failure is None:
            return SendResult(row, None)
        if not (failure.local and is_refusal(failure)):
            self.broken = True
        alone = failure.local or row.id in self._alone or len(row.value or b"") > self._settings.batch_bytes
        if not alone and failure.reason in TOO_LARGE:
            self._batches_are_large = True
        return SendResult(row, failure, alone, row.id in self._late)

    def _shrink_batches(self) -> None:
        before, self._batches_are_large = self._settings.batch_bytes, False
        self._settings = replace(self._settings, batch_bytes=max(1, before // 8))
        log.warning(
            "outbox: a broker refused a batch as larger than the limit of its topic; from now on a batch has %s bytes, "
            "not %s: set KAFKA_BATCH_BYTES to less than the max.message.bytes of every topic",
            f"{self._settings.batch_bytes:,}",
            f"{before:,}",
        )

    def _on_report(self, row: OutboxRow, outcome: DeliveryOutcome) -> None:  # called in the client's thread
        failure = outcome if isinstance(outcome, DeliveryFailure) else None
        if failure is not None:
            self._failed.add(row.tenant_id)
        self._reports.append((row, failure))


def _encode_row(row: OutboxRow) -> OutgoingRecord | DeliveryFailure:
    try:
        return row.record()
    except _UNREADABLE as error:
        return DeliveryFailure("_BAD_MSG", f"the row cannot be read: {type(error).__name__}", unknown=False, local=True)
