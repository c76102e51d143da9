"""Deliberate faults: each breaks one promise of the SDK, and the simulation has to notice.

A mutant is a context manager that changes the code while it is entered, and the service whose simulation sees it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import Token
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

from tests.simulation.services import Accounts, BulkAccounts, Choosy, InBatches, Ledger, OneByOne, Parked, Reminders

from eventzr_kafka import CloudEvent, MessageContext, RetryPolicy
from eventzr_kafka.codec.selection import SelectiveDecoder
from eventzr_kafka.dead_letters import writer
from eventzr_kafka.dead_letters.journal import Entry
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, RecordIdentity, write_letter
from eventzr_kafka.dead_letters.parked_keys import ParkedKeys
from eventzr_kafka.engine import dispatcher, failures, replay
from eventzr_kafka.engine.backpressure import Backpressure
from eventzr_kafka.engine.dead_letter_writes import DeadLetterWrites
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.failures import FailureHandler
from eventzr_kafka.engine.group_consumer import GroupConsumer
from eventzr_kafka.engine.lanes import Lane, Lanes
from eventzr_kafka.engine.replay import Replay
from eventzr_kafka.errors import BatchItemError
from eventzr_kafka.events import context
from eventzr_kafka.events.context import InHand
from eventzr_kafka.handlers import deduplication
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import Ordering
from eventzr_kafka.handlers.retry import Decision, Retry, decide_raised
from eventzr_kafka.inbox import memory_inbox, protocol
from eventzr_kafka.inbox.memory_inbox import MemoryInbox
from eventzr_kafka.inbox.protocol import Handled, InboxKey, ReceivedEvent, failed_keys, inbox_key
from eventzr_kafka.kafka.record import OutgoingRecord, Record
from eventzr_kafka.kafka.transport import Acknowledgement, Position
from eventzr_kafka.outbox.turn import TurnResult, Turns
from eventzr_kafka.testing.simulation import SimulatedInbox, SimulatedSession, _database
from eventzr_kafka.testing.simulation._database import StoredRow
from eventzr_kafka.testing.simulation._relay import SimulatedRows


@dataclass(frozen=True)
class Mutant:
    """A fault, and where it shows."""

    name: str
    broken: Callable[[], AbstractContextManager[Any]]
    service: type = Ledger


def highest_seen() -> AbstractContextManager[Any]:
    """Commits what was received, finished or not."""

    def take_committable(self: Epoch, *, last: bool = False) -> Position | None:  # noqa: ARG001 -- as the original
        seen = self.ledger.next_offset
        return None if seen < 0 else Position(self.partition, self.number, seen, "")

    return patch.object(Epoch, "take_committable", take_committable)


def no_fence() -> AbstractContextManager[Any]:
    """Epochs never end: what was given up goes on and counts."""

    def end(self: GroupConsumer, numbers: Sequence[int]) -> list[Epoch]:
        return [self._epochs[number] for number in numbers if number in self._epochs]

    return patch.object(GroupConsumer, "_end_epochs", end)


def letter_counts_at_once() -> AbstractContextManager[Any]:
    """A dead letter is an outcome when it is sent."""
    write = DeadLetterWrites._write_until_acknowledged

    async def early(self: DeadLetterWrites, failed: FailedEvent, facts: DeadLetterFacts) -> Acknowledgement | None:
        failed.batch.ledger.finish(failed.record.offset)
        return await write(self, failed, facts)

    return patch.object(DeadLetterWrites, "_write_until_acknowledged", early)


def lane_goes_on() -> AbstractContextManager[Any]:
    """An event behind one that is retried goes first."""
    carry_out = FailureHandler._carry_out

    def impatient(
        self: FailureHandler, decision: Decision, route: BoundRoute, failed: FailedEvent, error: BaseException
    ) -> None:
        if not isinstance(decision, Retry) or len(failed.lane.items) == 1:
            carry_out(self, decision, route, failed, error)
            return
        failed.lane.items.rotate(-1)
        self._lanes.release(failed.lane)

    return patch.object(FailureHandler, "_carry_out", impatient)


def marked_first() -> AbstractContextManager[Any]:
    """The mark is committed before the handler is called."""
    handle = SimulatedInbox.handle

    async def early(self: SimulatedInbox, deliveries: Sequence[ReceivedEvent], handler: Any) -> Handled:
        async def marked(fresh: Sequence[ReceivedEvent], session: Any) -> None:
            self._database.commit([inbox_key(delivery) for delivery in fresh], (), SimulatedSession())
            await handler(fresh, session)

        return await handle(self, deliveries, marked)

    return patch.object(SimulatedInbox, "handle", early)


def relay_marks_first() -> AbstractContextManager[Any]:
    """Rows are marked when they are sent."""

    async def take_turn(self: Turns) -> TurnResult:
        rows = await self._read()
        self._sender.send(rows)
        if rows:
            await self._rows.mark_published(rows)
        await self._settle(await self._sender.wait_for_results(0, 0.05))
        self._acknowledged = []
        return TurnResult(len(rows), len(rows))

    return patch.object(Turns, "take_turn", take_turn)


def two_on_one_bucket() -> AbstractContextManager[Any]:
    """A relay reads every row, also without holding its bucket."""

    def may_read(self: SimulatedRows, row: StoredRow) -> bool:
        return row.id not in self._database.settled

    return patch.object(SimulatedRows, "_may_read", may_read)


def never_resumes() -> AbstractContextManager[Any]:
    """The intake stops when the buffer is full, and stays so."""
    update = Backpressure.update

    def forgetful(self: Backpressure, fullness: float, weigh: Callable[[], Mapping[int, float]]) -> bool:
        return update(self, 1.0 if self.paused else fullness, weigh)

    return patch.object(Backpressure, "update", forgetful)


def settles_what_was_dropped() -> AbstractContextManager[Any]:
    """A dead letter that is acknowledged after its partition has gone is taken for the lane's front."""

    def settle(self: Lanes[Any], lane: Lane[Any], _item: object) -> None:
        lane.waiting = False
        self._remove_front(lane, 1)
        self._offer_rest(lane)

    return patch.object(Lanes, "settle", settle)


def counts_no_bytes() -> AbstractContextManager[Any]:
    """The intake stops at a number of events alone, whatever their size."""

    return patch.object(Lanes, "fullness", property(lambda lanes: lanes.count / lanes._max_items))


def forgets_what_is_done() -> AbstractContextManager[Any]:
    """An inbox in memory remembers nothing."""
    release = MemoryInbox._release

    def forget(self: MemoryInbox, claimed: Iterable[InboxKey], _done: Collection[InboxKey]) -> None:
        release(self, claimed, ())

    return patch.object(MemoryInbox, "_release", forget)


def replays_without_note() -> AbstractContextManager[Any]:
    """A letter is said to be closed, and stays open."""

    async def nothing(_self: Replay, *_about: Any) -> None: ...

    return patch.object(Replay, "_write_note", nothing)


def replays_out_of_order() -> AbstractContextManager[Any]:
    """Each letter is a lane of its own."""

    def key_of_its_own(entry: Entry, _ordering: Ordering) -> RecordIdentity:
        return entry.letter.identity

    return patch.object(replay, "ordering_key", key_of_its_own)


def replays_count_at_once() -> AbstractContextManager[Any]:
    """A letter is closed as replayed before its handler is called."""

    def early(self: Replay, route: BoundRoute) -> BoundRoute:
        async def call(event: CloudEvent[Any], context: MessageContext) -> None:
            await self._close(self._by_record[replay._identity_of(context.record)], "replayed", "")
            await replay._call_handler(route, event, context)

        return dataclasses.replace(route, call=call, context=True, batch=None)

    return patch.object(Replay, "_with_note", early)


def replays_half() -> AbstractContextManager[Any]:
    """A replay ends where a letter fails again, and leaves the other lanes as they are."""
    leave_open = Replay._leave_open

    async def stop_at_failure(self: Replay, failed: FailedEvent, why: str) -> None:
        await leave_open(self, failed, why)
        self.stop()

    return patch.object(Replay, "_leave_open", stop_at_failure)


def letters_lose_headers() -> AbstractContextManager[Any]:
    """A letter has no headers but those that are added."""

    def bare(record: Record, facts: DeadLetterFacts, **options: Any) -> OutgoingRecord:
        return write_letter(record._replace(headers=()), facts, **options)

    return patch.object(writer, "write_letter", bare)


def letters_change_values() -> AbstractContextManager[Any]:
    """A letter's value is one byte longer than its record's."""

    def longer(record: Record, facts: DeadLetterFacts, **options: Any) -> OutgoingRecord:
        return write_letter(record._replace(value=(record.value or b"") + b" "), facts, **options)

    return patch.object(writer, "write_letter", longer)


def parks_nothing() -> AbstractContextManager[Any]:
    """No key is ever held to be parked."""

    def nothing(_self: ParkedKeys, _key: bytes | None, _lane: str) -> bool:
        return False

    return patch.object(ParkedKeys, "contains", nothing)


def parks_everything() -> AbstractContextManager[Any]:
    """One open letter parks every key."""

    def everything(self: ParkedKeys, _key: bytes | None, _lane: str) -> bool:
        return bool(self._open)

    return patch.object(ParkedKeys, "contains", everything)


def forgets_parked_keys() -> AbstractContextManager[Any]:
    """The dead-letter topic is not read at a start."""

    def nothing(_self: ParkedKeys, _records: Sequence[Record]) -> None: ...

    return patch.object(ParkedKeys, "_read", nothing)


def never_waits() -> AbstractContextManager[Any]:
    """An event is retried at once."""

    def at_once(_self: RetryPolicy, _attempt: int, _random: Callable[[], float]) -> float:
        return 0.0

    return patch.object(RetryPolicy, "wait", at_once)


def hurries() -> AbstractContextManager[Any]:
    """An event is tried again after half of the time that it asked for."""

    def soon(*given: Any, **options: Any) -> Decision:
        decision = decide_raised(*given, **options)
        return Retry(decision.after / 2) if isinstance(decision, Retry) else decision

    return patch.object(failures, "decide_raised", soon)


def counts_attempts_wrongly(by: int) -> Callable[[], AbstractContextManager[Any]]:
    """The last attempt is one earlier or later than the policy says."""

    def miscount(error: BaseException, attempt: int, *given: Any, **options: Any) -> Decision:
        return decide_raised(error, attempt + by, *given, **options)

    return lambda: patch.object(failures, "decide_raised", miscount)


def hands_out_the_event_before() -> AbstractContextManager[Any]:
    """A handler has the event in hand that ran before its own."""
    before: list[InHand] = [None]

    def late(event: InHand) -> Token[InHand]:
        before.append(event)
        return context.enter(before.pop(0))

    return patch.object(dispatcher, "enter", late)


def batches_have_nothing_in_hand() -> AbstractContextManager[Any]:
    """A batch handler belongs to no tenant."""

    def nothing(_events: Iterable[CloudEvent[Any]]) -> Token[InHand]:
        return context.enter_batch(())

    return patch.object(dispatcher, "enter_batch", nothing)


def serves_a_backlog_first() -> AbstractContextManager[Any]:
    """A tenant has the next turn, too, as long as it has something."""
    finish: Callable[..., None] = vars(Lanes)["finish"]

    def stay(self: Lanes[Any], lane: Lane[Any]) -> None:
        finish(self, lane)
        if self._ring and self._ring[-1] is lane:
            self._ring.rotate(1)

    return patch.object(Lanes, "finish", stay)


def unmarks_one() -> AbstractContextManager[Any]:
    """Of the failed events of a batch only the first loses its mark."""

    def first(error: BatchItemError, deliveries: Sequence[ReceivedEvent]) -> set[InboxKey]:
        return set(sorted(failed_keys(error, deliveries))[:1])

    return patch.object(_database, "failed_keys", first)


def duplicates_of_failures_count() -> AbstractContextManager[Any]:
    """A duplicate in the batch in which its event failed is done."""

    def as_it_is(error: BatchItemError, _deliveries: Sequence[ReceivedEvent]) -> BatchItemError:
        return error

    return patch.object(deduplication, "_with_duplicates", as_it_is)


@contextmanager
def known_by(*kept: int) -> Generator[None]:
    """An inbox knows an event by its group and a part of tenant, source and id."""

    def part(delivery: ReceivedEvent) -> InboxKey:
        key: Any = inbox_key(delivery)
        return tuple(key[at] if at in (0, *kept) else "" for at in range(4))  # type: ignore[return-value] # the same shape

    with ExitStack() as stack:
        for module in (protocol, memory_inbox, _database):
            stack.enter_context(patch.object(module, "inbox_key", part))
        yield


def handles_unwanted() -> AbstractContextManager[Any]:
    """What `when` does not want is handled all the same."""

    def read(self: SelectiveDecoder, record: Record) -> CloudEvent[Any]:
        return self._read(record)

    return patch.object(SelectiveDecoder, "__call__", read)


def skips_without_outcome() -> AbstractContextManager[Any]:
    """A skipped event gets no outcome: nothing behind it is ever committed."""

    def forget(self: FailureHandler, route: BoundRoute, failed: FailedEvent, _error: BaseException) -> None:
        self._count_skipped(route, failed)
        self._lanes.drop_front(failed.lane)

    return patch.object(FailureHandler, "skip", forget)


MUTANTS: Collection[Mutant] = (
    Mutant("commit of the highest seen offset", highest_seen),
    Mutant("no epoch fence", no_fence),
    Mutant("dead letter counted before its acknowledgement", letter_counts_at_once),
    Mutant("lane released before the retry", lane_goes_on),
    Mutant("duplicate marked before its effect", marked_first, Accounts),
    Mutant("relay marking before the acknowledgement", relay_marks_first, Accounts),
    Mutant("two relays on one bucket", two_on_one_bucket, Accounts),
    Mutant("pause that forgets to resume", never_resumes),
    Mutant("dead letter of a lane that was dropped", settles_what_was_dropped),
    Mutant("bytes that do not count", counts_no_bytes, Reminders),
    Mutant("inbox in memory that forgets", forgets_what_is_done, Reminders),
    Mutant("replay without its note", replays_without_note),
    Mutant("replay out of the lane's order", replays_out_of_order, Parked),
    Mutant("replay that stops at a failure", replays_half, Parked),
    Mutant("replay that counts before its handler", replays_count_at_once),
    Mutant("letters without the record's headers", letters_lose_headers),
    Mutant("letters with another value", letters_change_values),
    Mutant("parking that parks nothing", parks_nothing, Parked),
    Mutant("parking that parks every key", parks_everything, Parked),
    Mutant("parking that forgets at a restart", forgets_parked_keys, Parked),
    Mutant("retry without its wait", never_waits, OneByOne),
    Mutant("retry sooner than asked for", hurries),
    Mutant("one attempt too few", counts_attempts_wrongly(1)),
    Mutant("one attempt too many", counts_attempts_wrongly(-1)),
    Mutant("the event before in hand", hands_out_the_event_before),
    Mutant("a batch with nothing in hand", batches_have_nothing_in_hand, InBatches),
    Mutant("a backlog that is served first", serves_a_backlog_first, OneByOne),
    Mutant("a failed event of a batch that keeps its mark", unmarks_one, BulkAccounts),
    Mutant("a failed event whose duplicate is done", duplicates_of_failures_count, BulkAccounts),
    Mutant("an inbox that leaves out the source", partial(known_by, 1, 3), Accounts),
    Mutant("an inbox that leaves out the tenant", partial(known_by, 2, 3), Reminders),
    Mutant("an unwanted event that is handled", handles_unwanted, Choosy),
    Mutant("a skipped event without an outcome", skips_without_outcome, Choosy),
)
