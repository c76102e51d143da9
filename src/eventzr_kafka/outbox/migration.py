"""Alembic: the steps that a service's own migrations include.

::

    from alembic import op
    from eventzr_kafka.outbox import migration

    def upgrade() -> None:
        migration.upgrade(op)

    def downgrade() -> None:
        migration.downgrade(op)

The steps are numbered. A service that has run some of them adds a revision for each new one, for example
``migration.upgrade(op, step=2)``:

1. The tables and their indexes. Run it again after a release that adds an index: only the new index is created.

The steps also run offline (``alembic upgrade --sql``). For autogenerate, add `metadata` to ``target_metadata``.
"""

from __future__ import annotations

from functools import partial

from eventzr_kafka._sql.migration import Migration, Operations, create_tables
from eventzr_kafka.outbox.tables import metadata

__all__ = ["Operations", "downgrade", "upgrade"]

_migration = Migration("outbox", metadata, {1: partial(create_tables, metadata=metadata)})
upgrade = _migration.upgrade
downgrade = _migration.downgrade
