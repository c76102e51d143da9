"""The table of the inbox, as SQLAlchemy metadata that a service's migrations include: one row per event handled."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table, Text, literal_column

from eventzr_kafka._sql.database import UtcDateTime

__all__ = ["UNKNOWN_TENANT", "is_old", "marks", "metadata"]

UNKNOWN_TENANT = ""  # of a mark that an earlier release wrote, which kept no tenant; an event's tenant is never empty

metadata = MetaData()

marks = Table(
    "eventzr_inbox",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("tenant_id", Text, primary_key=True, server_default=UNKNOWN_TENANT),
    Column("marked_at", UtcDateTime, nullable=False),
)

# A mark of an earlier release. The text of queries and index is the same: neither database uses a partial index for a
# parameter.
is_old = marks.c.tenant_id == literal_column(f"'{UNKNOWN_TENANT}'")

Index("eventzr_inbox_marked", marks.c.marked_at)
Index("eventzr_inbox_old", marks.c.marked_at, postgresql_where=is_old, sqlite_where=is_old)  # empty, but for such marks
