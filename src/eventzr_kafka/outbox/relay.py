"""`OutboxRelay`: publishes the events that transactions have committed.

1. A tenant's rows are read lowest id first, and ids rise in commit order (see `writer`). A row is sent only after every
   earlier row of its tenant was sent by the same client, or was acknowledged: so first appearances keep the order,
   whichever relay sends, and however late.
2. Only a row that the broker has acknowledged is marked. A crash in between leads to a duplicate with the same id.
3. Rows without a result at the end of a turn stay in flight, and their tenants wait; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from eventzr_kafka._sql.database import (
    DATABASE_ERRORS,
    DatabaseOutage,
    check_dialect,
    check_transactions,
    is_outage,
    require_async_engine,
)
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import AuthenticationError, ConfigurationError, EventzrKafkaError
from eventzr_kafka.hooks import notify
from eventzr_kafka.lifecycle.asyncio_only import running_loop
from eventzr_kafka.lifecycle.back_off import exponential_pause
from eventzr_kafka.lifecycle.shutdown import complete
from eventzr_kafka.lifecycle.signals import stopped_by_signals
from eventzr_kafka.lifecycle.waiting import sleep_until_set
from eventzr_kafka.outbox.hooks import BucketsHeld, RelayHooks
from eventzr_kafka.outbox.kept_rows import describe_kept, pending_up_to
from eventzr_kafka.outbox.leases import Leases
from eventzr_kafka.outbox.options import RelayOptions
from eventzr_kafka.outbox.rows import RelayRows
from eventzr_kafka.outbox.sending import Sender, TransportFactory
from eventzr_kafka.outbox.status import read_status
from eventzr_kafka.outbox.tables import metadata
from eventzr_kafka.outbox.turn import Turns
from eventzr_kafka.outbox.wakeup import Wakeup
from eventzr_kafka.safe_text import error_location
from eventzr_kafka.settings import KafkaSettings

__all__ = ["OutboxRelay"]

log = logging.getLogger("eventzr_kafka.outbox")

_SOONEST = 0.02  # seconds until the next read after the last row
_TRY_AGAIN_EVERY = 0.5
_ENDING = 5.0  # seconds for the last marks in the database
_SAMPLE_EVERY, _CLEAN_EVERY = 15.0, 10.0
_DEFAULTS = RelayOptions()
_NO_HOOKS = RelayHooks()


class OutboxRelay:
    """Publishes the rows of an outbox, alone or sharing the tenants with other relays.

    ::

        async with OutboxRelay(engine):
            …  # the service

    or ``await OutboxRelay(engine).run()``. While Kafka is disabled it does nothing, and the rows wait.

    Attributes:
        name: Name of this relay, as the leases and `read_status` show it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        settings: KafkaSettings | None = None,
        *,
        options: RelayOptions = _DEFAULTS,
        hooks: RelayHooks = _NO_HOOKS,
        transport: TransportFactory | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Take the configuration; nothing connects before `run` or ``async with``.

        Args:
            engine: Engine of the outbox's database.
            settings: Connection to Kafka; from the environment if left out. The relay has a client of its own, because
                it needs other settings to keep the order: one request at a time, no time-out.
            transport: Makes the Kafka client; for tests.
            clock: The time; for tests.

        Raises:
            ConfigurationError: The engine is a sync one, or of a database that the outbox does not support.
        """
        require_async_engine(engine, "OutboxRelay()")
        check_dialect(engine.dialect)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{clock.new_id()[-8:]}"
        self._engine = engine
        self._settings = settings or KafkaSettings.from_env()
        self._options = options
        self._hooks = hooks
        self._clock = clock
        self._wake = asyncio.Event()
        self._leases = Leases(engine, self.name, options.lease)
        self._rows = RelayRows(engine, self._leases)
        self._sender = Sender(self._settings, transport, self._wake)
        self._clock = clock
        self._turns = Turns(self._rows, self._sender, options, hooks, clock=clock)
        self._outage = DatabaseOutage(log, "outbox relay", clock=clock)
        self._due = {"renew": 0.0, "clean": 0.0, "sample": 0.0}
        self._idle = _SOONEST
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._login_problem: str | None = None
        self._kept_problem: str | None = None

    async def run(self) -> None:
        """Publish until `stop`, or until a signal stops the runners of this event loop.

        A cancellation ends it in the same order, and is raised when that is done.

        Raises:
            ConfigurationError: The tables are missing, the engine is in AUTOCOMMIT, or another relay works on the same
                SQLite database.
        """
        running_loop("OutboxRelay")
        try:
            with stopped_by_signals(self.stop, catch=False):
                await self._run()
        except Exception as error:
            self._error = error
            raise

    async def _run(self) -> None:
        if not self._settings.enabled:
            await self._wait_disabled()
            return
        async with Wakeup(self._engine, self._wake, self._clock):
            try:
                await self._sender.start()
                await self._repeat()
            finally:
                await complete(self._end())

    async def _wait_disabled(self) -> None:
        log.info("Kafka is disabled (KAFKA_ENABLED): the rows of the outbox wait")
        keeps = self._settings.outbox_while_disabled == "keep"
        while not self._stopping:
            if keeps and self._is_due("sample", _SAMPLE_EVERY):
                await self._count_kept()
            await sleep_until_set(self._wake, self._options.poll_every.total_seconds())

    async def _count_kept(self) -> None:
        """Note whether the rows that wait come near their bound; the writers log it."""
        bound = self._settings.outbox_kept_rows
        try:
            await self._require_tables()
            async with self._engine.connect() as connection:
                pending: int = (await connection.execute(pending_up_to(bound))).scalar_one()
        except DATABASE_ERRORS as error:
            if not is_outage(error):
                raise
            self._outage.on_error(error)
            return
        self._outage.over()
        self._kept_problem = describe_kept(pending, bound)

    def stop(self) -> None:
        """Wait for the rows in flight, and return from `run`."""
        self._stopping = True
        self._wake.set()

    @property
    def error(self) -> Exception | None:
        """The error that ended the relay, or None; inside ``async with`` a service can make it part of its health."""
        return self._error

    @property
    def problems(self) -> list[str]:
        """The present reasons why rows wait, such as a missing topic or an unreachable database; empty if all is well.

        While Kafka is disabled rows wait on purpose: the problem is then that nearly as many wait as may be kept.

        No event is lost meanwhile. A service can show them to its operators.
        """
        found = [self._outage.problem, self._login_problem, self._kept_problem, *self._turns.problems]
        return [problem for problem in found if problem is not None]

    async def __aenter__(self) -> Self:
        running_loop("OutboxRelay")
        self._task = asyncio.create_task(self._run_logged(), name="eventzr-kafka outbox relay")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._task is None:
            return
        try:
            await complete(self._task)
        except Exception:
            if error is None:
                raise  # the error of the block goes first, and this one was logged

    async def _run_logged(self) -> None:
        """Log an error at once: the block that entered the relay gets it only when it ends."""
        try:
            await self.run()
        except Exception as error:
            reason = error if isinstance(error, EventzrKafkaError) else error_location(error)
            log.error("outbox relay: stopped: %s", reason)  # noqa: TRY400 -- a foreign text may quote payloads
            raise

    async def _repeat(self) -> None:
        prepared = False
        while not self._stopping:
            try:
                if not prepared:
                    await self._prepare()
                    prepared = True
                await self._turn()
                self._outage.over()
                self._login_problem = None
            except DATABASE_ERRORS as error:
                if not is_outage(error):
                    raise
                self._outage.on_error(error)
                await sleep_until_set(self._wake, _TRY_AGAIN_EVERY)
            except AuthenticationError as error:
                self._on_login_error(error)
                await sleep_until_set(self._wake, _TRY_AGAIN_EVERY)

    def _on_login_error(self, error: AuthenticationError) -> None:
        """Try again: a client was made before, so the cause may pass."""
        if self._login_problem is None:
            log.error("outbox relay: %s; trying again", error)
        self._login_problem = str(error)

    async def _prepare(self) -> None:
        check_transactions(self._engine)
        await self._require_tables()
        await self._leases.prepare()
        if self._engine.dialect.name == "sqlite":
            await self._require_sole_relay()

    async def _require_tables(self) -> None:
        async with self._engine.connect() as connection:
            missing = await connection.run_sync(_missing_tables)
        if missing:
            problem = f"table {missing[0]} is missing: include eventzr_kafka.outbox.migration in a migration and run it"
            raise ConfigurationError(problem)

    async def _require_sole_relay(self) -> None:
        """Wait for the end of a dead relay's lease; the lease of a living one does not end."""
        deadline = self._clock.monotonic() + 1.5 * self._options.lease.total_seconds()
        await self._renew()
        while self._leases.alive > 1 and not self._stopping:
            if self._clock.monotonic() > deadline:
                await self._leases.give_up()
                raise ConfigurationError(
                    "another relay works on this SQLite database: SQLite takes one relay, PostgreSQL many"
                )
            await sleep_until_set(self._wake, _TRY_AGAIN_EVERY)
            await self._renew()

    async def _turn(self) -> None:
        self._wake.clear()
        if self._is_due("renew", self._options.lease.total_seconds() / 3):
            await self._renew()
        turn = await self._turns.take_turn()
        if self._is_due("clean", _CLEAN_EVERY):
            await self._clean()
        if self._hooks.on_status_sampled is not None and self._is_due("sample", _SAMPLE_EVERY):
            notify(self._hooks.on_status_sampled, await read_status(self._engine))
        longest = self._options.poll_every.total_seconds()
        self._idle = _SOONEST if turn.settled else exponential_pause(1, first=self._idle, longest=longest)
        if not turn.sent:
            await sleep_until_set(self._wake, self._idle)
        elif not turn.settled:
            await self._clock.sleep(self._idle)  # a new row would not be sent either, so none wakes the relay

    def _is_due(self, task: str, every: float) -> bool:
        now = self._clock.monotonic()
        if now < self._due[task]:
            return False
        self._due[task] = now + every
        return True

    async def _renew(self) -> None:
        before = len(self._leases.held), self._leases.alive
        await self._leases.renew(self._turns.busy_buckets())
        after = len(self._leases.held), self._leases.alive
        if after != before:
            self._turns.buckets_changed()
            log.info("outbox relay %s: %d buckets, %d relays alive", self.name, *after)
            notify(self._hooks.on_buckets_held, BucketsHeld(*after))

    async def _clean(self) -> None:
        if 0 not in self._leases.held:
            return  # the relay that holds bucket 0 cleans for all
        if await self._rows.clean(self._options.keep, self._options.clean_rows) == self._options.clean_rows:
            self._due["clean"] = 0.0  # there is more

    async def _end(self) -> None:
        lease = self._options.lease.total_seconds()
        try:
            with suppress(*DATABASE_ERRORS, TimeoutError):
                async with asyncio.timeout(lease + _ENDING):  # after that, other relays have its buckets
                    await self._turns.finish(lease)
                    await self._leases.give_up()
        finally:
            await self._sender.close()


def _missing_tables(connection: Connection) -> list[str]:
    """The missing tables; looks where statements do: along the search path, or in the schema of the translate map."""
    inspector = inspect(connection)
    tables = [(table.name, connection.schema_for_object(table)) for table in metadata.sorted_tables]
    return [name for name, schema in tables if not inspector.has_table(name, schema=schema)]
