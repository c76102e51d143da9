"""The database: one engine a process, and sessions that all parts of the service share.

In SQLite a transaction takes the write lock when it begins. Otherwise one that reads first would fail at its first
write if another transaction had written in between. PostgreSQL locks rows instead, see `UnitOfWork.find`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Numeric, String, TypeDecorator, event
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

__all__ = ["Amount", "Base", "Moment", "TenantOwned", "now", "open_engine", "sessions"]

_CONNECTIONS = 20  # each running handler and each request uses one

sessions = async_sessionmaker(expire_on_commit=False)
"""Makes every session of the process; `open_engine` binds it to the database."""


def open_engine(url: str) -> AsyncEngine:
    """Make the engine, and bind `sessions` to it."""
    is_sqlite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": 30}} if is_sqlite else {"pool_size": _CONNECTIONS}
    engine = create_async_engine(url, hide_parameters=True, **options)  # they would show in errors and logs
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
    sessions.configure(bind=engine)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver does not begin transactions by itself
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class Amount(TypeDecorator[Decimal]):
    """A decimal number; SQLite keeps it as text, so that it stays exact."""

    impl = Numeric(19, 4)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String(24) if dialect.name == "sqlite" else Numeric(19, 4))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return str(round(value, 4)) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        del dialect
        return None if value is None else _short(Decimal(value))


def _short(number: Decimal) -> Decimal:
    """Strip the zeros that the column's scale adds."""
    return number.quantize(Decimal(1)) if number == number.to_integral() else number.normalize()


class Moment(TypeDecorator[datetime]):
    """A time with a zone; SQLite does not store the zone, so UTC is added."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and dialect.name == "sqlite" else value


class Base(DeclarativeBase):
    """Base class of all tables of the service."""

    type_annotation_map = {Decimal: Amount, datetime: Moment}  # noqa: RUF012 -- SQLAlchemy reads it from the class


class TenantOwned(Base):
    """A row of a tenant; its primary key begins with the tenant, so a look-up needs the tenant."""

    __abstract__ = True

    tenant_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-2)
    id: Mapped[str] = mapped_column(primary_key=True, sort_order=-1)
