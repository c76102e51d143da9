"""`Replay`: runs open dead letters through the group's own handlers, on the dispatcher and lanes of a consumer.

1. Each letter is an item of a lane, as its record was in the consumer. Retries, ordering, tenant limits, tenancy and
   the number of handlers at once are those of the consumer. A letter whose event fails is left to a `Redelivery`: it
   stays open.
2. A letter is replayed once the broker has acknowledged the note that says so, and its lane goes on only then. If the
   process dies between the handler's return and the note, the letter is still open and runs again, as any event does.
3. A letter that fails again gets a note with its attempts and stays open. The letters behind it in its lane do not run.
4. An event that was published twice, and so has two letters, runs once: both have one `EventIdentity`.
5. A letter that waits for its next attempt keeps no other lane waiting.
6. A batch handler is called with one event at a time, in a list, so that a failure is that event's alone.
7. After `stop` the running calls finish and their notes are written; nothing new begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal, TypeAlias

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.dead_letters.journal import Entry
from eventzr_kafka.dead_letters.letter import Cut, Note, NoteKind, RecordIdentity, write_note
from eventzr_kafka.dead_letters.order import ordering_key
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.dispatcher import Dispatcher
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.failure_host import FailureHost, LeaveToRedelivery
from eventzr_kafka.engine.failures import FailureHandler
from eventzr_kafka.engine.intake import PartitionBatch, Work, epoch_of, lanes_for
from eventzr_kafka.engine.runtime import SYSTEM_RUNTIME, Runtime
from eventzr_kafka.events.context import enter_batch, leave
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.identity import EventIdentity, identity_of
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions, Ordering
from eventzr_kafka.handlers.retry import Decision, Retry, Skip, reason_of
from eventzr_kafka.kafka.record import OutgoingRecord, Record, TopicPartition
from eventzr_kafka.kafka.transport import Assignment, ProducerTransport

__all__ = ["BeforeReplay", "Replay", "ReplayOutcome", "ReplayResult", "make_note"]

log = logging.getLogger("eventzr_kafka.replay")

ReplayOutcome: TypeAlias = Literal[
    "replayed", "duplicate", "failed", "no_handler", "behind", "value_gone", "interrupted"
]
Write: TypeAlias = Callable[[OutgoingRecord], Awaitable[object]]

_STAYS_OPEN, _SKIPPED = "its dead letter stays open", "skipped, by the consumer's policy"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of a replay for one letter.

    Attributes:
        outcome: ``replayed``; ``duplicate`` for an event that was replayed already, which closes the letter too;
            ``failed`` again. The other letters have not run: ``no_handler`` for their topic; ``behind`` one of their
            ordering key that failed; ``value_gone`` from the letter and from the topic; ``interrupted`` by `stop`.
        why: The error, for ``failed``.
    """

    entry: Entry
    outcome: ReplayOutcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class BeforeReplay:
    """The state of the group before a replay.

    Attributes:
        replayed: Events that earlier replays have run, with their letters: they are not run again.
        committed: The group's committed offsets before the letters were read; 0 for a partition without a commit.
    """

    replayed: Mapping[EventIdentity, Entry] = field(default_factory=dict[EventIdentity, Entry])
    committed: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])


NOTHING_BEFORE = BeforeReplay()


class Replay:
    """One replay of letters of one group; a `Redelivery`."""

    def __init__(
        self,
        group_id: str,
        routes: Mapping[str, BoundRoute],
        options: ConsumerOptions,
        write: Write,
        on_outcome: Callable[[ReplayResult], None],
        *,
        before: BeforeReplay = NOTHING_BEFORE,
        runtime: Runtime = SYSTEM_RUNTIME,
    ) -> None:
        """Prepare; `run` begins.

        Args:
            routes: By topic.
            write: Writes a note, and returns once the broker has acknowledged it.
            on_outcome: Called for each letter, on the event loop.
            before: Results of earlier replays, and the group's commits.
        """
        self._group_id = group_id
        self._routes = {topic: self._with_note(route) for topic, route in routes.items()}
        self._ordering: Ordering = options.ordering
        self._write = write
        self._on_outcome = on_outcome
        self._clock = runtime.clock
        self._lanes = lanes_for(options)
        host = FailureHost(
            group_id=group_id,
            on_ready=self._go_on,
            on_stop=self._end_with,
            writer=DeadLetterWriter(_make_no_client),
            redelivery=self,
            clock=runtime.clock,
        )
        self._failures = FailureHandler(host, options, self._lanes)
        self._dispatcher = Dispatcher(
            group_id, options, self._lanes, self._failures, self._end_if_idle, runtime=runtime
        )
        self._epoch_numbers = count(1)  # each letter has its own epoch, as two may be of one offset
        self._entries: dict[int, Entry] = {}
        self._by_record: dict[RecordIdentity, Entry] = {}
        self._replayed = {event: entry.letter.record.position for event, entry in before.replayed.items()}
        self._event_locks: defaultdict[EventIdentity, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed_keys: set[Hashable] = set()
        self._note_tasks: set[asyncio.Task[None]] = set()
        self._noting: set[int] = set()  # epochs of letters whose note is being written, while their lane waits
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        self._committed = before.committed
        self._stopping = False

    def stop(self) -> None:
        """Begin nothing new. To be called on the event loop."""
        if self._stopping:
            return
        self._stopping = True
        self._dispatcher.stop()
        dropped: list[Work] = []

        def is_unwanted(work: Work) -> bool:
            if epoch_of(work).number in self._noting:
                return False
            dropped.append(work)  # it has not begun, or waits for its next attempt
            return True

        self._lanes.discard(is_unwanted)
        for work in dropped:
            self._interrupt(work)
        self._end_if_idle()

    @property
    def is_stopping(self) -> bool:
        """True once `stop` was called, or an error has stopped the replay."""
        return self._stopping

    async def run(self, letters: Iterable[tuple[Entry, Record]]) -> None:
        """Run letters, each with the record that failed. May be called again with the next ones, in order.

        Raises:
            DeliveryError: A note could not be written; the calls that were running have finished.
        """
        self._ended.clear()
        for entry, record in letters:
            self._admit(entry, record)
        self._go_on()
        try:
            await self._ended.wait()
        finally:
            if self._lanes.count or self._note_tasks:  # cancelled, or a worker ended
                self._stopping = True
                for task in self._note_tasks:
                    task.cancel()
                await self._dispatcher.end()
            self._entries.clear()
            self._by_record.clear()
            self._event_locks.clear()
        if self._error is not None:
            raise self._error

    def _admit(self, entry: Entry, record: Record) -> None:
        route, key = self._routes.get(record.topic), ordering_key(entry, self._ordering)
        if self._stopping:
            self._on_outcome(ReplayResult(entry, "interrupted"))
        elif route is None:
            self._on_outcome(ReplayResult(entry, "no_handler"))
        elif key in self._failed_keys:
            self._on_outcome(ReplayResult(entry, "behind"))
        elif entry.letter.cut is not None and _lacks_its_content(entry.letter.cut, record):
            self._failed_keys.add(key)
            log.error("%s: not replayed: neither its dead letter nor its topic has the value", record.position)
            self._on_outcome(ReplayResult(entry, "value_gone"))
        else:
            number = next(self._epoch_numbers)
            self._entries[number] = self._by_record[entry.letter.identity] = entry
            epoch = Epoch(Assignment(TopicPartition(record.topic, record.partition), number))
            work: Work = (record, PartitionBatch(epoch, route), None, len(record.value or b""))
            self._lanes.add([record.key], [key], [work])

    def _go_on(self) -> None:
        self._dispatcher.spawn()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._lanes.count and not self._note_tasks:
            self._ended.set()

    def _stop_with(self, error: Exception) -> None:
        """Stop for an error, after the running calls: if no note can be written, every further call is in vain."""
        self._error = self._error or error
        self.stop()

    def _end_with(self, error: Exception) -> None:
        """End at once for an error."""
        self._stop_with(error)
        self._ended.set()

    # Calls of a handler

    def _with_note(self, route: BoundRoute) -> BoundRoute:
        """Make a route whose calls return once the note about their letter is written."""

        async def call(event: CloudEvent[Any], context: MessageContext) -> None:
            entry, identity = self._by_record[_identity_of(context.record)], identity_of(event)
            async with self._event_locks[identity]:
                twin = self._replayed.get(identity)
                if twin is None:
                    await _call_handler(route, event, context)
                    await self._close(entry, "replayed", "")
                    self._replayed[identity] = entry.letter.record.position
                else:
                    await self._close(entry, "duplicate", f"the event was replayed from {twin}")

        return replace(route, call=call, context=True, batch=None)

    async def _close(self, entry: Entry, outcome: ReplayOutcome, why: str) -> None:
        await self._write_note(entry, "replayed", why, 0)
        self._on_outcome(ReplayResult(entry, outcome, why))

    # Redelivery

    def adapt(self, decision: Decision, error: BaseException) -> Decision | LeaveToRedelivery:
        """Retry while the policy says so; after that the letter stays open."""
        if isinstance(decision, Retry) and not self._stopping:
            return decision
        return LeaveToRedelivery(decision, reason_of(error), _SKIPPED if isinstance(decision, Skip) else _STAYS_OPEN)

    def take_over(self, failed: FailedEvent, left: LeaveToRedelivery) -> None:
        """Write a note about a letter whose lane waits; not if it failed because notes cannot be written."""
        if self._error is None:
            self._noting.add(failed.epoch.number)
            self._in_task(self._settle_with_note(failed, left))
        else:
            self._settle(failed)

    async def _settle_with_note(self, failed: FailedEvent, left: LeaveToRedelivery) -> None:
        try:
            if isinstance(left.instead_of, Skip):
                await self._close(self._entry(failed.work), "replayed", left.next_step)
            else:
                await self._leave_open(failed, left.reason)
        finally:
            self._settle(failed)

    async def _leave_open(self, failed: FailedEvent, why: str) -> None:
        """Leave a letter open that has failed again, and run none of the letters behind it."""
        entry = self._entry(failed.work)
        self._failed_keys.add(ordering_key(entry, self._ordering))
        await self._note_failure(entry, failed.work, why)
        for work in self._lanes.drop_behind(failed.lane):
            self._on_outcome(ReplayResult(self._entry(work), "behind"))

    def _settle(self, failed: FailedEvent) -> None:
        self._noting.discard(failed.epoch.number)
        self._failures.forget([failed.epoch])
        self._lanes.settle(failed.lane, failed.work)
        self._go_on()

    def _interrupt(self, work: Work) -> None:
        if self._failures.states.find(work) is None:
            self._on_outcome(ReplayResult(self._entry(work), "interrupted"))
        elif self._error is None:
            why = "the replay was stopped before its next attempt"
            self._in_task(self._note_failure(self._entry(work), work, why))

    # Notes

    def _in_task(self, writing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(writing)
        self._note_tasks.add(task)
        task.add_done_callback(self._note_ended)

    def _note_ended(self, task: asyncio.Task[None]) -> None:
        self._note_tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it: `_write_note` has stopped the replay for it
        self._end_if_idle()

    async def _note_failure(self, entry: Entry, work: Work, why: str) -> None:
        state = self._failures.states.find(work)
        await self._write_note(entry, "failed", why, entry.attempts + (0 if state is None else state.attempts))
        self._on_outcome(ReplayResult(entry, "failed", why))

    async def _write_note(self, entry: Entry, kind: NoteKind, why: str, attempts: int) -> None:
        note = make_note(entry, kind, self._committed, why=why, attempts=attempts, clock=self._clock)
        try:
            await self._write(write_note(self._group_id, entry.letter.record.key, note))
        except Exception as error:
            self._stop_with(error)
            raise

    def _entry(self, work: Work) -> Entry:
        return self._entries[epoch_of(work).number]


def make_note(
    entry: Entry,
    kind: NoteKind,
    committed: Mapping[TopicPartition, int],
    *,
    why: str = "",
    attempts: int = 0,
    clock: Clock = SYSTEM_CLOCK,
) -> Note:
    """Make a note about a letter and the other letters of its record."""
    topic, partition, _ = origin = entry.letter.origin
    return Note(
        kind=kind,
        origin=origin,
        timestamp=entry.letter.record.timestamp,
        at=clock.wall(),
        why=why,
        attempts=attempts,
        letters=entry.places,
        committed=committed.get(TopicPartition(topic, partition)),
    )


def _lacks_its_content(cut: Cut, record: Record) -> bool:
    """True if the record of a cut letter was not found; an event may be in its headers alone, without a value."""
    return len(record.value or b"") != cut.size or (cut.headers_too and not cut.size and not record.headers)


async def _call_handler(route: BoundRoute, event: CloudEvent[Any], context: MessageContext) -> None:
    if route.batch is None:
        await (route.call(event, context) if route.context else route.call(event))
        return
    token = enter_batch([event])
    try:
        await (route.call([event], [context]) if route.context else route.call([event]))
    finally:
        leave(token)


def _identity_of(record: Record) -> RecordIdentity:
    return record.topic, record.partition, record.offset, record.timestamp


def _make_no_client() -> ProducerTransport:
    raise AssertionError("a replay writes notes, not dead letters")
