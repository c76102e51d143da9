"""A database that simulated services share: what an inbox and an outbox keep in it, and transactions that can fail.

1. A statement takes time; while the database is down it fails. What a transaction does is there with its commit, all at
   once, also if the answer to the commit is lost.
2. A crashed process holds nothing: its transactions are rolled back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventzr_kafka.clock import Clock
from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.errors import BatchItemError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.inbox.protocol import (
    AsyncHandling,
    Handled,
    InboxKey,
    ReceivedEvent,
    ThreadHandling,
    failed_keys,
    inbox_key,
    split_duplicates,
)
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.producing.envelope import Enveloper
from eventzr_kafka.testing.simulation._history import History
from eventzr_kafka.testing.simulation._loop import Process, current_process

__all__ = ["Database", "DatabaseDownError", "SimulatedInbox", "SimulatedOutbox", "SimulatedSession", "StoredRow"]

_LONGEST = 0.02  # seconds of a statement
_LOOK = 0.01  # seconds between two looks at a row that another transaction has
_LOST = 0.02  # share of commits whose answer does not come


class DatabaseDownError(OSError):
    """The simulated database does not answer."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the outbox."""

    id: int
    tenant_id: str
    event_id: str
    record: OutgoingRecord


@dataclass(slots=True)
class SimulatedSession:
    """The session of a handler's `MessageContext`: it keeps what is added, and the inbox commits it."""

    added: list[object] = field(default_factory=list[object])
    outgoing: list[tuple[str, str, OutgoingRecord]] = field(default_factory=list[tuple[str, str, OutgoingRecord]])

    def add(self, row: object) -> None:
        """Have something committed with the mark."""
        self.added.append(row)


class Database:
    """See the module's rules.

    Attributes:
        up: True while it answers.
        lossy: True if answers to commits may be lost.
        effects: The effects that handlers have added to sessions that were committed.
        rows: Of the outbox, by id.
        settled: Ids of rows that are published or parked.
    """

    def __init__(self, history: History, chance: random.Random) -> None:
        self.up = True
        self.lossy = True
        self.history = history
        self.marks: dict[InboxKey, None] = {}
        self.effects: list[object] = []
        self.rows: list[StoredRow] = []
        self.settled: set[int] = set()
        self.claims: dict[InboxKey, Process] = {}
        self._chance = chance

    async def reach(self) -> None:
        """Take the time of a statement.

        Raises:
            DatabaseDownError: It does not answer.
        """
        await asyncio.sleep(self._chance.random() * _LONGEST)
        self.require_up()

    def require_up(self) -> None:
        """Fail while it is down."""
        if not self.up:
            raise DatabaseDownError("the simulated database is down")

    def commit(self, marks: Collection[InboxKey], handled: Collection[InboxKey], session: SimulatedSession) -> None:
        """Make a transaction's work be there."""
        self.marks.update(dict.fromkeys(marks))
        self.effects += session.added
        first = len(self.rows) + 1
        rows = [StoredRow(number, *row) for number, row in enumerate(session.outgoing, first)]
        self.rows += rows
        committed = tuple((row.id, row.tenant_id, row.event_id, row.record.topic) for row in rows)
        self.history.note("database commit", current_process().name, tuple(marks), tuple(handled), committed)

    async def answer(self) -> None:
        """Answer a commit, unless the answer is lost."""
        await asyncio.sleep(self._chance.random() * _LONGEST)
        if self.lossy and self._chance.random() < _LOST:
            raise DatabaseDownError("the answer to a commit was lost")


class SimulatedInbox:
    """An inbox in the simulated database; give it to ``@kafka_consumer(inbox=…)``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check_handler(self, handler: str, *, is_async: bool, session: Any) -> None:
        """Serve every handler."""

    async def check_tables(self) -> None:
        """Need nothing."""

    async def purge_expired(self) -> bool:
        """Forget nothing."""
        return False

    async def handle(self, deliveries: Sequence[ReceivedEvent], handler: AsyncHandling, /) -> Handled:
        """Mark and handle what is new in one transaction."""
        await self._database.reach()
        new: set[InboxKey] = set()
        try:
            for key in sorted({inbox_key(delivery) for delivery in deliveries}):
                while self._is_taken(key):  # noqa: ASYNC110 -- as a row that is locked
                    await asyncio.sleep(_LOOK)
                self._claim(key, new)
            fresh, duplicates = split_duplicates(deliveries, new)
            failure = await self._run(fresh, handler) if fresh else None
        finally:
            self._release(new)
        return Handled(duplicates, failure)

    async def _run(self, fresh: Sequence[ReceivedEvent], handler: AsyncHandling) -> BatchItemError | None:
        session, failure, named = SimulatedSession(), None, set[InboxKey]()
        try:
            await handler(fresh, session)
        except BatchItemError as error:
            failure, named = error, failed_keys(error, fresh)
            if not named:
                raise
        await self._database.reach()
        keys = [key for delivery in fresh if (key := inbox_key(delivery)) not in named]
        self._database.commit(keys, keys, session)
        await self._database.answer()
        return failure

    def handle_in_thread(self, deliveries: Sequence[ReceivedEvent], handler: ThreadHandling, /) -> Handled:
        """The same for a ``def`` handler, in one step."""
        self._database.require_up()
        keys = {inbox_key(delivery) for delivery in deliveries}
        if any(self._is_taken(key) for key in keys):
            raise DatabaseDownError("another transaction has the event for too long")
        fresh, duplicates = split_duplicates(deliveries, keys - self._database.marks.keys())
        if fresh:
            session = SimulatedSession()
            handler(fresh, session)
            done = [inbox_key(delivery) for delivery in fresh]
            self._database.commit(done, done, session)
        return Handled(duplicates)

    def _is_taken(self, key: InboxKey) -> bool:
        holder = self._database.claims.get(key)
        return holder is not None and not holder.dead

    def _claim(self, key: InboxKey, new: set[InboxKey]) -> None:
        if key not in self._database.marks:
            self._database.claims[key] = current_process()
            new.add(key)

    def _release(self, keys: Collection[InboxKey]) -> None:
        for key in keys:
            self._database.claims.pop(key, None)


class SimulatedOutbox:
    """An outbox in the simulated database, as `Outbox`; simulated relays publish its rows."""

    def __init__(self, source: str, clock: Clock) -> None:
        self._enveloper = Enveloper(source, clock=clock)

    def publish(self, session: SimulatedSession, event: EventData | CloudEvent[Any], /, **envelope: Any) -> str:
        """Publish an event when the session commits; returns its id."""
        whole = self._enveloper.prepare_event(event, **envelope)
        session.outgoing.append((whole.tenantid, whole.id, encode(whole)))
        return whole.id
