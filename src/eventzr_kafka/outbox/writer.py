"""`Outbox`: events that are published if, and only if, the caller's transaction commits.

1. `publish` encodes at once, so a wrong or oversized event fails in the line that made it. It sends nothing.
2. The rows are written as the last thing before the COMMIT of the session, in the same transaction. A savepoint that is
   rolled back takes its events along.
3. In PostgreSQL a transaction first takes a lock per tenant, in one order for all, and only then gets ids: within a
   tenant, ids rise in commit order. Taken any earlier, those locks would wait for rows that others have locked, who
   wait for the locks: a deadlock. SQLite has one writer at a time anyway.
4. While Kafka is disabled, an event is checked and encoded all the same. Its row is not written; with
   ``OUTBOX_WHILE_DISABLED=keep`` it is, up to a bound: see `kept_rows`.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias, Unpack, overload

from sqlalchemy import Connection, event, insert, text
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from eventzr_kafka._sql.database import check_dialect, check_transactions, database_time
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.codec.encoder import ContentMode, encode
from eventzr_kafka.codec.limits import DEFAULT_LIMITS, Limits
from eventzr_kafka.errors import ConfigurationError, ProducerError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.kafka.record import Header, OutgoingRecord
from eventzr_kafka.outbox.kept_rows import KeptRows
from eventzr_kafka.outbox.tables import bucket_of, events
from eventzr_kafka.producing.envelope import Enveloper, PublishKeywords
from eventzr_kafka.settings import KafkaSettings

__all__ = ["CHANNEL", "AnySession", "Outbox"]

log = logging.getLogger("eventzr_kafka.outbox")

CHANNEL = "eventzr_outbox"  # of PostgreSQL's NOTIFY, which wakes the relays

_KEY = "eventzr_kafka.outbox"
_LOCKS = zlib.crc32(_KEY.encode()) >> 1  # our part of the space of advisory locks
_WAKE_EVERY = 0.02  # seconds: a NOTIFY makes commits wait for each other, so few of them
_NAMES = ("bucket", "tenant_id", "event_id", "topic", "headers", "value", "size", "created_at")
_INSERT = insert(events).values(created_at=database_time())
# One statement, for one round trip: the locks come first, because there is no row to number before they are counted.
_LOCK_AND_SELECT = text("""
    WITH locked AS MATERIALIZED (
        SELECT count(pg_advisory_xact_lock(:space, tenant)) FROM unnest(CAST(:locks AS integer[])) AS tenant
    )
    SELECT bucket, tenant_id, event_id, topic, headers, value, size, clock_timestamp()
    FROM locked, unnest(
        CAST(:each_bucket AS smallint[]), CAST(:each_tenant_id AS text[]), CAST(:each_event_id AS text[]),
        CAST(:each_topic AS text[]), CAST(:each_headers AS text[]), CAST(:each_value AS bytea[]),
        CAST(:each_size AS integer[])
    ) WITH ORDINALITY AS event (bucket, tenant_id, event_id, topic, headers, value, size, position)
    ORDER BY position
""").columns(*(events.c[name] for name in _NAMES))
_LOCK_AND_INSERT = insert(events).from_select(_NAMES, _LOCK_AND_SELECT, include_defaults=False)
_NOTIFY = text(f"NOTIFY {CHANNEL}")

Row: TypeAlias = dict[str, Any]
AnySession: TypeAlias = Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]


@dataclass(slots=True)
class _PendingRows:
    """Rows of one session that wait for its commit, each with its transaction or savepoint.

    Attributes:
        clock: The outbox's; it says when a relay is woken.
        kept: The bound that the rows must fit, while Kafka is disabled.
        committing: True once the commit has written the rows: a row that a listener adds now is written at once.
    """

    clock: Clock
    kept: KeptRows | None = None
    committing: bool = False
    rows: list[tuple[SessionTransaction, Row]] = field(default_factory=list[tuple[SessionTransaction, Row]])

    def drop(self, rolled_back: SessionTransaction) -> None:
        self.rows = [entry for entry in self.rows if not _is_within(entry[0], rolled_back)]


def _is_within(transaction: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while transaction is not None and transaction is not outer:
        transaction = transaction.parent
    return transaction is outer


class Outbox:
    """Publishes events in the caller's database transaction.

    ::

        outbox = Outbox(source="marketplace-svc")

        async with AsyncSession(engine) as session, session.begin():
            session.add(listing)
            outbox.publish(session, ListingCreated(…), tenant_id=tenant)

    It needs no connection to Kafka: an `OutboxRelay`, here or in another process, publishes the committed events.
    While Kafka is disabled, events are checked and skipped, or kept: settings ``OUTBOX_WHILE_DISABLED`` and
    ``OUTBOX_KEPT_ROWS``.
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        settings: KafkaSettings | None = None,
        mode: ContentMode = "structured",
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Take the configuration; the arguments are those of `EventProducer`.

        Args:
            settings: Of these it takes `enabled`, `outside_handlers` and those of the outbox; from the environment if
                left out.

        Raises:
            SettingsError: A variable of the environment is malformed.
        """
        settings = settings or KafkaSettings.from_env()
        self._skips = not settings.enabled and settings.outbox_while_disabled == "skip"
        self._kept = None if settings.enabled or self._skips else KeptRows(settings.outbox_kept_rows, clock=clock)
        self._enveloper = Enveloper(source, clock=clock, outside_handlers=settings.outside_handlers)
        self._clock = clock
        self._mode: ContentMode = mode
        self._limits = limits

    @overload
    def publish(
        self,
        session: AnySession,
        event: EventData,
        /,
        **keywords: Unpack[PublishKeywords],
    ) -> str: ...
    @overload
    def publish(self, session: AnySession, event: CloudEvent[Any], /, *, allow_cross_tenant: bool = False) -> str: ...
    def publish(self, session: AnySession, event: Any, /, **keywords: Any) -> str:
        """Publish an event when the session commits; there is nothing to await.

        The commit raises an `OutboxFullError` if Kafka is disabled, rows are kept, and their number reaches the bound.

        Args:
            session: Its `commit` writes the row; a commit of its connection does not. Of a ``scoped_session`` or an
                ``async_scoped_session``, the session of this thread or task is taken.
            event: A payload, which gets its envelope here; or a whole `CloudEvent`.
            keywords: As for `EventProducer.publish`; in a handler, the same is inherited.

        Returns:
            The event's id, also of an event that is skipped because Kafka is disabled.

        Raises:
            EncodeError: The event cannot be written, or is too large.
            ConfigurationError: The session is on a database that the outbox does not support, or in AUTOCOMMIT; or it
                is a connection.
        """
        whole = self._enveloper.prepare_event(event, **keywords)
        record = encode(whole, self._mode, limits=self._limits)
        sync_session = _sync(session)
        bind = sync_session.get_bind(clause=events)
        check_dialect(bind.dialect)
        check_transactions(bind)
        if self._skips:
            _log_skipping()
        else:
            _add(sync_session, _row(whole, record), self._kept, self._clock)
        return whole.id


@cache
def _log_skipping() -> None:
    text = "Kafka is disabled (KAFKA_ENABLED): events of the outbox are skipped; OUTBOX_WHILE_DISABLED=keep keeps them"
    log.warning(text)


def _sync(given: AnySession) -> Session:
    session: object = given() if isinstance(given, scoped_session | async_scoped_session) else given
    if isinstance(session, AsyncSession):
        return session.sync_session
    if isinstance(session, Session):
        return session
    hint = "pass the session whose commit publishes the event"
    if isinstance(session, Connection | AsyncConnection):
        kind = "AsyncSession" if isinstance(session, AsyncConnection) else "Session"
        hint = f"publish with a {kind}(bind=connection), and commit that session before the connection"
    raise ConfigurationError(f"Outbox.publish() takes an SQLAlchemy session, not a {type(session).__name__}: {hint}")


def _row(event: CloudEvent[Any], record: OutgoingRecord) -> Row:
    return {
        "bucket": bucket_of(event.tenantid),
        "tenant_id": event.tenantid,
        "event_id": event.id,
        "topic": record.topic,
        "headers": _headers_text(record.headers),
        "value": record.value,
        "size": len(record.value or b""),
    }


def _headers_text(headers: Sequence[Header]) -> str:
    return json.dumps([(name, value and value.decode()) for name, value in headers])


def _add(session: Session, row: Row, kept: KeptRows | None, clock: Clock) -> None:
    transaction = session.get_nested_transaction() or session.get_transaction() or session.begin()
    pending: _PendingRows = session.info.setdefault(_KEY, _PendingRows(clock))
    pending.kept = kept
    if pending.committing:
        _write(session.connection(bind_arguments={"clause": events}), [row], pending)
    else:
        pending.rows.append((transaction, row))


# Listeners of the session


@event.listens_for(Session, "before_commit")
def _before_commit(session: Session) -> None:
    pending: _PendingRows | None = session.info.get(_KEY)
    if pending is None or not pending.rows or session.in_nested_transaction():
        return
    session.flush()  # the caller's own rows are locked first
    _write(session.connection(bind_arguments={"clause": events}), [row for _, row in pending.rows], pending)
    pending.rows.clear()
    pending.committing = True


@event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    pending: _PendingRows | None = session.info.get(_KEY)
    if pending is not None and pending.rows and not session.in_nested_transaction():
        problem = f"{len(pending.rows)} events were not written with their transaction, which is committed"
        raise ProducerError(f"{problem}: a savepoint was open; release it before the commit")


@event.listens_for(Session, "after_soft_rollback")
def _after_rollback(session: Session, rolled_back: SessionTransaction) -> None:
    pending: _PendingRows | None = session.info.get(_KEY)
    if pending is not None:
        pending.drop(rolled_back)


@event.listens_for(Session, "after_transaction_end")
def _after_end(session: Session, ended: SessionTransaction) -> None:
    pending: _PendingRows | None = session.info.get(_KEY)
    if pending is not None and ended.parent is None:
        pending.rows.clear()  # also where it was closed without a commit
        pending.committing = False


def _write(connection: Connection, rows: Sequence[Row], pending: _PendingRows) -> None:
    check_transactions(connection)
    if pending.kept is not None:
        pending.kept.require_room(connection, len(rows))
    try:
        _insert(connection, rows, pending.clock)
    except StatementError as error:
        error.hide_parameters = True  # its text would quote the payloads
        raise


def _insert(connection: Connection, rows: Sequence[Row], clock: Clock) -> None:
    if connection.dialect.name != "postgresql":
        connection.execute(_INSERT, rows)
        return
    columns = {f"each_{name}": [row[name] for row in rows] for name in rows[0]}
    connection.execute(_LOCK_AND_INSERT, {"space": _LOCKS, "locks": _locks(rows), **columns})
    if _Wakes.is_due(clock.monotonic()):
        connection.execute(_NOTIFY)


def _locks(rows: Sequence[Row]) -> list[int]:
    """The lock numbers of the tenants, in one order for all transactions; tenants of one number wait for each other."""
    return sorted({_signed(zlib.crc32(row["tenant_id"].encode())) for row in rows})


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


class _Wakes:
    """The time of this process's last NOTIFY. A relay that is awake reads again soon by itself."""

    last = float("-inf")

    @classmethod
    def is_due(cls, now: float) -> bool:
        due = now - cls.last >= _WAKE_EVERY
        if due:
            cls.last = now
        return due
