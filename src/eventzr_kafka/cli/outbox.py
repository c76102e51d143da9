"""`eventzr-kafka outbox`: a relay as a process of its own, how the outbox is, and parked rows put back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from cyclopts import Parameter
from rich.text import Text

from eventzr_kafka.cli.card import Screen, labelled
from eventzr_kafka.cli.question import is_agreed
from eventzr_kafka.errors import ConfigurationError, EventzrKafkaError, MissingExtraError
from eventzr_kafka.lifecycle.signals import stopped_by_signals
from eventzr_kafka.settings import KafkaSettings

if TYPE_CHECKING:  # the extra is loaded when a command needs it
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import AsyncEngine

    from eventzr_kafka.outbox import OutboxRelay, OutboxStatus

__all__ = ["DatabaseError", "DatabaseUrl", "relay", "requeue_parked", "show_status"]

ResultT = TypeVar("ResultT")
DatabaseUrl: TypeAlias = Annotated[str, Parameter(env_var="OUTBOX_URL")]  # a password does not belong on a command line

_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite+aiosqlite"}
_EXTRAS = {"postgresql": "outbox-postgres", "sqlite": "outbox-sqlite"}


class DatabaseError(EventzrKafkaError):
    """The database does not answer, or refuses the statement."""


def relay(url: str, settings: KafkaSettings, screen: Screen, *, keep_days: float, stop_lane: bool) -> None:
    """Relay until a signal comes.

    Raises:
        ConfigurationError: The address, the driver or the tables are not as they have to be.
    """
    from eventzr_kafka.outbox import OutboxRelay, RelayOptions  # noqa: PLC0415 -- needs the extra

    on_unpublishable: Any = "stop_lane" if stop_lane else "park"
    options = RelayOptions(keep=timedelta(days=keep_days), on_unpublishable=on_unpublishable)

    async def run(engine: AsyncEngine) -> None:
        await _until_signalled(OutboxRelay(engine, settings, options=options))

    screen.say(Text(f"relaying to {settings.brokers}", style="dim"))
    _with_engine(url, run)
    screen.say(Text("stopped", style="dim"))


def show_status(url: str, screen: Screen, *, as_json: bool) -> None:
    """Show what is pending, whose it is, and what was parked.

    Raises:
        DatabaseError: It does not answer, or has no outbox.
    """
    from eventzr_kafka.outbox import read_status  # noqa: PLC0415 -- needs the extra

    status = _with_engine(url, read_status)
    if as_json:
        print(json.dumps(asdict(status)))
        return
    screen.say(_summary(status))
    for line in _tables(status):
        screen.say(line)


def requeue_parked(url: str, ids: Sequence[int], screen: Screen, *, every: bool, yes: bool) -> None:
    """Put parked rows back into their lanes, and say how many.

    Raises:
        ConfigurationError: It is not said which, or not confirmed.
    """
    from eventzr_kafka.outbox import requeue  # noqa: PLC0415 -- needs the extra

    if bool(ids) is every:
        raise ConfigurationError("say which rows: ids, as `eventzr-kafka outbox status` shows them, or --all")
    if not (yes or is_agreed("a row comes behind what its tenant has published since; requeue?")):
        screen.say(Text("nothing was requeued", style="dim"))
        return
    count = _with_engine(url, lambda engine: requeue(engine, None if every else ids))
    screen.say(labelled("requeued:", f"{count:,} rows", "green" if count else "yellow"))


async def _until_signalled(running: OutboxRelay) -> None:
    with stopped_by_signals(running.stop):
        await running.run()


def _with_engine(url: str, act: Callable[[AsyncEngine], Awaitable[ResultT]]) -> ResultT:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 -- needs the extra

    async def go() -> ResultT:
        try:
            return await act(engine)
        finally:
            await engine.dispose()

    try:
        engine = _engine(url)
        _check_sqlite(engine.url)
        return asyncio.run(go())
    except SQLAlchemyError as error:
        raise DatabaseError(f"the database: {_first_line(error)}") from error
    except UnicodeError:
        raise ConfigurationError("--url: the host name is none: a part of it is empty or too long") from None


def _engine(url: str) -> AsyncEngine:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 -- needs the extra

    address = _address(url)
    try:
        return create_async_engine(address)
    except ImportError:
        kind = address.get_backend_name()
        raise MissingExtraError(_EXTRAS[kind], f"the outbox on {kind}") from None


def _check_sqlite(address: URL) -> None:
    """Open an SQLite database once without aiosqlite: where that cannot, its thread answers to a closed event loop."""
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 -- needs the extra

    if address.get_backend_name() == "sqlite":
        create_engine(address.set(drivername="sqlite"), poolclass=NullPool).connect().close()


def _address(url: str) -> URL:
    """Read an address, for the driver that our extra brings; no message quotes what may be part of a password.

    Raises:
        ConfigurationError: It is none, or not of a database that the outbox works on.
    """
    from sqlalchemy.engine import make_url  # noqa: PLC0415 -- needs the extra
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # the latter quotes what stands where a port should
        raise ConfigurationError("--url is no database address: write postgresql://user@host/database") from None
    driver = _DRIVERS.get(address.drivername.partition("+")[0])
    if driver is None:
        raise ConfigurationError("--url: the outbox works on PostgreSQL and SQLite: write postgresql:// or sqlite://")
    if driver != _DRIVERS["sqlite"] and url.count("@") > 1:
        raise ConfigurationError("--url: write an @ that belongs to a name or a password as %40")
    return address.set(drivername=driver)


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None)
    if isinstance(cause, Exception) and hasattr(cause, "sqlstate") and type(cause).__name__ == "ProgrammingError":
        return "the driver does not know an option of --url"  # which it quotes: a password may have been cut at an &
    return f"{type(error).__name__}: {str(cause or error).splitlines()[0]}"


def _summary(status: OutboxStatus) -> Text:
    oldest = "" if status.oldest is None else f", the oldest for {status.oldest:.0f} s"
    parked = f", {status.parked:,} parked" if status.parked else ""
    relays = f", {len(status.relays)} relays" if status.relays else ", no relay at work"
    color = "red" if status.parked else "yellow" if status.pending and not status.relays else "green"
    return labelled("outbox:", f"{status.pending:,} pending{oldest}{parked}{relays}", color)


def _tables(status: OutboxStatus) -> list[Text]:
    tenants = [(backlog.tenant_id, f"{backlog.pending:,}") for backlog in status.tenants]
    relays = [(share.name, str(share.buckets)) for share in status.relays]
    failed = [
        (str(row.id), row.tenant_id, row.topic, row.failure or "", "parked" if row.parked else "lane waits")
        for row in status.failed
    ]
    return [
        *_table(("tenant", "pending"), tenants),
        *_table(("relay", "buckets"), relays),
        *_table(("row", "tenant", "topic", "failure", "state"), failed),
    ]


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[Text]:
    """Lines with columns in line, whatever the width of the terminal: what is copied from it works."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (titles, *rows)]
    return [Text(lines[0], style="dim"), *map(Text, lines[1:])]
