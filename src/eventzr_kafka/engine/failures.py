"""`FailureHandler`: decides what follows when events fail: a retry, a dead letter, a skip, or a stop of the group.

1. Only the ordering key of the event waits; every other one goes on, on the same partition too.
2. A dead letter is an outcome once the broker has acknowledged it, see `dead_letter_writes`. Until then its lane waits.
3. A batch handler's error that names no event dead-letters none of them: when the attempts are used up, each event of
   the batch is retried once more, individually.
4. With ``park_key`` the later events of a dead letter's ordering key become dead letters too, see `parked_keys`.
5. Each failure has one log line: the record, its event and tenant, the error, and the next step.
6. An event that its handler's `when` does not want is skipped: that is counted, and not a failure.
7. A dead letter that cannot be read by a consumer of the dead-letter topic is skipped.
8. With a `Redelivery`, an event that cannot be retried in time is left to it, and so is an event whose dead letter
   cannot be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import assert_never

from eventzr_kafka.codec.selection import UnwantedEvent
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, is_letter
from eventzr_kafka.engine.dead_letter_writes import DeadLetterWrites
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failed_event import FailedEvent, error_summary
from eventzr_kafka.engine.failure_host import FailureHost, LeaveToRedelivery, underlying_decision
from eventzr_kafka.engine.failure_states import FailureState, FailureStates
from eventzr_kafka.engine.intake import EarlyReading, Work, decode_early, lane_name
from eventzr_kafka.engine.lanes import Lane, Lanes
from eventzr_kafka.engine.refused_sources import RefusedSources
from eventzr_kafka.errors import (
    ConsumerError,
    EventStoppedError,
    HandlerResultError,
    SourceNotAllowedError,
)
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.handlers.retry import DeadLetter, Decision, Retry, Skip, Stop, decide_raised, decide_unreadable
from eventzr_kafka.hooks import EventFailed, EventSkipped, FailureOutcome, notify
from eventzr_kafka.safe_text import error_location, is_a, list_some, name_of

__all__ = ["FailureHandler"]

log = logging.getLogger("eventzr_kafka.consumer")


class FailureHandler:
    """Handles the failures of one group.

    Attributes:
        states: The failures so far of the events without an outcome.
        skipped: The number of skipped events of each handler, see rule 6.
        refused_sources: The sources whose events are dead letters.
    """

    def __init__(
        self, host: FailureHost, options: ConsumerOptions, lanes: Lanes[Work], states: FailureStates | None = None
    ) -> None:
        """Begin with the failures that are known.

        Args:
            states: Failures of earlier invocations on AWS Lambda.
        """
        self.states = FailureStates() if states is None else states
        self._host = host
        self._options = options
        self._lanes = lanes
        self._writes = DeadLetterWrites(host, lanes, self.states)
        self.skipped: Counter[str] = Counter()
        self.refused_sources = RefusedSources(host.group_id)
        self._stopping = False

    def handle(
        self, route: BoundRoute, events: Sequence[FailedEvent], error: BaseException, *, dead_letter_each: bool = True
    ) -> None:
        """Decide about events that failed together, each the front of a lane of its own.

        Args:
            dead_letter_each: True if the error is about each of them, see rule 3.
        """
        events = [failed for failed in events if not self._drop_revoked(failed)]
        if not events or self._stopping:
            return
        states = [self.count(failed) for failed in events]
        state = max(states, key=lambda state: state.attempts)
        decision = self._decide(route, events, error, state)
        if isinstance(decision, DeadLetter | Stop) and not (dead_letter_each or is_a(error, HandlerResultError)):
            for each in states:
                each.retry_individually = True
            decision = Retry(0.0)
        redelivery = self._host.redelivery
        adapted = decision if redelivery is None else redelivery.adapt(decision, error)
        self._report(route, events, error, state, adapted)
        if type(error) is SourceNotAllowedError and events[0].event is None:
            self.refused_sources.note(route.label, error, asyncio.get_running_loop().time())
        for failed in events:
            self._carry_out(adapted, route, failed, error)

    def skip(self, route: BoundRoute, failed: FailedEvent, error: UnwantedEvent) -> None:
        """Skip the front event of a taken lane, see rule 6."""
        if self._drop_revoked(failed) or self._stopping:
            return
        redelivery = self._host.redelivery
        decision = Skip() if redelivery is None else redelivery.adapt(Skip(), error)
        self._count_skipped(route, failed)
        self._carry_out(decision, route, failed, error)

    def finish_skipped(self, route: BoundRoute, skipped: FailedEvent) -> None:
        """Give an event of a batch its outcome, see rule 6; the batch lets its lane go on."""
        self._count_skipped(route, skipped)
        self.states.forget(skipped.key)
        skipped.batch.ledger.finish(skipped.record.offset)

    def _count_skipped(self, route: BoundRoute, skipped: FailedEvent) -> None:
        self.skipped[route.label] += 1
        if self.skipped[route.label] == 1:
            position = skipped.record.position
            log.info("%s: %s: skipped, as the first event that its when= does not want", position, route.label)
        if self._host.hooks.on_event_skipped is not None:
            topic, partition, offset = skipped.record[:3]
            fact = EventSkipped(
                group_id=self._host.group_id,
                topic=topic,
                partition=partition,
                offset=offset,
                tenant_id=skipped.tenant_id,
                handler=route.label,
            )
            notify(self._host.hooks.on_event_skipped, fact)

    def park_front(self, lane: Lane[Work], work: Work) -> bool:
        """Make a dead letter of a lane's front event if its ordering key is parked; returns True if it is."""
        parked_keys, ordering = self._host.parked_keys, self._options.ordering
        if parked_keys is None:
            return False
        record, batch, event, _ = work
        early = EarlyReading(event, event)
        if event is None and ordering == "subject":  # its `when` failed as its lane was chosen: its key is its subject
            early = decode_early(batch, record)
        if not parked_keys.contains(record.key, lane_name(ordering, record, early.envelope)):
            return False
        if early.envelope is None:
            early = decode_early(batch, record)
        if early.is_unwanted:  # it is skipped, whatever its ordering key waits for
            return False
        event = early.envelope
        self.count(FailedEvent(lane, work, None))  # without an event: its handler is not called
        failed = FailedEvent(lane, work, event)
        log.info("%s%s: parked: its ordering key has an open dead letter", record.position, failed.event_and_tenant)
        notify(self._host.hooks.on_event_failed, self._fact(batch.route, failed, "", "parked"))
        self._lanes.wait(lane)
        reason = "follows a dead letter of its ordering key"
        self._writes.begin(failed, self._facts(batch.route, failed, "parked", reason))
        return True

    def count(self, failed: FailedEvent) -> FailureState:
        """Count a failure; alone for an event behind another failed one of its lane, which is decided about first."""
        now, wall = asyncio.get_running_loop().time(), self._host.clock.wall()
        return self.states.count(failed.work, attempted=failed.event is not None, now=now, wall=wall)

    def is_retried_individually(self, work: Work) -> bool:
        """True if an event is to be retried outside of a batch."""
        state = self.states.find(work)
        return state is not None and state.retry_individually

    def stop_group(self, error: BaseException) -> None:
        """Stop the group for an error that is not an event's."""
        if not isinstance(error, Exception):
            error = ConsumerError(f"a worker ended: {error_location(error)}")
        self._host.on_stop(error)

    def forget(self, epochs: Iterable[Epoch]) -> None:
        """Forget the failures of epochs that have ended."""
        self.states.forget_epochs(epoch.number for epoch in epochs)

    def stop_deciding(self) -> None:
        """Leave every event that fails from now on without an outcome: it is redelivered.

        Dead letters in flight are still written.
        """
        self._stopping = True

    async def stop(self, patience: float = 0.0) -> bool:
        """Give up the dead letters that are not acknowledged, see `DeadLetterWrites.stop`."""
        for label, count in self.skipped.items():
            log.info("%s: %s: skipped %d events that its when= does not want", self._host.group_id, label, count)
        return await self._writes.stop(patience)

    @property
    def problem(self) -> str | None:
        """The reason why lanes wait for their dead letters; None if all writes succeed."""
        return self._writes.problem

    def _drop_revoked(self, failed: FailedEvent) -> bool:
        """Drop an event whose partition went to another member while it ran; returns True if it was dropped."""
        if not failed.epoch.ended:
            return False
        self.states.forget(failed.key)
        self._lanes.drop_front(failed.lane)
        return True

    def _decide(
        self, route: BoundRoute, events: Sequence[FailedEvent], error: BaseException, state: FailureState
    ) -> Decision:
        if events[0].event is None:
            if is_letter(events[0].record):  # it stays in its topic, and a dead letter about it adds nothing
                return Skip()
            options = self._options
            return decide_unreadable(error, on_tombstone=options.on_tombstone, on_unknown_type=options.on_unknown_type)
        # An event has exited if it stopped this runner with `SystemExit`, or an earlier one of the group.
        has_exited = any(self.states[each.key].has_exited or each.record.offset in each.epoch.exits for each in events)
        return decide_raised(
            error,
            state.attempts,
            asyncio.get_running_loop().time() - state.since,
            policy=route.retry,
            has_exited=has_exited,
            random=self._host.clock.random,
        )

    def _carry_out(
        self, decision: Decision | LeaveToRedelivery, route: BoundRoute, failed: FailedEvent, error: BaseException
    ) -> None:
        lane = failed.lane
        match decision:
            case Retry(after=seconds):
                self._lanes.wait(lane)
                call_later = asyncio.get_running_loop().call_later
                self.states[failed.key].timer = call_later(seconds, self._resume, failed)
            case DeadLetter(reason=reason):
                self._lanes.wait(lane)
                self._writes.begin(failed, self._facts(route, failed, name_of(error), reason))
            case Skip():
                self.states.forget(failed.key)
                failed.batch.ledger.finish(failed.record.offset)
                self._lanes.drop_front(lane)
            case Stop():
                self._note_exit(failed, error)
                stopped = EventStoppedError(
                    failed.record, route.label, error, event_id=failed.event.id if failed.event else None
                )
                stopped.__cause__ = None if failed.event is None else error
                self._host.on_stop(stopped)
            case LeaveToRedelivery():
                if isinstance(decision.instead_of, Stop):
                    self._note_exit(failed, error)
                self._lanes.wait(lane)
                assert self._host.redelivery is not None  # noqa: S101 -- it alone makes these
                self._host.redelivery.take_over(failed, decision)
            case _:
                assert_never(decision)

    def _note_exit(self, failed: FailedEvent, error: BaseException) -> None:
        """Keep the redelivered event from stopping the next runner too, which reads the note from the commit."""
        if is_a(error, SystemExit):
            self.states[failed.key].has_exited = True
            failed.epoch.exits.add(failed.record.offset)

    def _resume(self, failed: FailedEvent) -> None:
        self._lanes.resume(failed.lane, failed.work)
        self._host.on_ready()

    def _facts(self, route: BoundRoute, failed: FailedEvent, error: str, reason: str) -> DeadLetterFacts:
        state = self.states[failed.key]
        return DeadLetterFacts(
            group_id=self._host.group_id,
            handler=route.label,
            error=error,
            reason=reason,
            attempts=state.attempts,
            first_failure=state.first,
            last_failure=state.last,
            event_id=failed.event.id if failed.event else None,
            event_source=failed.event.source if failed.event else None,
            ordering_key=lane_name(self._options.ordering, failed.record, failed.event),
            position=failed.batch.ledger.position(),
        )

    def _report(
        self,
        route: BoundRoute,
        events: Sequence[FailedEvent],
        error: BaseException,
        state: FailureState,
        decision: Decision | LeaveToRedelivery,
    ) -> None:
        """Log one line for all of the events, and call the hook for each of them."""
        first, decided = events[0], underlying_decision(decision)
        if not isinstance(decision, Stop):  # the runner logs the error that stops it
            log.log(
                logging.WARNING if isinstance(decided, Retry | Skip) else logging.ERROR,
                "%s%s: %s: %s%s; %s",
                list_some([first.record.position], most=1, total=len(events)),
                first.event_and_tenant,
                route.label,
                error_summary(first, error),
                f"; attempt {state.attempts} of {route.retry.attempts}" if state.attempts else "",
                _next_step(decision),
            )
        if self._host.hooks.on_event_failed is not None:
            for failed in events:
                fact = self._fact(route, failed, name_of(error), _OUTCOMES[type(decided)], error)
                notify(self._host.hooks.on_event_failed, fact)

    def _fact(
        self,
        route: BoundRoute,
        failed: FailedEvent,
        error: str,
        outcome: FailureOutcome,
        cause: BaseException | None = None,
    ) -> EventFailed:
        record = failed.record
        return EventFailed(
            group_id=self._host.group_id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            tenant_id=failed.tenant_id,
            handler=route.label,
            error=error,
            attempt=self.states[failed.key].attempts,
            outcome=outcome,
            cause=cause,
        )


def _next_step(decision: Decision | LeaveToRedelivery) -> str:
    if isinstance(decision, LeaveToRedelivery):
        return decision.next_step
    if isinstance(decision, Retry):
        return f"again in {decision.after:.3g} s"
    return "skipped" if isinstance(decision, Skip) else "to the dead letters"


_OUTCOMES: dict[type[Decision], FailureOutcome] = {
    Retry: "retried",
    DeadLetter: "dead-lettered",
    Skip: "skipped",
    Stop: "stopped",
}
