"""Alembic: the steps that a service's own migrations include.

::

    from alembic import op
    from eventzr_kafka.inbox import migration

    def upgrade() -> None:
        migration.upgrade(op)

    def downgrade() -> None:
        migration.downgrade(op)

The steps are numbered, and a service that has run some of them already adds a revision for each new one::

    def upgrade() -> None:
        migration.upgrade(op, step=2)

1. The table.
2. ``tenant_id`` in the key: two tenants may use one id. Marks that are there already stay, and keep an event of their
   source and id from the handlers whatever its tenant, as they did before. All indexes, one of them of such marks.

Every step can be run again and changes nothing then, so that an early revision may run them all. They also run offline
(``alembic upgrade --sql``). For autogenerate, add `metadata` to ``target_metadata``. A single step has no downgrade: an
earlier release works on what it adds.
"""

from __future__ import annotations

from sqlalchemy.schema import CreateIndex, CreateTable

from eventzr_kafka._sql.migration import Migration, Operations
from eventzr_kafka.inbox.tables import marks, metadata

__all__ = ["Operations", "downgrade", "upgrade"]


def _create(op: Operations) -> None:
    op.execute(CreateTable(marks, if_not_exists=True))  # the indexes come last: a former table lacks their columns


def _add_tenant(op: Operations) -> None:
    for statement in _ADD_TENANT[op.get_context().dialect.name]:
        op.execute(statement)
    for index in marks.indexes:
        op.execute(CreateIndex(index, if_not_exists=True))


_ADD_TENANT = {
    "postgresql": (
        """ALTER TABLE eventzr_inbox
            ADD COLUMN IF NOT EXISTS tenant_id TEXT DEFAULT '' NOT NULL,
            DROP CONSTRAINT IF EXISTS eventzr_inbox_pkey,
            ADD CONSTRAINT eventzr_inbox_pkey PRIMARY KEY (group_id, source, event_id, tenant_id)""",
    ),
    # SQLite cannot change a key: the table is made anew. The inner `tenant_id` is the table's own column if it has one,
    # and else that of the outer query, so that the step can be run again.
    "sqlite": (
        """CREATE TABLE eventzr_inbox_2 (
            group_id TEXT NOT NULL, source TEXT NOT NULL, event_id TEXT NOT NULL, tenant_id TEXT DEFAULT '' NOT NULL,
            marked_at DATETIME NOT NULL, PRIMARY KEY (group_id, source, event_id, tenant_id))""",
        """INSERT INTO eventzr_inbox_2 (group_id, source, event_id, tenant_id, marked_at)
            SELECT m.group_id, m.source, m.event_id,
                (SELECT tenant_id FROM eventzr_inbox AS own WHERE own.rowid = m.rowid), m.marked_at
            FROM (SELECT '' AS tenant_id) AS unknown, eventzr_inbox AS m""",
        "DROP TABLE eventzr_inbox",
        "ALTER TABLE eventzr_inbox_2 RENAME TO eventzr_inbox",
    ),
}

_migration = Migration("inbox", metadata, {1: _create, 2: _add_tenant})
upgrade = _migration.upgrade
downgrade = _migration.downgrade
