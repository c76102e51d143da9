"""What becomes of events that failed: a wait in their lane, a dead letter, a skip, or a stop of the group.

1. Only the lane of the event waits; every other lane goes on, on the same partition too.
2. A dead letter is an outcome once the broker has acknowledged it, see burials. Until then its lane waits.
3. A batch handler's error that names no event condemns none: when the attempts are used up, each event of the batch is
   tried once more, alone.
4. With ``park_key`` what follows a dead letter in its lane goes the same way, see parking.
5. One log line per failure says where the record is, whose it is, what happened, and what comes next.
6. With a `Redelivery`, what cannot be tried again in time comes again by itself, and so does an event whose dead letter
   cannot be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.dead_letters.letter import DeadLetterFacts
from eventzr_kafka.dead_letters.parked_keys import ParkedKeys
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.burials import Burials
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failed_event import Failed, History, HistoryKey, history_key, tenant_of, what, whose
from eventzr_kafka.engine.intake import Work, decode_early, lane_name
from eventzr_kafka.engine.lanes import Lane, Lanes
from eventzr_kafka.engine.redelivery import Leave, Redelivery, meant
from eventzr_kafka.errors import (
    ConsumerError,
    EventStoppedError,
    HandlerResultError,
)
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.handlers.retry import DeadLetter, Decision, Retry, Skip, Stop, decide_raised, decide_unreadable
from eventzr_kafka.hooks import ConsumerHooks, EventFailed, Outcome, notify
from eventzr_kafka.safe_text import error_location, is_a, name_of

__all__ = ["Failures"]

log = logging.getLogger("eventzr_kafka.consumer")


class Failures:
    """The failures of one group."""

    def __init__(
        self,
        group_id: str,
        options: ConsumerOptions,
        lanes: Lanes[Work],
        writer: DeadLetterWriter,
        hooks: ConsumerHooks,
        parking: ParkedKeys | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Begin without any.

        Args:
            writer: Shared by the groups of a runner.
            parking: Set if a dead letter parks its lane.
        """
        self.histories: dict[HistoryKey, History] = {}
        self._group_id = group_id
        self._options = options
        self._lanes = lanes
        self._hooks = hooks
        self._parking = parking
        self._clock = clock
        self._burials = Burials(group_id, lanes, writer, parking, clock=clock)
        self._stopping = False

    def start(
        self,
        on_ready: Callable[[], None],
        on_stop: Callable[[Exception], None],
        redelivery: Redelivery | None = None,
    ) -> None:
        """Take what is called when a lane may go on, and when the group must not; the event loop runs by now."""
        self._loop = asyncio.get_running_loop()
        self._redelivery = redelivery
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._burials.start(self._buried, on_stop, redelivery)

    def failed(
        self, route: BoundRoute, events: Sequence[Failed], error: BaseException, *, condemned: bool = True
    ) -> None:
        """Decide about events that failed together, each the front of a lane of its own.

        Args:
            condemned: Whether the error is about each of them, see rule 3.
        """
        events = [each for each in events if not self._is_too_late(each)]
        if not events or self._stopping:
            return
        history = max((self._count(each) for each in events), key=lambda history: history.attempts)
        decision = self._decide(route, events, error, history)
        if isinstance(decision, DeadLetter | Stop) and not (condemned or is_a(error, HandlerResultError)):
            for each in events:
                self.histories[history_key(each.work)].alone = True
            decision = Retry(0.0)
        plan = decision if self._redelivery is None else self._redelivery.plan(decision, error)
        self._say(route, events, error, history, plan)
        for each in events:
            self._carry_out(plan, route, each, error)

    def _decide(self, route: BoundRoute, events: Sequence[Failed], error: BaseException, history: History) -> Decision:
        if events[0].event is None:
            options = self._options
            return decide_unreadable(error, on_tombstone=options.on_tombstone, on_unknown_type=options.on_unknown_type)
        elapsed = self._loop.time() - history.since
        has_exited = any(self._has_exited(each.work) for each in events)
        return decide_raised(
            error,
            history.attempts,
            elapsed,
            policy=route.retry,
            has_exited=has_exited,
            random=self._clock.random,
        )

    def _has_exited(self, work: Work) -> bool:
        """True if the event has stopped a runner with `SystemExit`: this one, or an earlier one of the group."""
        return self.histories[history_key(work)].exited or work[0].offset in work[1].epoch.exits

    def _note_exit(self, work: Work) -> None:
        """The redelivered event is not to stop the next runner, which reads it from the commit."""
        self.histories[history_key(work)].exited = True
        work[1].epoch.exits.add(work[0].offset)

    def _is_too_late(self, each: Failed) -> bool:
        """Whether its partition has gone while it ran: it is another member's, and is dropped here."""
        if not each.work[1].epoch.ended:
            return False
        self._forget(history_key(each.work))
        each.lane.running = 1
        self._lanes.finish_all(each.lane)
        return True

    def park(self, lane: Lane[Work], work: Work) -> bool:
        """Have the front of a lane with an open dead letter follow that; False if there is none."""
        record, origin, event, _ = work
        name = lane_name(self._options.ordering, record, event)
        if self._parking is None or not self._parking.contains(record.key, name):
            return False
        if event is None:
            event = decode_early(origin, record)
        each = Failed(lane, work, event)
        self._count(Failed(lane, work, None))
        log.info("%s%s: parked: its ordering key has an open dead letter", record.position, whose(each))
        notify(self._hooks.on_event_failed, self._fact(origin.route, each, "", "parked"))
        self._lanes.wait(lane)
        self._burials.begin(
            each, self._facts(origin.route, each, "parked", "follows a dead letter of its ordering key")
        )
        return True

    def give_up(self, error: BaseException) -> None:
        """Something failed that nobody may decide about."""
        self._on_stop(
            error if isinstance(error, Exception) else ConsumerError(f"a worker ended: {error_location(error)}")
        )

    def is_alone(self, work: Work) -> bool:
        """Whether an event is to be tried outside of a batch."""
        history = self.histories.get(history_key(work))
        return history is not None and history.alone

    def count(self, each: Failed) -> None:
        """An event failed behind another one of its lane, which is decided about first."""
        self._count(each)

    def forget(self, epochs: Iterable[Epoch]) -> None:
        """Forget what failed in epochs that have ended."""
        gone = {epoch.number for epoch in epochs}
        for key in [key for key in self.histories if key[0] in gone]:
            self._forget(key)

    def stop_deciding(self) -> None:
        """From now on nothing that fails gets an outcome: it comes again. Dead letters under way are still written."""
        self._stopping = True

    async def stop(self, patience: float = 0.0) -> bool:
        """Give up the dead letters that are not written, see `Burials.stop`."""
        return await self._burials.stop(patience)

    @property
    def problem(self) -> str | None:
        """Why lanes wait for their dead letters, or None."""
        return self._burials.problem

    def _forget(self, key: HistoryKey) -> None:
        history = self.histories.pop(key, None)
        if history is not None and history.timer is not None:
            history.timer.cancel()

    def _count(self, each: Failed) -> History:
        now = self._clock.wall()
        history = self.histories.setdefault(history_key(each.work), History(self._loop.time(), now))
        history.attempts += each.event is not None
        history.last = now
        return history

    def _carry_out(self, decision: Decision | Leave, route: BoundRoute, each: Failed, error: BaseException) -> None:
        lane, work = each.lane, each.work
        record, origin, _, _ = work
        if isinstance(decision, Retry):
            self._lanes.wait(lane)
            self.histories[history_key(work)].timer = self._loop.call_later(decision.after, self._resume, lane, work)
        elif isinstance(decision, DeadLetter):
            self._lanes.wait(lane)
            self._burials.begin(each, self._facts(route, each, name_of(error), decision.reason))
        elif isinstance(decision, Leave):
            if isinstance(decision.instead_of, Stop) and is_a(error, SystemExit):
                self._note_exit(work)
            self._lanes.wait(lane)
            assert self._redelivery is not None  # noqa: S101 -- else nothing is left
            self._redelivery.leave(each, decision)
        elif isinstance(decision, Skip):
            self._forget(history_key(work))
            origin.ledger.finish(record.offset)
            lane.running = 1
            self._lanes.finish_all(lane)
        else:
            if is_a(error, SystemExit):
                self._note_exit(work)
            stopped = EventStoppedError(record, route.label, error, event_id=each.event.id if each.event else None)
            stopped.__cause__ = None if each.event is None else error
            self._on_stop(stopped)

    def _resume(self, lane: Lane[Work], work: Work) -> None:
        self._lanes.resume(lane, work)
        self._on_ready()

    def _buried(self, work: Work) -> None:
        """The broker has its dead letter."""
        self._forget(history_key(work))
        self._on_ready()

    def _facts(self, route: BoundRoute, each: Failed, error: str, reason: str) -> DeadLetterFacts:
        history = self.histories[history_key(each.work)]
        return DeadLetterFacts(
            group_id=self._group_id,
            handler=route.label,
            error=error,
            reason=reason,
            attempts=history.attempts,
            first_failure=history.first,
            last_failure=history.last,
            event_id=each.event.id if each.event else None,
            event_source=each.event.source if each.event else None,
            ordering_key=lane_name(self._options.ordering, each.work[0], each.event),
            position=each.work[1].ledger.position(),
        )

    # What is told

    def _say(
        self,
        route: BoundRoute,
        events: Sequence[Failed],
        error: BaseException,
        history: History,
        decision: Decision | Leave,
    ) -> None:
        first = events[0]
        if not isinstance(decision, Stop):  # the runner says what stops it
            log.log(
                logging.WARNING if isinstance(meant(decision), Retry | Skip) else logging.ERROR,
                "%s%s%s: %s: %s%s; %s",
                first.work[0].position,
                f" and {len(events) - 1} more" if len(events) > 1 else "",
                whose(first),
                route.label,
                what(first, error),
                f"; attempt {history.attempts} of {route.retry.attempts}" if history.attempts else "",
                _next(decision),
            )
        if self._hooks.on_event_failed is not None:
            for each in events:
                fact = self._fact(route, each, name_of(error), _OUTCOMES[type(meant(decision))], error)
                notify(self._hooks.on_event_failed, fact)

    def _fact(
        self, route: BoundRoute, each: Failed, error: str, outcome: Outcome, cause: BaseException | None = None
    ) -> EventFailed:
        record = each.work[0]
        return EventFailed(
            group_id=self._group_id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            tenant_id=tenant_of(record),
            handler=route.label,
            error=error,
            attempt=self.histories[history_key(each.work)].attempts,
            outcome=outcome,
            cause=cause,
        )


def _next(decision: Decision | Leave) -> str:
    if isinstance(decision, Leave):
        return decision.then
    if isinstance(decision, Retry):
        return f"again in {decision.after:.3g} s"
    return "skipped" if isinstance(decision, Skip) else "to the dead letters"


_OUTCOMES: dict[type[Decision], Outcome] = {
    Retry: "retried",
    DeadLetter: "dead-lettered",
    Skip: "skipped",
    Stop: "stopped",
}
