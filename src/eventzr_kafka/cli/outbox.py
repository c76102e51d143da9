"""`eventzr-kafka outbox`: a relay as a process of its own, the status of the outbox, and the requeue of parked rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

from cyclopts import Parameter
from rich.text import Text

from eventzr_kafka.cli.command import report_declined
from eventzr_kafka.cli.durations import parse_duration
from eventzr_kafka.cli.event_loop import run_on_loop
from eventzr_kafka.cli.question import is_agreed
from eventzr_kafka.cli.terminal import Terminal, count_of, labelled, table
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.errors import ConfigurationError, EventzrKafkaError, MissingExtraError
from eventzr_kafka.lifecycle.signals import stopped_by_signals
from eventzr_kafka.settings import EventLoop, KafkaSettings

if TYPE_CHECKING:  # the extra is loaded when a command needs it
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import AsyncEngine

    from eventzr_kafka.outbox import OutboxStatus

__all__ = ["DatabaseError", "DatabaseUrl", "relay_rows", "requeue_parked", "show_status"]

ResultT = TypeVar("ResultT")
DatabaseUrl: TypeAlias = Annotated[
    str,
    Parameter(
        env_var="OUTBOX_URL",  # a password does not belong on a command line
        help="Address of the database, such as postgresql://user@host/database.",
    ),
]

_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite+aiosqlite"}
_EXTRAS = {"postgresql": "outbox-postgres", "sqlite": "outbox-sqlite"}


class DatabaseError(EventzrKafkaError):
    """The database does not answer, or refuses a statement."""


def relay_rows(url: str, settings: KafkaSettings, terminal: Terminal, *, keep: str, stop_tenant: bool) -> None:
    """Relay committed events until a signal stops it.

    Args:
        keep: Duration for which published rows stay in the table.
        stop_tenant: Let a tenant wait for a row that the broker refuses.

    Raises:
        ConfigurationError: The address, the driver or the tables are wrong.
        DatabaseError: The database refuses a statement.
    """
    from eventzr_kafka.outbox import OutboxRelay, RelayOptions  # noqa: PLC0415 -- needs the extra

    try:
        kept = timedelta(seconds=parse_duration(keep))
    except ValueError as error:
        raise UsageError(f"--keep: {error}") from None
    options = RelayOptions(keep=kept, on_unpublishable="stop_tenant" if stop_tenant else "park")

    async def run(engine: AsyncEngine) -> None:
        relay = OutboxRelay(engine, settings, options=options)
        with stopped_by_signals(relay.stop):
            await relay.run()

    disabled = "Kafka is disabled (KAFKA_ENABLED): the rows wait"
    terminal.print(Text(f"relaying to {settings.brokers}" if settings.enabled else disabled, style="dim"))
    _with_engine(url, run, settings.event_loop)
    terminal.print(Text("stopped", style="dim"))


def show_status(url: str, settings: KafkaSettings, terminal: Terminal, *, as_json: bool) -> None:
    """Show pending and parked rows, by tenant, and the relays; and what becomes of new events while Kafka is disabled.

    Raises:
        DatabaseError: The database does not answer, or has no outbox.
    """
    from eventzr_kafka.outbox import read_status  # noqa: PLC0415 -- needs the extra

    status = _with_engine(url, read_status)
    if as_json:
        print(json.dumps(asdict(status)))
        return
    terminal.print(_summary(status))
    if not settings.enabled:
        terminal.print(_while_disabled(status, settings))
    for line in _tables(status):
        terminal.print(line)


def requeue_parked(url: str, ids: Sequence[int], terminal: Terminal, *, every: bool, yes: bool) -> int:
    """Make parked rows pending again, and print how many; returns the exit code.

    Raises:
        UsageError: No rows are named, or the question cannot be asked.
        DatabaseError: The database does not answer, or has no outbox.
    """
    from eventzr_kafka.outbox import requeue  # noqa: PLC0415 -- needs the extra

    if bool(ids) is every:
        raise UsageError("name the rows: ids, as `eventzr-kafka outbox status` shows them, or --all")
    if not (yes or is_agreed("Requeued rows are published after newer events of the same tenant. Requeue?")):
        return report_declined(terminal)
    count = _with_engine(url, lambda engine: requeue(engine, None if every else ids))
    terminal.print(labelled("requeued:", count_of(count, "row"), "green" if count else "yellow"))
    return 0


def _with_engine(url: str, act: Callable[[AsyncEngine], Awaitable[ResultT]], loop: EventLoop | None = None) -> ResultT:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 -- needs the extra

    async def go() -> ResultT:
        try:
            return await act(engine)
        finally:
            await engine.dispose()

    try:
        engine = _engine(url)
        _check_sqlite(engine.url)
        return asyncio.run(go()) if loop is None else run_on_loop(go, loop)
    except SQLAlchemyError as error:
        raise DatabaseError(f"the database: {_first_line(error)}") from error
    except UnicodeError:
        raise ConfigurationError("--url: the host name is not valid: a part of it is empty or too long") from None


def _engine(url: str) -> AsyncEngine:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 -- needs the extra

    address = _address(url)
    try:
        return create_async_engine(address)
    except ImportError:
        kind = address.get_backend_name()
        raise MissingExtraError(_EXTRAS[kind], f"the outbox on {kind}") from None


def _check_sqlite(address: URL) -> None:
    """Open an SQLite file once without aiosqlite, whose thread would report the failure to a closed event loop."""
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 -- needs the extra

    if address.get_backend_name() == "sqlite":
        create_engine(address.set(drivername="sqlite"), poolclass=NullPool).connect().close()


def _address(url: str) -> URL:
    """Parse an address, and set the driver that our extra installs.

    No message quotes a piece of the address, because it may be a piece of the password.

    Raises:
        ConfigurationError: The text is not an address, or names a database that the outbox does not support.
    """
    from sqlalchemy.engine import make_url  # noqa: PLC0415 -- needs the extra
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # a ValueError quotes the text in the place of the port
        raise ConfigurationError("--url is not a database address: write postgresql://user@host/database") from None
    driver = _DRIVERS.get(address.drivername.partition("+")[0])
    if driver is None:
        raise ConfigurationError("--url: the outbox works on PostgreSQL and SQLite: write postgresql:// or sqlite://")
    if driver != _DRIVERS["sqlite"] and url.count("@") > 1:
        raise ConfigurationError("--url: write an @ that belongs to a name or a password as %40")
    return address.set(drivername=driver)


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None)
    if isinstance(cause, Exception) and hasattr(cause, "sqlstate") and type(cause).__name__ == "ProgrammingError":
        return "the driver does not know an option of --url"  # not quoted: it may be the rest of a password with an &
    return f"{type(error).__name__}: {str(cause or error).splitlines()[0]}"


def _summary(status: OutboxStatus) -> Text:
    oldest = "" if status.oldest is None else f", the oldest for {status.oldest:.0f} s"
    parked = f", {status.parked:,} parked" if status.parked else ""
    relays = f", {count_of(len(status.relays), 'relay')}" if status.relays else ", no relay runs"
    color = "red" if status.parked else "yellow" if status.pending and not status.relays else "green"
    return labelled("outbox:", f"{status.pending:,} pending{oldest}{parked}{relays}", color)


def _while_disabled(status: OutboxStatus, settings: KafkaSettings) -> Text:
    from eventzr_kafka.outbox.kept_rows import describe_kept  # noqa: PLC0415 -- needs the extra

    if settings.outbox_while_disabled == "skip":
        text = "KAFKA_ENABLED is false: new events are skipped; OUTBOX_WHILE_DISABLED=keep keeps them"
        return labelled("disabled:", text, "yellow")
    bound = settings.outbox_kept_rows
    if problem := describe_kept(status.pending, bound):
        return labelled("disabled:", problem, "red")
    return labelled("disabled:", f"KAFKA_ENABLED is false: new events are kept, at most {bound:,} rows", "yellow")


def _tables(status: OutboxStatus) -> list[Text]:
    tenants = [(backlog.tenant_id, f"{backlog.pending:,}") for backlog in status.tenants]
    relays = [(share.name, str(share.buckets)) for share in status.relays]
    failed = [
        (str(row.id), row.tenant_id, row.topic, row.failure or "", "parked" if row.parked else "tenant waits")
        for row in status.failed
    ]
    return [
        *table(tenants, headings=("tenant", "pending")),
        *table(relays, headings=("relay", "buckets")),
        *table(failed, headings=("row", "tenant", "topic", "failure", "state")),
    ]
