"""Alembic: the steps that a service's own migrations include.

::

    from alembic import op
    from eventzr_kafka.outbox import migration

    def upgrade() -> None:
        migration.upgrade(op)

    def downgrade() -> None:
        migration.downgrade(op)

They also run offline (``alembic upgrade --sql``). For autogenerate, add `metadata` to ``target_metadata``.
"""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from eventzr_kafka.outbox.tables import metadata

__all__ = ["Operations", "downgrade", "upgrade"]


class Operations(Protocol):
    """What is used of ``alembic.op``."""

    def execute(self, sqltext: Any, /) -> None:
        """Run a statement, or print it when offline."""
        ...


def upgrade(op: Operations) -> None:
    """Create the tables of the outbox."""
    for table in metadata.sorted_tables:
        op.execute(CreateTable(table))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            op.execute(CreateIndex(index))


def downgrade(op: Operations) -> None:
    """Drop them, with every row that is still pending."""
    for table in reversed(metadata.sorted_tables):
        op.execute(DropTable(table))
