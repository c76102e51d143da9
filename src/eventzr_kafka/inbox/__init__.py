"""The inbox: an event's effect and the mark that it was handled commit together, so each effect is there once.

It needs the extra ``outbox-postgres`` (psycopg 3) or ``outbox-sqlite`` (aiosqlite).
"""

from importlib.util import find_spec

from eventzr_kafka.errors import MissingExtraError

if find_spec("sqlalchemy") is None:
    raise MissingExtraError("outbox", "eventzr_kafka.inbox")

from eventzr_kafka.inbox.sql_inbox import SqlInbox
from eventzr_kafka.inbox.tables import metadata

__all__ = ["SqlInbox", "metadata"]
