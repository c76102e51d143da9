"""The database under the outbox and the inbox: its clock, its kind, and its outages.

PostgreSQL and SQLite are supported. Times are the database's own, so the clocks of machines are never compared.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Engine, Float, literal
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import ConfigurationError
from eventzr_kafka.lifecycle.state_log import StateLog

__all__ = [
    "DATABASE_ERRORS",
    "DatabaseOutage",
    "UtcDateTime",
    "check_dialect",
    "check_transactions",
    "database_time",
    "is_outage",
    "require_async_engine",
]

DATABASE_ERRORS = (DBAPIError, PoolTimeoutError, OSError)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: ``timestamptz`` in PostgreSQL, UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write UTC where the database keeps no zone."""
        return value.astimezone(UTC) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add UTC where the database keeps no zone."""
        return value.replace(tzinfo=UTC) if value is not None and dialect.name == "sqlite" else value


class database_time(FunctionElement[datetime]):  # noqa: N801 -- an SQL function, named like one
    """The database's time at this moment, not at the beginning of the transaction, shifted by `offset`."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        super().__init__(literal(offset.total_seconds(), Float))


@compiles(database_time, "postgresql")
def _postgresql_time(element: database_time, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(database_time, "sqlite")
def _sqlite_time(element: database_time, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000')"


def check_dialect(dialect: Dialect) -> None:
    """Refuse a database that the outbox and the inbox do not support.

    Raises:
        ConfigurationError: The database is neither PostgreSQL nor SQLite.
    """
    if dialect.name not in {"postgresql", "sqlite"}:
        raise ConfigurationError(f"outbox and inbox work on PostgreSQL and SQLite; this session is on {dialect.name}")


def require_async_engine(given: object, purpose: str) -> None:
    """Refuse an object that is not an ``AsyncEngine``, before a call on it fails inside SQLAlchemy.

    Args:
        purpose: The function or class that got the object.

    Raises:
        ConfigurationError: The object is not an ``AsyncEngine``.
    """
    if isinstance(given, AsyncEngine):
        return
    hint = "pass create_async_engine(url)"
    if isinstance(given, Engine):
        hint = "pass create_async_engine(url) with the same address; the service itself may go on with its sync engine"
    raise ConfigurationError(f"{purpose} takes an AsyncEngine, not a {type(given).__name__}: {hint}")


def check_transactions(bind: Engine | Connection | AsyncEngine) -> None:
    """Refuse AUTOCOMMIT, in which two changes do not commit together.

    Raises:
        ConfigurationError: The session or engine is in AUTOCOMMIT isolation.
    """
    if _isolation(bind) == "AUTOCOMMIT" or (isinstance(bind, Connection) and _driver_commits(bind)):
        problem = "outbox and inbox need transactions, and this session is in AUTOCOMMIT isolation"
        raise ConfigurationError(f'{problem}: give it an engine without isolation_level="AUTOCOMMIT"')


def _isolation(bind: Engine | Connection | AsyncEngine) -> Any:
    on_connect = getattr(bind.dialect, "_on_connect_isolation_level", None)  # create_engine(isolation_level=…)
    return bind.get_execution_options().get("isolation_level", on_connect)


def _driver_commits(connection: Connection) -> bool:
    """True if the driver itself is set to AUTOCOMMIT, which SQLAlchemy does not see; in SQLite it may mean nothing."""
    driver = connection.connection.dbapi_connection
    return connection.dialect.name == "postgresql" and getattr(driver, "autocommit", False) is True


def is_outage(error: BaseException) -> bool:
    """True if the call may succeed later; a statement that the database refuses is not an outage."""
    return not isinstance(error, ProgrammingError)


class DatabaseOutage:
    """Logs one line when the database is gone, and one when it is back."""

    def __init__(self, log: logging.Logger, client: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._state = StateLog(log, failure_level=logging.WARNING, recovery_level=logging.INFO, clock=clock)
        self._client = client

    @property
    def problem(self) -> str | None:
        """The present problem, or None."""
        return self._state.reason

    def on_error(self, error: BaseException) -> None:
        """Record a failure; while it lasts, its first error is the problem."""
        if self._state.reason is None:
            problem = f"the database does not answer ({type(error).__qualname__}), trying again until it does"
            self._state.report_failure(problem, "%s: %s", self._client, problem)

    def over(self) -> None:
        """Record a success."""
        self._state.report_success("%s: the database is back", self._client)
