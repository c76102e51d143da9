"""The inbox: a handler's effect and the mark that its event was handled commit together, so each effect is there once.

`SqlInbox` needs an extra, ``outbox-postgres`` (psycopg 3) or ``outbox-sqlite`` (aiosqlite); SQLAlchemy is loaded with
its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventzr_kafka.errors import MissingExtraError

if TYPE_CHECKING:
    from eventzr_kafka.inbox.memory_inbox import MemoryInbox
    from eventzr_kafka.inbox.protocol import (
        AsyncHandling,
        Handled,
        Inbox,
        InboxKey,
        ReceivedEvent,
        ThreadHandling,
        failed_keys,
        fits_session,
        inbox_key,
        split_duplicates,
    )
    from eventzr_kafka.inbox.sql_inbox import SqlInbox
    from eventzr_kafka.inbox.tables import metadata

__all__ = [
    "AsyncHandling",
    "Handled",
    "Inbox",
    "InboxKey",
    "MemoryInbox",
    "ReceivedEvent",
    "SqlInbox",
    "ThreadHandling",
    "failed_keys",
    "fits_session",
    "inbox_key",
    "metadata",
    "split_duplicates",
]

_MODULES = {"MemoryInbox": "memory_inbox", "SqlInbox": "sql_inbox", "metadata": "tables"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_MODULES.get(name, 'protocol')}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sqlalchemy":
            raise
        raise MissingExtraError("outbox", f"eventzr_kafka.inbox.{name}") from error
    value = globals()[name] = getattr(module, name)
    return value
