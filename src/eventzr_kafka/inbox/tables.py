"""The table of the inbox, as SQLAlchemy metadata that a service's migrations include: one row per event handled."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table, Text

from eventzr_kafka._sql import UtcDateTime

__all__ = ["UNKNOWN_TENANT", "marks", "metadata"]

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

Index("eventzr_inbox_marked", marks.c.marked_at)
