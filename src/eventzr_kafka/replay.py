"""Runs dead letters through the handlers of their own group, so that no other group sees the events twice.

1. The lanes are those of the group's order: the letters of one run one after another, lanes side by side, as many as
   the group's handlers may.
2. A letter is replayed once the broker has acknowledged the note that says so. If the process dies before that, the
   letter is still open and runs again: at least once, as for any event.
3. One that fails again gets a note with its attempts and stays open; what stands behind it in its lane is left alone.
4. An event that was published twice, and so has two letters, runs once: tenant, source and id tell (`EventIdentity`).
5. A letter that waits for its next attempt keeps no other lane waiting.
6. Asked to stop, it lets the running calls finish, writes their notes, and begins nothing new.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from eventzr_kafka.binding import BoundRoute
from eventzr_kafka.dead_letter import Letter, Note, NoteKind, write_note
from eventzr_kafka.dead_letter_journal import Entry
from eventzr_kafka.event import CloudEvent
from eventzr_kafka.handler import MessageContext
from eventzr_kafka.identity import EventIdentity
from eventzr_kafka.options import ConsumerOptions, Ordering
from eventzr_kafka.record import OutgoingRecord, Record
from eventzr_kafka.retry import Decision, Retry, Skip, decide, reason_of
from eventzr_kafka.tenancy import enter, enter_batch

__all__ = ["Replay", "ReplayOutcome", "Replayed"]

log = logging.getLogger("eventzr_kafka.replay")

ReplayOutcome: TypeAlias = Literal["replayed", "duplicate", "failed", "no_handler", "behind", "interrupted"]
Write: TypeAlias = Callable[[OutgoingRecord], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one letter.

    Attributes:
        outcome: ``replayed``; ``duplicate``, of an event that was replayed already, which closes the letter too;
            ``failed``; or left as it was: ``no_handler`` takes its topic, it stands ``behind`` one that failed, or the
            replay was ``interrupted`` before its turn.
        why: For ``failed``.
    """

    entry: Entry
    outcome: ReplayOutcome
    why: str = ""


class Replay:
    """One replay of letters of one group."""

    def __init__(
        self,
        group_id: str,
        routes: Mapping[str, BoundRoute],
        options: ConsumerOptions,
        write: Write,
        on_outcome: Callable[[Replayed], None],
    ) -> None:
        """Prepare.

        Args:
            routes: By topic.
            write: Writes a note, and returns when the broker has it.
            on_outcome: Called for each letter, on the event loop.
        """
        self._group_id = group_id
        self._routes = routes
        self._options = options
        self._write = write
        self._on_outcome = on_outcome
        self._seen: dict[EventIdentity, Entry] = {}
        self._failed_lanes: set[Hashable] = set()
        self._free = asyncio.Semaphore(options.max_concurrency)
        self._stopping = asyncio.Event()

    def know(self, replayed: Mapping[EventIdentity, Entry]) -> None:
        """Take the events that earlier replays have run."""
        self._seen.update(replayed)

    def stop(self) -> None:
        """Begin nothing new. To be called on the event loop."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping.is_set()

    async def run(self, letters: Iterable[tuple[Entry, Record]]) -> None:
        """Run letters, each with the record that failed. May be called again with more, in order.

        Raises:
            DeliveryError: A note could not be written; what still ran has finished.
        """
        lanes: dict[Hashable, list[tuple[Entry, Record]]] = {}
        for entry, record in letters:
            lanes.setdefault(_lane_of(entry, self._options.ordering), []).append((entry, record))
        tasks = [asyncio.create_task(self._run_lane(lane, found)) for lane, found in lanes.items()]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _run_lane(self, lane: Hashable, letters: Iterable[tuple[Entry, Record]]) -> None:
        for entry, record in letters:
            async with self._free:
                replayed = await self._run_letter(lane, entry, record)
            if replayed.outcome == "failed":
                self._failed_lanes.add(lane)
            self._on_outcome(replayed)

    async def _run_letter(self, lane: Hashable, entry: Entry, record: Record) -> Replayed:
        route = self._routes.get(record.topic)
        if self.is_stopping:
            return Replayed(entry, "interrupted")
        if route is None:
            return Replayed(entry, "no_handler")
        if lane in self._failed_lanes:
            return Replayed(entry, "behind")
        try:
            twin = self._seen.get(entry.event) if entry.event is not None else None
            if twin is not None:
                why = f"the event was replayed from {twin.letter.record.position}"
                return await self._close(entry, "duplicate", why)
            return await self._run_event(route, entry, record)
        except BaseException:  # no note can be written: every other letter would run in vain
            self.stop()
            raise

    async def _run_event(self, route: BoundRoute, entry: Entry, record: Record) -> Replayed:
        """Call the handler until it succeeds or is not to be tried again."""
        calls, began = 0, time.monotonic()
        while True:
            try:
                event = route.decoder(record)
                calls += 1
                await asyncio.create_task(self._call(route, event, record))
            except (Exception, asyncio.CancelledError) as error:
                if _is_ours(error):
                    raise
                decision = self._decide(route, error, max(calls, 1), time.monotonic() - began)
                if isinstance(decision, Skip):
                    return await self._close(entry, "replayed", "passed over, as its policy says")
                if not isinstance(decision, Retry) or not await self._wait(decision.after):
                    return await self._keep(entry, reason_of(error), calls)
            else:
                return await self._close(entry, "replayed", "")

    def _decide(self, route: BoundRoute, error: BaseException, attempt: int, elapsed: float) -> Decision:
        return decide(
            error,
            attempt,
            elapsed,
            policy=route.retry,
            on_tombstone=self._options.on_tombstone,
            on_unknown_type=self._options.on_unknown_type,
        )

    async def _call(self, route: BoundRoute, event: CloudEvent[Any], record: Record) -> None:
        """One call, in a task of its own, and so with the event in hand there alone."""
        arguments: list[Any] = [event, MessageContext(record, self._group_id)][: 1 + route.context]
        if route.batch is None:
            enter(event)
        else:
            enter_batch([event])
            arguments = [[argument] for argument in arguments]
        await route.call(*arguments)

    async def _wait(self, seconds: float) -> bool:
        """Wait before the next attempt, while another lane may run; whether there is to be one."""
        self._free.release()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
        finally:
            await self._free.acquire()
        return not self.is_stopping

    # Notes

    async def _close(self, entry: Entry, outcome: ReplayOutcome, why: str) -> Replayed:
        await self._note(entry.letter, "replayed", why, 0)
        if entry.event is not None:
            self._seen.setdefault(entry.event, entry)
        return Replayed(entry, outcome, why)

    async def _keep(self, entry: Entry, why: str, calls: int) -> Replayed:
        await self._note(entry.letter, "failed", why, entry.attempts + calls)
        log.error("%s: %s failed again: %s", entry.letter.record.position, entry.letter.facts.handler, why)
        return Replayed(entry, "failed", why)

    async def _note(self, letter: Letter, kind: NoteKind, why: str, attempts: int) -> None:
        note = Note(
            kind=kind,
            origin=letter.origin,
            timestamp=letter.record.timestamp,
            at=time.time(),
            why=why,
            attempts=attempts,
        )
        await self._write(write_note(self._group_id, letter.record.key, note))


def _lane_of(entry: Entry, ordering: Ordering) -> Hashable:
    letter = entry.letter
    if ordering == "none":
        return letter.identity
    return letter.facts.lane if ordering == "partition" else (letter.record.key, letter.facts.lane)


def _is_ours(error: BaseException) -> bool:
    """Whether the replay itself is cancelled, and not a handler."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
