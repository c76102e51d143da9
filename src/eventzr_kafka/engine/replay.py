"""Runs dead letters through the handlers of their own group, so that no other group sees the events twice.

1. It is the consumer's own machinery: lanes, dispatcher and failures, with the group's order, its retries and as many
   handlers at once. A `Redelivery` says what becomes of what fails: the letter stays open.
2. A letter is replayed once the broker has acknowledged the note that says so, and its lane goes on after that. If the
   process dies before, the letter is still open and runs again: at least once, as for any event.
3. One that fails again gets a note with its attempts and stays open; what stands behind it in its lane is left alone.
4. An event that was published twice, and so has two letters, runs once: tenant, source and id tell (`EventIdentity`).
5. A letter that waits for its next attempt keeps no other lane waiting.
6. A batch handler is given its events one by one, in a list: the failure of one says nothing about the others.
7. Asked to stop, it lets the running calls finish, writes their notes, and begins nothing new.
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
from eventzr_kafka.engine.failed_event import Failed, history_key
from eventzr_kafka.engine.failures import Failures
from eventzr_kafka.engine.intake import PartitionBatch, Work, lanes_for
from eventzr_kafka.engine.redelivery import Leave
from eventzr_kafka.engine.runtime import SYSTEM_RUNTIME, Runtime
from eventzr_kafka.events.context import enter_batch, leave
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.identity import EventIdentity, identity_of
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions, Ordering
from eventzr_kafka.handlers.retry import Decision, Retry, Skip, reason_of
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.record import OutgoingRecord, Record, TopicPartition
from eventzr_kafka.kafka.transport import Assignment, ProducerTransport

__all__ = ["BeforeReplay", "Replay", "ReplayOutcome", "Replayed", "make_note"]

log = logging.getLogger("eventzr_kafka.replay")

ReplayOutcome: TypeAlias = Literal[
    "replayed", "duplicate", "failed", "no_handler", "behind", "value_gone", "interrupted"
]
Write: TypeAlias = Callable[[OutgoingRecord], Awaitable[object]]

_STAYS_OPEN, _PASSED_OVER = "its letter stays open", "passed over, as its policy says"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one letter.

    Attributes:
        outcome: ``replayed``; ``duplicate``, of an event that was replayed already, which closes the letter too;
            ``failed``; or left as it was: ``no_handler`` takes its topic, it stands ``behind`` one that failed, its
            letter has no value and its topic neither (``value_gone``), or the replay was ``interrupted`` before its
            turn.
        why: For ``failed``.
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
        on_outcome: Callable[[Replayed], None],
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
        self._routes = {topic: self._noted(route) for topic, route in routes.items()}
        self._ordering: Ordering = options.ordering
        self._write = write
        self._on_outcome = on_outcome
        self._lanes = lanes_for(options)
        no_letters = DeadLetterWriter(_no_letters)
        self._clock = runtime.clock
        self._failures = Failures(
            group_id, options, self._lanes, no_letters, ConsumerHooks(), None, clock=runtime.clock
        )
        self._dispatcher = Dispatcher(group_id, options, self._lanes, self._failures, runtime=runtime)
        self._numbers = count(1)  # of epochs: each letter has its own, as two may be of one offset
        self._entries: dict[int, Entry] = {}
        self._by_record: dict[RecordIdentity, Entry] = {}
        self._seen = {event: entry.letter.record.position for event, entry in before.replayed.items()}
        self._turns: defaultdict[EventIdentity, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed_lanes: set[Hashable] = set()
        self._notes: set[asyncio.Task[None]] = set()
        self._in_note: set[int] = set()  # epochs of letters whose note is being written, while their lane waits
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        self._committed = before.committed
        self._began = self._stopping = False

    def stop(self) -> None:
        """Begin nothing new. To be called on the event loop."""
        if self._stopping:
            return
        self._stopping = True
        self._dispatcher.stop()
        dropped: list[Work] = []
        self._lanes.discard(lambda work: self._is_unwanted(work, dropped))
        for work in dropped:
            self._interrupt(work)
        self._progress()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping

    async def run(self, letters: Iterable[tuple[Entry, Record]]) -> None:
        """Run letters, each with the record that failed. May be called again with more, in order.

        Raises:
            DeliveryError: A note could not be written; what still ran has finished.
        """
        if not self._began:
            self._began = True
            self._failures.start(self._go_on, self._give_up, self)
            self._dispatcher.start(self._progress)
        self._ended.clear()
        for entry, record in letters:
            self._admit(entry, record)
        self._go_on()
        try:
            await self._ended.wait()
        finally:
            if self._lanes.count or self._notes:  # cancelled, or a worker ended
                self._stopping = True
                for task in self._notes:
                    task.cancel()
                await self._dispatcher.end()
            self._entries.clear()
            self._by_record.clear()
            self._turns.clear()
        if self._error is not None:
            raise self._error

    def _admit(self, entry: Entry, record: Record) -> None:
        route, key = self._routes.get(record.topic), ordering_key(entry, self._ordering)
        if self._stopping:
            self._on_outcome(Replayed(entry, "interrupted"))
        elif route is None:
            self._on_outcome(Replayed(entry, "no_handler"))
        elif key in self._failed_lanes:
            self._on_outcome(Replayed(entry, "behind"))
        elif entry.letter.cut is not None and _lacks_its_content(entry.letter.cut, record):
            self._failed_lanes.add(key)
            log.error("%s: not replayed: neither its letter nor its topic has the value", record.position)
            self._on_outcome(Replayed(entry, "value_gone"))
        else:
            number = next(self._numbers)
            self._entries[number] = self._by_record[entry.letter.identity] = entry
            epoch = Epoch(Assignment(TopicPartition(record.topic, record.partition), number))
            work: Work = (record, PartitionBatch(epoch, route, [record]), None, len(record.value or b""))
            self._lanes.add([record.key], [key], [work])

    def _go_on(self) -> None:
        self._dispatcher.spawn()
        self._progress()

    def _progress(self) -> None:
        if not self._lanes.count and not self._notes:
            self._ended.set()

    def _fail(self, error: Exception) -> None:
        """No note can be written: every other letter would run in vain. What runs finishes."""
        self._error = self._error or error
        self.stop()

    def _give_up(self, error: Exception) -> None:
        self._fail(error)
        self._ended.set()

    # The call of a handler

    def _noted(self, route: BoundRoute) -> BoundRoute:
        """The route with calls that return when the note is there."""

        async def call(event: CloudEvent[Any], context: MessageContext) -> None:
            entry, identity = self._by_record[_identity(context.record)], identity_of(event)
            async with self._turns[identity]:
                twin = self._seen.get(identity)
                if twin is None:
                    await _call(route, event, context)
                    await self._close(entry, "replayed", "")
                    self._seen[identity] = entry.letter.record.position
                else:
                    await self._close(entry, "duplicate", f"the event was replayed from {twin}")

        return replace(route, call=call, context=True, batch=None)

    async def _close(self, entry: Entry, outcome: ReplayOutcome, why: str) -> None:
        await self._note(entry, "replayed", why, 0)
        self._on_outcome(Replayed(entry, outcome, why))

    # Redelivery

    def plan(self, decision: Decision, error: BaseException) -> Decision | Leave:
        """Try again while the policy says so; then leave the letter open."""
        if isinstance(decision, Retry) and not self._stopping:
            return decision
        return Leave(decision, reason_of(error), _PASSED_OVER if isinstance(decision, Skip) else _STAYS_OPEN)

    def leave(self, each: Failed, left: Leave) -> None:
        """Note what became of a letter whose lane waits; nothing, if it is the note that failed."""
        if self._error is None:
            self._in_note.add(each.work[1].epoch.number)
            self._in_task(self._settle_with_note(each, left))
        else:
            self._settle(each)

    async def _settle_with_note(self, each: Failed, left: Leave) -> None:
        try:
            if isinstance(left.instead_of, Skip):
                await self._close(self._entry(each.work), "replayed", left.then)
            else:
                await self._keep(each, left.reason)
        finally:
            self._settle(each)

    async def _keep(self, each: Failed, why: str) -> None:
        """It has failed again: so it stays open, and nothing behind it is run."""
        entry = self._entry(each.work)
        self._failed_lanes.add(ordering_key(entry, self._ordering))
        await self._note_failure(entry, each.work, why)
        for work in self._lanes.drop_behind(each.lane):
            self._on_outcome(Replayed(self._entry(work), "behind"))

    def _settle(self, each: Failed) -> None:
        self._in_note.discard(each.work[1].epoch.number)
        self._failures.forget([each.work[1].epoch])
        self._lanes.settle(each.lane, each.work)
        self._go_on()

    def _is_unwanted(self, work: Work, dropped: list[Work]) -> bool:
        """Whether it has not begun, or waits for its next attempt; not so while its note is being written."""
        if work[1].epoch.number in self._in_note:
            return False
        dropped.append(work)
        return True

    def _interrupt(self, work: Work) -> None:
        history = self._failures.histories.get(history_key(work))
        if history is None:
            self._on_outcome(Replayed(self._entry(work), "interrupted"))
        elif self._error is None:
            why = "the replay was stopped before its next attempt"
            self._in_task(self._note_failure(self._entry(work), work, why))

    # Notes

    def _in_task(self, writing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(writing)
        self._notes.add(task)
        task.add_done_callback(self._noted_down)

    def _noted_down(self, task: asyncio.Task[None]) -> None:
        self._notes.discard(task)
        if not task.cancelled():
            task.exception()  # it is known already, see _note
        self._progress()

    async def _note_failure(self, entry: Entry, work: Work, why: str) -> None:
        history = self._failures.histories[history_key(work)]
        await self._note(entry, "failed", why, entry.attempts + history.attempts)
        self._on_outcome(Replayed(entry, "failed", why))

    async def _note(self, entry: Entry, kind: NoteKind, why: str, attempts: int) -> None:
        note = make_note(entry, kind, self._committed, why=why, attempts=attempts, clock=self._clock)
        try:
            await self._write(write_note(self._group_id, entry.letter.record.key, note))
        except Exception as error:
            self._fail(error)
            raise

    def _entry(self, work: Work) -> Entry:
        return self._entries[work[1].epoch.number]


def make_note(
    entry: Entry,
    kind: NoteKind,
    committed: Mapping[TopicPartition, int],
    *,
    why: str = "",
    attempts: int = 0,
    clock: Clock = SYSTEM_CLOCK,
) -> Note:
    """A note about a letter, and about the others of its record."""
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
    """Whether the record of a cut letter was not found; an event may be in its headers alone, without a value."""
    return len(record.value or b"") != cut.size or (cut.headers_too and not cut.size and not record.headers)


async def _call(route: BoundRoute, event: CloudEvent[Any], context: MessageContext) -> None:
    if route.batch is None:
        await (route.call(event, context) if route.context else route.call(event))
        return
    token = enter_batch([event])
    try:
        await (route.call([event], [context]) if route.context else route.call([event]))
    finally:
        leave(token)


def _identity(record: Record) -> RecordIdentity:
    return record.topic, record.partition, record.offset, record.timestamp


def _no_letters() -> ProducerTransport:
    raise AssertionError("a replay writes notes, never letters")
