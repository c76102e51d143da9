"""`SqlInbox`: an event's effect and its mark are one transaction.

1. The mark is written first. Its key is unique: of two transactions with one event, the second waits until the first
   has ended, and then finds the mark, or takes the event itself.
2. The handler works in the same session, and the inbox commits it, if it is still the same transaction (see
   own_transaction). What the handler raises rolls back both.
3. A batch is one transaction. Its marks are written in one order for all, so that two batches do not wait for each
   other.
4. A mark of an earlier release, which kept no tenant, counts for every tenant until it is deleted by its age.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Select, and_, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from eventzr_kafka._sql.database import DATABASE_ERRORS, check_dialect, check_transactions, database_time
from eventzr_kafka.errors import BatchItemError, ConfigurationError
from eventzr_kafka.inbox.own_transaction import WRITTEN, OwnTransaction, committed_below
from eventzr_kafka.inbox.protocol import (
    AsyncHandling,
    Handled,
    InboxKey,
    ReceivedEvent,
    ThreadHandling,
    failed_keys,
    fits_session,
    inbox_key,
    split_duplicates,
)
from eventzr_kafka.inbox.tables import UNKNOWN_TENANT, is_old, marks
from eventzr_kafka.safe_text import error_location

__all__ = ["SqlInbox"]

log = logging.getLogger("eventzr_kafka.inbox")
ResultT = TypeVar("ResultT")
SessionFactory: TypeAlias = Callable[[], AsyncSession] | Callable[[], Session]

_KEY = (marks.c.group_id, marks.c.tenant_id, marks.c.source, marks.c.event_id)  # as in `InboxKey`
_INSERTS = {
    name: dialect.insert(marks).values(marked_at=database_time()).on_conflict_do_nothing().returning(*WRITTEN[name])
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
}
_CLEANED_AT_ONCE = 1_000


class SqlInbox:
    """Skips events that the handlers of a consumer have handled before, recorded in the handlers' own database.

    ::

        @kafka_consumer(group_id="ledger", inbox=SqlInbox(async_sessionmaker(engine)))
        class Ledger:
            @on_message(OrderCompleted)
            async def book(self, event: CloudEvent[OrderCompleted], context: MessageContext) -> None:
                context.session.add(Entry(...))  # committed with the mark when the handler returns

    The handler neither commits nor closes the session; a savepoint (``begin_nested``) is its own. An event whose
    handler commits below the session, on its connection or by the driver, is rejected, and not marked. With a ``def``
    handler the session is a ``Session``. A `BatchItemError` commits what the session holds: a handler that raises it
    has rolled back what it did for the events that it names, to a savepoint for each.

    In PostgreSQL every handler that runs has a connection: the pool needs `max_concurrency` of them. SQLite has one
    writer at a time, so handlers wait for each other there.
    """

    def __init__(self, sessions: SessionFactory, *, keep: timedelta = timedelta(days=14)) -> None:
        """Take the configuration; nothing connects before a runner starts.

        Args:
            sessions: Makes a new session at each call: an ``async_sessionmaker``, a ``sessionmaker``, or a function.
            keep: How long marks stay; a duplicate that comes later is handled again. More than the retention of the
                topics, 7 days by Kafka's default, is enough.
        """
        self._sessions = sessions
        self._keep = keep
        self._has_old_marks = True

    def check_handler(self, handler: str, *, is_async: bool, session: Any = Any) -> None:
        """Refuse a handler that could not use the sessions.

        Raises:
            ConfigurationError: Sessions and handler are not both async or both sync, the handler's ``MessageContext``
                names another session, the database is another one, or the sessions are in AUTOCOMMIT isolation.
        """
        made = self._sessions()
        wanted: type[Any] = AsyncSession if is_async else Session
        if not isinstance(made, wanted):
            kind = "async def" if is_async else "def"
            problem = f"{handler} is {kind}: its SqlInbox needs a factory of {wanted.__name__}"
            raise ConfigurationError(f"{problem}, not of {type(made).__name__}")
        if not fits_session(session, made):
            declared = getattr(session, "__name__", session)
            problem = f"{handler} takes a MessageContext[{declared}]: its SqlInbox makes {type(made).__name__} objects"
            raise ConfigurationError(problem)
        bind = _sync(made).get_bind(clause=marks)
        check_dialect(bind.dialect)
        check_transactions(bind)

    async def check_tables(self) -> None:
        """Check that the table is there, and that sessions have transactions.

        Raises:
            ConfigurationError: The table is missing or of an earlier release, or sessions are in AUTOCOMMIT isolation.
        """
        try:
            await self._run(_try_out)
            self._has_old_marks = await self._run(_has_old_marks)
        except DATABASE_ERRORS as error:
            if _refused(error):
                raise ConfigurationError(_missing_table(error)) from error
            log.warning("the inbox's database does not answer (%s); events will be retried", error_location(error))

    async def handle(self, deliveries: Sequence[ReceivedEvent], handler: AsyncHandling, /) -> Handled:
        """Mark and handle the new events in one transaction, on the event loop."""
        own: OwnTransaction | None = None
        failure: BatchItemError | None = None
        try:
            async with self._async_session() as session, session.begin():
                own, fresh, duplicates = await session.run_sync(self._mark, deliveries)
                if own is not None:
                    try:
                        with own.in_hand(session.sync_session):
                            await handler(fresh, session)
                    except BatchItemError as error:
                        failure = error
                    finally:
                        await session.run_sync(own.look)
                    await session.run_sync(_finish, own, failure, fresh)
        except BaseException as error:
            if own is not None and own.is_in_doubt and await self._take_back(own):
                raise committed_below() from error
            raise
        return Handled(duplicates, failure)

    def handle_in_thread(self, deliveries: Sequence[ReceivedEvent], handler: ThreadHandling, /) -> Handled:
        """Mark and handle the new events in one transaction, in a thread."""
        own: OwnTransaction | None = None
        failure: BatchItemError | None = None
        try:
            with self._sync_session() as session, session.begin():
                own, fresh, duplicates = self._mark(session, deliveries)
                if own is not None:
                    try:
                        with own.in_hand(session):
                            handler(fresh, session)
                    except BatchItemError as error:
                        failure = error
                    finally:
                        own.look(session)
                    _finish(session, own, failure, fresh)
        except BaseException as error:
            if own is not None and own.is_in_doubt and self._take_back_in_thread(own):
                raise committed_below() from error
            raise
        return Handled(duplicates, failure)

    def _mark(
        self, session: Session, deliveries: Sequence[ReceivedEvent]
    ) -> tuple[OwnTransaction | None, list[ReceivedEvent], list[ReceivedEvent]]:
        """Write the marks; returns the transaction (None if no event is new), the new events, and the duplicates."""
        written = session.execute(_insert(session), _rows(deliveries)).all()
        new = _keys(written)
        if self._has_old_marks and new:
            new -= _keys(session.execute(_with_old_mark(new)))
        fresh, duplicates = split_duplicates(deliveries, new)
        return OwnTransaction(session, written) if fresh else None, fresh, duplicates

    async def _take_back(self, own: OwnTransaction) -> int:
        try:
            return await self._run(own.take_back)
        except DATABASE_ERRORS as error:
            _log_doubt(error)
            return 0

    def _take_back_in_thread(self, own: OwnTransaction) -> int:
        try:
            return _in_transaction(self._sync_session(), own.take_back)
        except DATABASE_ERRORS as error:
            _log_doubt(error)
            return 0

    async def purge(self, *, older_than: timedelta) -> int:
        """Delete all marks of that age, in small steps; returns their number. A runner does so itself, see `keep`."""
        deleted = last = await self._purge_some(older_than)
        while last == _CLEANED_AT_ONCE:
            last = await self._purge_some(older_than)
            deleted += last
        return deleted

    async def purge_expired(self) -> bool:
        """Delete some of the marks that are older than `keep`; returns whether there are more."""
        more = await self._purge_some(self._keep) == _CLEANED_AT_ONCE
        if not more:  # a process of an earlier release may have written some since
            self._has_old_marks = await self._run(_has_old_marks)
        return more

    async def _purge_some(self, age: timedelta) -> int:
        return await self._run(lambda session: _delete_oldest(session, age))

    async def _run(self, work: Callable[[Session], ResultT]) -> ResultT:
        if isinstance(session := self._sessions(), AsyncSession):
            async with session, session.begin():
                return await session.run_sync(work)
        return await asyncio.to_thread(_in_transaction, session, work)

    def _async_session(self) -> AsyncSession:
        session = self._sessions()
        assert isinstance(session, AsyncSession)  # noqa: S101 -- see check_handler
        return session

    def _sync_session(self) -> Session:
        session = self._sessions()
        assert isinstance(session, Session)  # noqa: S101 -- see check_handler
        return session


def _sync(session: AsyncSession | Session) -> Session:
    return session.sync_session if isinstance(session, AsyncSession) else session


def _in_transaction(session: Session, work: Callable[[Session], ResultT]) -> ResultT:
    with session, session.begin():
        return work(session)


def _log_doubt(error: BaseException) -> None:
    log.error("a handler failed, and the database does not say whether its mark was kept (%s)", error_location(error))


def _try_out(session: Session) -> None:
    check_transactions(session.connection(bind_arguments={"clause": marks}))
    session.execute(select(*_KEY).limit(0))


def _refused(error: BaseException) -> bool:
    """Return True if the database answered; SQLite has no error class for a missing table or column."""
    missing = ("no such table", "no such column")
    return isinstance(error, ProgrammingError) or any(text in str(error) for text in missing)


def _missing_table(error: BaseException) -> str:
    if "tenant_id" in str(getattr(error, "orig", "")):
        problem = "table eventzr_inbox is of an earlier release, without tenant_id"
        return f"{problem}: run eventzr_kafka.inbox.migration.upgrade(op, step=2) in a migration"
    return "table eventzr_inbox is missing: include eventzr_kafka.inbox.migration in a migration and run it"


# Statements


def _insert(session: Session) -> Any:
    return _INSERTS[session.get_bind(clause=marks).dialect.name]


def _rows(deliveries: Iterable[ReceivedEvent]) -> list[dict[str, str]] | dict[str, str]:
    keys = sorted({inbox_key(delivery) for delivery in deliveries})
    rows = [{column.name: part for column, part in zip(_KEY, key, strict=True)} for key in keys]
    return rows if len(rows) > 1 else rows[0]  # one row is faster by itself


def _keys(rows: Iterable[Any]) -> set[InboxKey]:
    return {(row[0], row[1], row[2], row[3]) for row in rows}


def _with_old_mark(keys: Iterable[InboxKey]) -> Select[*tuple[Any, ...]]:
    """Those of the events whose source and id a mark of an earlier release names."""
    old = marks.alias()
    same = [old.c[name] == marks.c[name] for name in ("group_id", "source", "event_id")]
    return select(*_KEY).join(old, and_(*same, old.c.tenant_id == UNKNOWN_TENANT)).where(_is_one_of(keys))


def _has_old_marks(session: Session) -> bool:
    """Return True if a mark of an earlier release is there; its index holds no others."""
    return session.scalar(select(marks.c.marked_at).where(is_old).limit(1)) is not None


def _finish(
    session: Session, own: OwnTransaction, failure: BatchItemError | None, fresh: Sequence[ReceivedEvent]
) -> None:
    """Take the marks of a batch's failed events back; raises the error if nothing of the batch is done."""
    own.require_open()
    if failure is None:
        return
    named = failed_keys(failure, fresh)
    if not named:
        raise failure
    session.execute(delete(marks).where(_is_one_of(named)))


def _is_one_of(keys: Iterable[InboxKey]) -> ColumnElement[bool]:
    return tuple_(*_KEY).in_(sorted(keys))


def _delete_oldest(session: Session, age: timedelta) -> int:
    """Delete the oldest marks of that age; with the moment as a parameter, their index finds them."""
    moment = session.scalar(select(database_time(-age)))
    old = (
        select(*_KEY)
        .where(marks.c.marked_at < moment)
        .order_by(marks.c.marked_at)
        .limit(_CLEANED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    deleted: Any = session.execute(delete(marks).where(tuple_(*_KEY).in_(old)))
    return int(deleted.rowcount)
