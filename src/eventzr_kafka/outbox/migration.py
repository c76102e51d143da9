"""Alembic: the steps that a service's own migrations include.

::

    from alembic import op
    from eventzr_kafka.outbox import migration

    def upgrade() -> None:
        migration.upgrade(op)

    def downgrade() -> None:
        migration.downgrade(op)

They also run offline (``alembic upgrade --sql``). For autogenerate, add `metadata` to ``target_metadata``.
What is there already stays: where a release adds an index, a new revision calls `upgrade` again, and has no downgrade.
"""

from __future__ import annotations

from eventzr_kafka._sql.migration import Operations, create_tables, drop_tables
from eventzr_kafka.outbox.tables import metadata

__all__ = ["Operations", "downgrade", "upgrade"]


def upgrade(op: Operations) -> None:
    """Create the tables of the outbox, and the indexes that they lack."""
    create_tables(op, metadata)


def downgrade(op: Operations) -> None:
    """Drop them, with every row that is still pending."""
    drop_tables(op, metadata)
