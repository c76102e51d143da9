"""The tables of the outbox, as SQLAlchemy metadata that a service's migrations include.

``eventzr_outbox`` holds one row per event. A row is *pending* until it is published, or parked because it cannot be.
``eventzr_outbox_lease`` says which relay may work on which bucket, ``eventzr_outbox_relay`` which relays are alive.
"""

from __future__ import annotations

import zlib

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    and_,
)

from eventzr_kafka._sql.database import UtcDateTime

__all__ = ["BUCKETS", "bucket_of", "events", "is_pending", "leases", "metadata", "relays"]

BUCKETS = 64  # a tenant's bucket is stored with its rows: this number stays as it is

metadata = MetaData()

events = Table(
    "eventzr_outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(cache=1), primary_key=True),
    Column("bucket", SmallInteger, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("value", LargeBinary),
    Column("size", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("published_at", UtcDateTime),
    Column("parked_at", UtcDateTime),
    Column("failure", Text),
    implicit_returning=False,
    sqlite_autoincrement=True,  # an id is never given again, also after the newest rows were deleted
)

is_pending = and_(events.c.published_at.is_(None), events.c.parked_at.is_(None))

# On the id alone: PostgreSQL takes a second column for a worse order, and reads all published rows by the primary key.
Index("eventzr_outbox_pending", events.c.id, postgresql_where=is_pending, sqlite_where=is_pending)
Index(
    "eventzr_outbox_published",
    events.c.published_at,
    postgresql_where=events.c.published_at.is_not(None),
    sqlite_where=events.c.published_at.is_not(None),
)
Index(
    "eventzr_outbox_parked",
    events.c.id,
    postgresql_where=events.c.parked_at.is_not(None),
    sqlite_where=events.c.parked_at.is_not(None),
)

leases = Table(
    "eventzr_outbox_lease",
    metadata,
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

relays = Table(
    "eventzr_outbox_relay",
    metadata,
    Column("name", Text, primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
)


def bucket_of(tenant_id: str) -> int:
    """Return the bucket of a tenant, the same in every process and for ever."""
    return zlib.crc32(tenant_id.encode()) % BUCKETS
