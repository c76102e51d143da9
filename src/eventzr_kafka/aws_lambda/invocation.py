"""One invocation: its records go through the same lanes, decoder, handlers and failures as a runner's.

1. Every partition is an epoch of its own, which begins with the invocation and ends with it.
2. What fails is tried again here while the remaining time allows it. What cannot be is left to the event source, and so
   is all that comes after it in its partition and does not run yet: order in a partition is kept.
3. What has no outcome at the end comes again, and with it all after the first of it in its partition.
4. A dead letter under way is waited for, even where its partition is left: once the broker has it, it is an outcome.
5. Nothing goes on afterwards: handlers that still run are cancelled, dead letters that are not written are given up.
6. How often an event has failed is remembered by the container, so that an event that comes again and again to it ends
   among the dead letters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from eventzr_kafka.aws_lambda.container import Deadline
from eventzr_kafka.aws_lambda.event import EventSourceBatch
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.dispatcher import Dispatcher
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.failure_host import FailureHost, LeaveToRedelivery
from eventzr_kafka.engine.failure_states import FailureStates
from eventzr_kafka.engine.failures import FailureHandler
from eventzr_kafka.engine.intake import PartitionBatch, add_to_lanes, lanes_for
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.handlers.retry import DeadLetter, Decision, Retry, Skip, reason_of
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment

__all__ = ["Container", "Invocation"]

log = logging.getLogger("eventzr_kafka.consumer")

_REMEMBERED = 1000  # failed events whose attempts a container remembers
_CANCELLING = 0.25  # part of the margin that cancelled handlers may take to end


@dataclass(frozen=True, slots=True)
class Container:
    """What the invocations of one handler in one container have in common.

    Attributes:
        routes: By topic.
        failures: States of the events that failed and are redelivered.
        numbers: A number for each partition that was seen, which is its epochs'.
    """

    group_id: str
    options: ConsumerOptions
    routes: Mapping[str, BoundRoute]
    dead_letters: DeadLetterWriter
    hooks: ConsumerHooks
    failures: FailureStates = field(default_factory=FailureStates)
    numbers: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])


class Invocation:
    """The work of one invocation; a `Redelivery`."""

    def __init__(self, container: Container, batches: Sequence[EventSourceBatch], deadline: Deadline) -> None:
        """Prepare; `run` does it."""
        options = container.options
        self._container = container
        self._batches = batches
        self._deadline = deadline
        self._lanes = lanes_for(options)
        host = FailureHost(
            group_id=container.group_id,
            on_ready=self._go_on,
            on_stop=self._give_up,
            writer=container.dead_letters,
            hooks=container.hooks,
            redelivery=self,
        )
        self._failures = FailureHandler(host, options, self._lanes, container.failures)
        self._dispatcher = Dispatcher(container.group_id, options, self._lanes, self._failures)
        self._epochs = {batch.name: self._epoch(batch) for batch in batches}
        self._ended = asyncio.Event()

    async def run(self) -> dict[str, list[int]]:
        """Run all there is time for; returns the offsets that have no outcome, by the partition's name."""
        if self._deadline.left():
            await self._work()
        return {name: offsets for name, epoch in self._epochs.items() if (offsets := epoch.ledger.open_offsets())}

    async def _work(self) -> None:
        self._forget_passed()
        self._dispatcher.start(self._progress)
        for batch in self._batches:
            self._admit(batch)
        self._go_on()
        with suppress(TimeoutError):
            await self._deadline.limit(self._ended.wait())
        await self._end()

    # Redelivery

    def adapt(self, decision: Decision, error: BaseException) -> Decision | LeaveToRedelivery:
        """Try again while there is time; what a runner would wait or stop for comes again by itself."""
        if isinstance(decision, DeadLetter | Skip):
            return decision
        if isinstance(decision, Retry) and decision.after < self._deadline.left():
            return decision
        return LeaveToRedelivery(decision, reason_of(error), "it comes again, and all after it in its partition")

    def take_over(self, failed: FailedEvent, left: LeaveToRedelivery) -> None:  # noqa: ARG002 -- whatever was decided, it is delivered again
        """Run nothing more of this partition, from this record on."""
        record, origin, _, _ = failed.work
        self._lanes.discard(lambda other: other[1].epoch is origin.epoch and other[0].offset >= record.offset)
        self._go_on()

    # Beginning

    def _epoch(self, batch: EventSourceBatch) -> Epoch:
        numbers = self._container.numbers
        number = numbers.setdefault(batch.partition, len(numbers))
        epoch = Epoch(Assignment(batch.partition, number, None, ""))
        epoch.ledger.receive([record.offset for record in batch.records])
        return epoch

    def _admit(self, batch: EventSourceBatch) -> None:
        route = self._container.routes[batch.partition.topic]
        shared = PartitionBatch(self._epochs[batch.name], route, batch.records)
        add_to_lanes(self._lanes, self._container.options.ordering, shared, batch.records)

    def _forget_passed(self) -> None:
        """Other containers have seen to what comes before these records; and memory is bounded."""
        first = {self._epochs[batch.name].number: batch.records[0].offset for batch in self._batches}
        self._container.failures.forget_passed(first, _REMEMBERED)

    # Going on and ending

    def _go_on(self) -> None:
        self._dispatcher.spawn()
        self._progress()

    def _progress(self) -> None:
        if not self._lanes.count:
            self._ended.set()
        elif not self._lanes.ready:
            self._dispatcher.batches.end_all()  # nothing will arrive that they could wait for

    def _give_up(self, error: Exception) -> None:
        log.error("%s: %s", self._container.group_id, error)
        self._ended.set()

    async def _end(self) -> None:
        self._dispatcher.stop()
        self._failures.stop_deciding()
        self._lanes.discard(lambda _work: True)
        running = self._dispatcher.cancel()
        if self._lanes.count:
            self._say_cut_off()
        if running:
            await asyncio.wait(running, timeout=_CANCELLING * self._deadline.margin)
        if await self._failures.stop(self._deadline.left()):
            await self._container.dead_letters.give_up()

    def _say_cut_off(self) -> None:
        log.error(
            "%s: no time left: %d running handlers were cut off, and their events come again; "
            "handler_timeout= below the function's time-out would make it a failure that counts",
            self._container.group_id,
            self._lanes.count,
        )
