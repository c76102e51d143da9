"""What the outbox and the inbox ask of a database, beyond plain SQL: its clock, its kind, and when it is gone.

PostgreSQL and SQLite are supported. Times are the database's own: the clocks of two machines never meet.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, literal
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from eventzr_kafka.errors import ConfigurationError

__all__ = ["DATABASE_ERRORS", "DatabaseOutage", "UtcDateTime", "check_dialect", "database_time", "is_outage"]

DATABASE_ERRORS = (DBAPIError, PoolTimeoutError, OSError)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: ``timestamptz`` in PostgreSQL, UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write UTC where the database keeps no zone."""
        return value.astimezone(UTC) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that it is UTC where the database does not."""
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
    """Refuse a database that the SQL here was not written for.

    Raises:
        ConfigurationError: It is neither PostgreSQL nor SQLite.
    """
    if dialect.name not in {"postgresql", "sqlite"}:
        raise ConfigurationError(f"outbox and inbox work on PostgreSQL and SQLite; this session is on {dialect.name}")


def is_outage(error: BaseException) -> bool:
    """Whether to try again later; a statement that the database refuses is no outage."""
    return not isinstance(error, ProgrammingError)


class DatabaseOutage:
    """One line when the database is gone, one when it is back."""

    def __init__(self, log: logging.Logger, who: str) -> None:
        self._log = log
        self._who = who
        self._gone = False

    def on_error(self, error: BaseException) -> None:
        """It did not do what it was asked."""
        if not self._gone:
            kind = type(error).__qualname__
            self._log.warning("%s: the database does not answer (%s), trying again until it does", self._who, kind)
        self._gone = True

    def over(self) -> None:
        """It did."""
        if self._gone:
            self._log.info("%s: the database is back", self._who)
        self._gone = False
