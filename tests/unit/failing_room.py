"""A `FailureHandler` on its own: lanes by hand, a writer that can be held up, and a redelivery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.unit.conftest import TOPIC, record

from eventzr_kafka import CloudEvent, Record, RetryPolicy, kafka_consumer, on_message
from eventzr_kafka.clock import Clock
from eventzr_kafka.dead_letters.letter import DeadLetterFacts
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.failure_host import FailureHost, LeaveToRedelivery
from eventzr_kafka.engine.failures import FailureHandler
from eventzr_kafka.engine.intake import PartitionBatch, Work, add_to_lanes, lanes_for
from eventzr_kafka.engine.lanes import Lane
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.retry import Decision, Retry, Skip
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Acknowledgement, Assignment

__all__ = ["Again", "Park", "Pen", "Room"]


class Pen:
    """A writer of dead letters: the next word is an error to raise, or an event to wait for."""

    def __init__(self) -> None:
        self.words: list[Exception | asyncio.Event] = []
        self.written: list[tuple[Record, DeadLetterFacts]] = []
        self.calls = 0

    async def write_letter(
        self, record: Record, facts: DeadLetterFacts, is_wanted: Callable[[], bool]
    ) -> Acknowledgement:
        self.calls += 1
        word = self.words.pop(0) if self.words else None
        if isinstance(word, asyncio.Event):
            await word.wait()
        elif word is not None:
            raise word
        if is_wanted():
            self.written.append((record, facts))
        return Acknowledgement(3, 100 + len(self.written))


class Again:
    """A redelivery that takes over all but retries, skips, and one more kind."""

    def __init__(self, but: type[Decision] = Skip) -> None:
        self.left: list[tuple[int, LeaveToRedelivery]] = []
        self._but = (Retry, Skip, but)

    def adapt(self, decision: Decision, error: BaseException) -> Decision | LeaveToRedelivery:
        assert isinstance(error, BaseException)
        if isinstance(decision, self._but):
            return decision
        return LeaveToRedelivery(decision, "why", "its event comes later")

    def take_over(self, failed: FailedEvent, left: LeaveToRedelivery) -> None:
        self.left.append((failed.record.offset, left))


class Park:
    """Parked keys that hold every key, or none."""

    def __init__(self, *, holds: bool = True) -> None:
        self.asked: list[tuple[bytes | None, str]] = []
        self.parked: list[tuple[int, DeadLetterFacts, tuple[int, int]]] = []
        self._holds = holds

    def contains(self, key: bytes | None, lane: str) -> bool:
        self.asked.append((key, lane))
        return self._holds

    def park(self, record: Record, facts: DeadLetterFacts, place: tuple[int, int]) -> None:
        self.parked.append((record.offset, facts, place))


class Room:
    """A `FailureHandler` with its host."""

    def __init__(
        self,
        *,
        again: Again | None = None,
        park: Park | None = None,
        hooks: ConsumerHooks | None = None,
        policy: RetryPolicy | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        @kafka_consumer(group_id="group", retry=policy or RetryPolicy(attempts=1), **options)
        class Consumer:
            @on_message(TOPIC)
            async def handle(self, event: CloudEvent[Any]) -> None: ...

        definition = definition_of(Consumer())
        with ThreadPoolExecutor(1) as pool:
            (self.route,) = bind(Consumer(), definition.routes, definition.options, pool)
        self.options = definition.options
        self.pen = Pen()
        writer: Any = self.pen
        parked_keys: Any = park
        self.lanes = lanes_for(self.options)
        self.ready = 0
        self.stops: list[Exception] = []
        self.epoch = Epoch(Assignment(TopicPartition(TOPIC, 0), 1, 0))
        host = FailureHost(
            group_id="group",
            on_ready=self._on_ready,
            on_stop=self.stops.append,
            writer=writer,
            hooks=hooks or ConsumerHooks(),
            parked_keys=parked_keys,
            redelivery=again,
            clock=clock or Clock(monotonic=asyncio.get_running_loop().time),
        )
        self.failures = FailureHandler(host, self.options, self.lanes)

    def _on_ready(self) -> None:
        self.ready += 1

    def take(self, *records: Record) -> list[FailedEvent]:
        """Let records in, and take the lanes of all of them."""
        self.epoch.ledger.receive([each.offset for each in records])
        origin = PartitionBatch(self.epoch, self.route)
        add_to_lanes(self.lanes, self.options.ordering, origin, records)
        return [self.failed(lane) for lane in iter(self.lanes.take, None)]

    def take_unread(self, *records: Record) -> list[FailedEvent]:
        """The same for records that cannot be read."""
        self.epoch.ledger.receive([each.offset for each in records])
        add_to_lanes(self.lanes, self.options.ordering, PartitionBatch(self.epoch, self.route), records)
        return [FailedEvent(lane, lane.front, None) for lane in iter(self.lanes.take, None)]

    def one(self, **about: Any) -> FailedEvent:
        (failed,) = self.take(record(0, **about))
        return failed

    def failed(self, lane: Lane[Work]) -> FailedEvent:
        work = lane.front
        return FailedEvent(lane, work, work[2] or work[1].decode(work[0]))

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
