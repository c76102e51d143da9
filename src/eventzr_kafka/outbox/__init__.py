"""The outbox: an event is published if, and only if, the database transaction that made it commits.

It needs the extra ``outbox-postgres`` (psycopg 3) or ``outbox-sqlite`` (aiosqlite).
"""

from importlib.util import find_spec

from eventzr_kafka.errors import MissingExtraError

if find_spec("sqlalchemy") is None:
    raise MissingExtraError("outbox", "eventzr_kafka.outbox")

from eventzr_kafka.outbox.hooks import BucketsHeld, RelayHooks, RowDelayed, RowParked, RowsPublished
from eventzr_kafka.outbox.kept_rows import OutboxFullError
from eventzr_kafka.outbox.options import RelayOptions
from eventzr_kafka.outbox.parked import requeue
from eventzr_kafka.outbox.relay import OutboxRelay
from eventzr_kafka.outbox.status import FailedRow, OutboxStatus, RelayShare, TenantBacklog, read_status
from eventzr_kafka.outbox.tables import metadata
from eventzr_kafka.outbox.writer import Outbox

__all__ = [
    "BucketsHeld",
    "FailedRow",
    "Outbox",
    "OutboxFullError",
    "OutboxRelay",
    "OutboxStatus",
    "RelayHooks",
    "RelayOptions",
    "RelayShare",
    "RowDelayed",
    "RowParked",
    "RowsPublished",
    "TenantBacklog",
    "metadata",
    "read_status",
    "requeue",
]
