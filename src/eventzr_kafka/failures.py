"""What becomes of events that failed: a wait in their lane, a dead letter, a skip, or a stop of the group.

1. Only the lane of the event waits; every other lane goes on, on the same partition too.
2. A dead letter is an outcome once the broker has acknowledged it. Until then its lane waits, for as long as it takes.
3. A batch handler's error that names no event condemns none: when the attempts are used up, each event of the batch is
   tried once more, alone.
4. With ``park_lane`` what follows a dead letter in its lane goes the same way, see parking.
5. What fails after its partition was given up has no outcome here: the next owner runs it.
6. One log line per failure says where the record is, whose it is, what happened, and what comes next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventzr_kafka.binding import BoundRoute
from eventzr_kafka.dead_letter import DeadLetterFacts
from eventzr_kafka.dead_letter_writer import DeadLetterWriter
from eventzr_kafka.epoch import Epoch
from eventzr_kafka.errors import ConsumerError, DecodeError, DeliveryError, EventStoppedError, describe, printable
from eventzr_kafka.event import CloudEvent
from eventzr_kafka.hooks import ConsumerHooks, EventFailed, Outcome, tell
from eventzr_kafka.intake import Work, lane_name
from eventzr_kafka.lanes import Lane, Lanes
from eventzr_kafka.options import ConsumerOptions
from eventzr_kafka.parking import Parking
from eventzr_kafka.retry import DeadLetter, Decision, Retry, Skip, Stop, decide, reason_of

__all__ = ["Failed", "Failures"]

log = logging.getLogger("eventzr_kafka.consumer")

_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between two tries to write a dead letter
_Key: TypeAlias = tuple[int, int]  # epoch and offset


@dataclass(slots=True)
class _History:
    """How often an event has failed.

    Attributes:
        alone: Whether it is to be tried outside of a batch.
        since: The loop's time of the first failure.
        first, last: Seconds since the Unix epoch.
    """

    since: float
    first: float
    last: float = 0.0
    attempts: int = 0
    alone: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """One event that has failed, at the front of its lane; `event` is None if its record could not be read."""

    lane: Lane[Work]
    work: Work
    event: CloudEvent[Any] | None


class Failures:
    """The failures of one group."""

    def __init__(
        self,
        group_id: str,
        options: ConsumerOptions,
        lanes: Lanes[Work],
        writer: DeadLetterWriter,
        hooks: ConsumerHooks,
        parking: Parking | None,
    ) -> None:
        """Begin without any.

        Args:
            writer: Shared by the groups of a runner.
            parking: Set if a dead letter parks its lane.
        """
        self.histories: dict[_Key, _History] = {}
        self.problem: str | None = None
        self._group_id = group_id
        self._options = options
        self._lanes = lanes
        self._writer = writer
        self._hooks = hooks
        self._parking = parking
        self._burials: set[asyncio.Task[None]] = set()

    def start(self, on_ready: Callable[[], None], on_stop: Callable[[Exception], None]) -> None:
        """Take what is called when a lane may go on, and when the group must not; the event loop runs by now."""
        self._loop = asyncio.get_running_loop()
        self._on_ready = on_ready
        self._on_stop = on_stop

    def failed(
        self, route: BoundRoute, events: Sequence[Failed], error: BaseException, *, condemned: bool = True
    ) -> None:
        """Decide about events that failed together, each the front of a lane of its own.

        Args:
            condemned: Whether the error is about each of them, see rule 3.
        """
        for each in events:
            if each.work[1].epoch.ended:
                self._let_go(each)
        events = [each for each in events if not each.work[1].epoch.ended]
        if not events:
            return
        history = max((self._count(each) for each in events), key=lambda history: history.attempts)
        decision = decide(
            error,
            history.attempts,
            self._loop.time() - history.since,
            policy=route.retry,
            on_tombstone=self._options.on_tombstone,
            on_unknown_type=self._options.on_unknown_type,
        )
        if isinstance(decision, DeadLetter) and not condemned:
            for each in events:
                self.histories[_key(each.work)].alone = True
            decision = Retry(0.0)
        self._say(route, events, error, history, decision)
        for each in events:
            self._carry_out(decision, route, each, error)

    def park(self, lane: Lane[Work], work: Work) -> bool:
        """Have the front of a lane with an open dead letter follow that; False if there is none."""
        record, origin, event, _ = work
        name = lane_name(self._options.ordering, record, event)
        if self._parking is None or not self._parking.holds(record.key, name):
            return False
        if event is None:
            with suppress(DecodeError):
                event = origin.decode(record)
        each = Failed(lane, work, event)
        self._count(Failed(lane, work, None))
        log.info("%s: parked: its lane has an open dead letter", record.position)
        tell(self._hooks.failed, self._fact(origin.route, each, "", "parked"))
        self._lanes.wait(lane)
        self._begin(self._bury(each, self._facts(origin.route, each, "parked", "follows a dead letter of its lane")))
        return True

    def give_up(self, error: BaseException) -> None:
        """Something failed that nobody may decide about."""
        self._on_stop(error if isinstance(error, Exception) else ConsumerError(f"a worker ended: {describe(error)}"))

    def is_alone(self, work: Work) -> bool:
        """Whether an event is to be tried outside of a batch."""
        history = self.histories.get(_key(work))
        return history is not None and history.alone

    def count(self, each: Failed) -> None:
        """An event failed behind another one of its lane, which is decided about first."""
        self._count(each)

    def forget(self, epochs: Iterable[Epoch]) -> None:
        """Forget what failed in epochs that have ended."""
        gone = {epoch.number for epoch in epochs}
        for key in [key for key in self.histories if key[0] in gone]:
            del self.histories[key]

    async def stop(self) -> None:
        """Give up the dead letters that are not written: their events come again."""
        for burial in self._burials:
            burial.cancel()
        await asyncio.gather(*self._burials, return_exceptions=True)

    def _count(self, each: Failed) -> _History:
        now = time.time()
        history = self.histories.setdefault(_key(each.work), _History(self._loop.time(), now))
        history.attempts += each.event is not None
        history.last = now
        return history

    def _carry_out(self, decision: Decision, route: BoundRoute, each: Failed, error: BaseException) -> None:
        lane, work = each.lane, each.work
        record, origin, _, _ = work
        if isinstance(decision, Retry):
            self._lanes.wait(lane)
            self._loop.call_later(decision.after, self._resume, lane, work)
        elif isinstance(decision, DeadLetter):
            self._lanes.wait(lane)
            facts = self._facts(route, each, type(error).__qualname__, decision.reason)
            self._begin(self._bury(each, facts))
        elif isinstance(decision, Skip):
            self.histories.pop(_key(work), None)
            origin.ledger.finish(record.offset)
            lane.running = 1
            self._lanes.finish_all(lane)
        else:
            stopped = EventStoppedError(record, route.label, error, event_id=each.event.id if each.event else None)
            stopped.__cause__ = None if isinstance(error, DecodeError) else error
            self._on_stop(stopped)

    def _let_go(self, each: Failed) -> None:
        """Its partition is another member's by now, who runs it again: nothing is decided here, see rule 5."""
        each.lane.running = 1
        self._lanes.finish_all(each.lane)
        self._lanes.discard(lambda work: work[1].epoch.ended)  # what failed behind it in a batch

    def _resume(self, lane: Lane[Work], work: Work) -> None:
        self._lanes.resume(lane, work)
        self._on_ready()

    # Dead letters

    def _facts(self, route: BoundRoute, each: Failed, error: str, reason: str) -> DeadLetterFacts:
        history = self.histories[_key(each.work)]
        return DeadLetterFacts(
            group_id=self._group_id,
            handler=route.label,
            error=error,
            reason=reason,
            attempts=history.attempts,
            first_failure=history.first,
            last_failure=history.last,
            event_id=each.event.id if each.event else None,
            lane=lane_name(self._options.ordering, each.work[0], each.event),
        )

    def _begin(self, burial: Any) -> None:
        task = self._loop.create_task(burial)
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)

    async def _bury(self, each: Failed, facts: DeadLetterFacts) -> None:
        """Write a dead letter, for as long as it takes and the partition is ours."""
        lane, work, pause = each.lane, each.work, _PAUSE
        while lane.waiting and lane.front is work:
            try:
                await self._write(work, facts)
            except DeliveryError as error:
                self._trouble(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001 -- such as a client that cannot be made
                self._on_stop(error)
                return
            else:
                self._relief()
                self.histories.pop(_key(work), None)
                self._lanes.settle(lane, work)
                self._on_ready()
                return

    async def _write(self, work: Work, facts: DeadLetterFacts) -> None:
        record, origin, _, _ = work
        origin.epoch.running += 1
        try:
            await self._writer.write_letter(record, facts)
            origin.ledger.finish(record.offset)
            if self._parking is not None:
                self._parking.park(record, facts.lane)
        finally:
            origin.epoch.running -= 1

    def _trouble(self, error: DeliveryError) -> None:
        if self.problem is None:
            log.error("%s: dead letters cannot be written, their lanes wait: %s", self._group_id, error)
        self.problem = f"{self._group_id}: dead letters cannot be written: {error}"

    def _relief(self) -> None:
        if self.problem is not None:
            self.problem = None
            log.info("%s: dead letters can be written again", self._group_id)

    # What is told

    def _say(
        self, route: BoundRoute, events: Sequence[Failed], error: BaseException, history: _History, decision: Decision
    ) -> None:
        first = events[0]
        log.log(
            logging.WARNING if isinstance(decision, Retry | Skip) else logging.ERROR,
            "%s%s%s, tenant %s: %s: %s%s; %s",
            first.work[0].position,
            f" and {len(events) - 1} more" if len(events) > 1 else "",
            f", event {printable(first.event.id)}" if first.event else "",
            printable((first.work[0].key or b"").decode(errors="replace")) or "?",
            route.label,
            _what(error),
            f"; attempt {history.attempts} of {route.retry.attempts}" if history.attempts else "",
            _next(decision),
        )
        if self._hooks.failed is not None:
            for each in events:
                fact = self._fact(route, each, type(error).__qualname__, _OUTCOMES[type(decision)], error)
                tell(self._hooks.failed, fact)

    def _fact(
        self, route: BoundRoute, each: Failed, error: str, outcome: Outcome, cause: BaseException | None = None
    ) -> EventFailed:
        record = each.work[0]
        return EventFailed(
            group_id=self._group_id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            handler=route.label,
            error=error,
            attempt=self.histories[_key(each.work)].attempts,
            outcome=outcome,
            cause=cause,
        )


def _key(work: Work) -> _Key:
    return work[1].epoch.number, work[0].offset


def _what(error: BaseException) -> str:
    words = reason_of(error)
    return words if isinstance(error, DecodeError) else f"raised {words}"


def _next(decision: Decision) -> str:
    if isinstance(decision, Retry):
        return f"again in {decision.after:.3g} s"
    return {DeadLetter: "to the dead letters", Skip: "skipped", Stop: "the group stops before it"}[type(decision)]


_OUTCOMES: dict[type[Decision], Outcome] = {
    Retry: "retried",
    DeadLetter: "dead-lettered",
    Skip: "skipped",
    Stop: "stopped",
}
