"""A sink that writes down what a transport tells, and waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import Record, TopicPartition
from eventzr_kafka.kafka.transport import Assignment, Batch, ConsumerTransport

SECONDS = 60.0


class Sink:
    """A `ConsumerSink` that asks for more at once, unless told not to, and hands over at once, unless ``hold`` is set.

    Attributes:
        calls: How often `on_received` was called.
        seen: Epoch and record, in the order in which they came.
        held: What hands the revoked partitions over, while it waits for the test.
    """

    def __init__(self, transport: ConsumerTransport, *, asks: bool = True, hold: bool = False) -> None:
        self.assignments: list[Assignment] = []
        self.seen: list[tuple[int, Record]] = []
        self.ended: list[int] = []
        self.gone: list[int] = []
        self.errors: list[Exception] = []
        self.held: list[Callable[[], None]] = []
        self.passed_to: dict[int, int] = {}
        self.losses: list[tuple[int, Loss]] = []
        self.rounds = 0
        self.calls = 0
        self._transport = transport
        self._asks = asks
        self._hold = hold
        self._news = asyncio.Event()

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        self.assignments += assignments
        self.rounds += 1
        self._news.set()

    def on_received(self, batches: Sequence[Batch]) -> None:
        self.calls += 1
        self.seen += [(epoch, record) for epoch, records in batches for record in records]
        if self._asks:
            self._transport.request_batch()
        self._news.set()

    def on_progress(self, offsets: Mapping[int, int]) -> None:
        self.passed_to.update(offsets)
        self._news.set()

    def on_offsets_lost(self, epoch: int, loss: Loss) -> None:
        self.losses.append((epoch, loss))
        self._news.set()

    def on_revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        self.ended += epochs
        if self._hold:
            self.held.append(done)
        else:
            done()
        self._news.set()

    def on_lost(self, epochs: Sequence[int]) -> None:
        self.gone += epochs
        self._news.set()

    def on_client_error(self, error: Exception) -> None:
        self.errors.append(error)
        self._news.set()

    @property
    def records(self) -> list[Record]:
        return [record for _, record in self.seen]

    def owned(self) -> dict[TopicPartition, Assignment]:
        over = {*self.ended, *self.gone}
        return {a.partition: a for a in self.assignments if a.epoch not in over}

    async def until(self, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Wait until something that was told makes the condition true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_owning(self, count: int) -> None:
        await self.until(lambda: self.rounds > 0 and len(self.owned()) == count)

    async def until_received(self, count: int, seconds: float = SECONDS) -> None:
        await self.until(lambda: len(self.seen) >= count, seconds)
