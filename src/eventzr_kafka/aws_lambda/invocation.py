"""`Invocation`: the records of one invocation, run on the lanes, decoder, handlers and failures of a consumer.

1. Every partition is an epoch of its own, which begins with the invocation and ends with it.
2. An event that fails is retried in the invocation if the remaining time allows it. If not, it is left to AWS, and so
   are all later records of its partition that do not run yet: a partition keeps its order.
3. The records without an outcome at the end are reported for each partition, and AWS redelivers them.
4. A dead letter in flight is awaited, even if its partition is left to AWS: once the broker has it, it is an outcome.
5. Nothing goes on after the invocation: running handlers are cancelled, dead letters that are not written are given up.
6. The container remembers how often an event has failed, so that an event that is redelivered to the same container
   ends among the dead letters.
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
from eventzr_kafka.engine.intake import PartitionBatch, Work, add_to_lanes, lanes_for
from eventzr_kafka.events.context import begin_handling, end_handling
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.handlers.retry import DeadLetter, Decision, Retry, Skip, reason_of
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment

__all__ = ["Invocation", "LambdaConsumer"]

log = logging.getLogger("eventzr_kafka.consumer")

_REMEMBERED = 1000  # failed events whose attempts a container remembers
_CANCELLING = 0.25  # part of the margin that cancelled handlers may take to end


@dataclass(frozen=True, slots=True)
class LambdaConsumer:
    """The state of one consumer that a container keeps between invocations.

    Attributes:
        routes: By topic.
        failures: States of the events that failed and are redelivered.
        epoch_numbers: A number for each partition that was seen, which all its epochs have.
    """

    group_id: str
    options: ConsumerOptions
    routes: Mapping[str, BoundRoute]
    writer: DeadLetterWriter
    hooks: ConsumerHooks
    failures: FailureStates = field(default_factory=FailureStates)
    epoch_numbers: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])


class Invocation:
    """The work of one invocation; a `Redelivery`."""

    def __init__(self, consumer: LambdaConsumer, batches: Sequence[EventSourceBatch], deadline: Deadline) -> None:
        """Prepare; `run` begins."""
        options = consumer.options
        self._consumer = consumer
        self._batches = batches
        self._deadline = deadline
        self._lanes = lanes_for(options)
        host = FailureHost(
            group_id=consumer.group_id,
            on_ready=self._go_on,
            on_stop=self._stop_with,
            writer=consumer.writer,
            hooks=consumer.hooks,
            redelivery=self,
        )
        self._failures = FailureHandler(host, options, self._lanes, consumer.failures)
        self._dispatcher = Dispatcher(consumer.group_id, options, self._lanes, self._failures, self._end_if_idle)
        self._epochs = {batch.name: self._make_epoch(batch) for batch in batches}
        self._ended = asyncio.Event()

    async def run(self) -> dict[str, list[int]]:
        """Run the records as long as time is left.

        Returns:
            The offsets without an outcome, by the partition's name; a partition without any is left out.
        """
        if self._deadline.left():
            # Other containers have handled the records before these; and memory is bounded.
            first = {self._epochs[batch.name].number: batch.records[0].offset for batch in self._batches}
            self._consumer.failures.forget_passed(first, _REMEMBERED)
            for batch in self._batches:
                self._admit(batch)
            handling = begin_handling()
            try:
                self._go_on()
                with suppress(TimeoutError):
                    await self._deadline.limit(self._ended.wait())
                await self._end()
            finally:
                end_handling(handling)
        return {name: offsets for name, epoch in self._epochs.items() if (offsets := epoch.ledger.open_offsets())}

    # Redelivery

    def adapt(self, decision: Decision, error: BaseException) -> Decision | LeaveToRedelivery:
        """Retry while there is time; an event for which a runner would wait or stop is left to AWS."""
        if isinstance(decision, DeadLetter | Skip):
            return decision
        if isinstance(decision, Retry) and decision.after < self._deadline.left():
            return decision
        return LeaveToRedelivery(decision, reason_of(error), "redelivered, and all after it in its partition")

    def take_over(self, failed: FailedEvent, left: LeaveToRedelivery) -> None:  # noqa: ARG002 -- AWS redelivers, whatever was decided
        """Leave this record and all later ones of its partition to AWS."""
        epoch, offset = failed.epoch, failed.record.offset

        def is_left(work: Work) -> bool:
            record, batch, _, _ = work
            return batch.epoch is epoch and record.offset >= offset

        self._lanes.discard(is_left)
        self._go_on()

    def _make_epoch(self, batch: EventSourceBatch) -> Epoch:
        numbers = self._consumer.epoch_numbers
        number = numbers.setdefault(batch.partition, len(numbers))
        epoch = Epoch(Assignment(batch.partition, number, None, ""))
        epoch.ledger.receive([record.offset for record in batch.records])
        return epoch

    def _admit(self, batch: EventSourceBatch) -> None:
        route = self._consumer.routes[batch.partition.topic]
        shared = PartitionBatch(self._epochs[batch.name], route)
        add_to_lanes(self._lanes, self._consumer.options.ordering, shared, batch.records)

    def _go_on(self) -> None:
        self._dispatcher.spawn()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._lanes.count:
            self._ended.set()
        elif not self._lanes.ready:
            self._dispatcher.batches.hand_over_all()  # no more records will arrive that a batch could wait for

    def _stop_with(self, error: Exception) -> None:
        log.error("%s: %s", self._consumer.group_id, error)
        self._ended.set()

    async def _end(self) -> None:
        self._dispatcher.stop()
        self._failures.stop_deciding()
        self._lanes.discard(lambda _work: True)
        running = self._dispatcher.cancel()
        if self._lanes.count:
            log.error(
                "%s: no time left: %d running handlers were cancelled, and their events are redelivered; "
                "a handler_timeout below the function's time-out would make that a failure that counts",
                self._consumer.group_id,
                self._lanes.count,
            )
        if running:
            await asyncio.wait(running, timeout=_CANCELLING * self._deadline.margin)
        if await self._failures.stop(self._deadline.left()):
            await self._consumer.writer.give_up()
