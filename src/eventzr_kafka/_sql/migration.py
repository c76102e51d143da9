"""Tables as the steps of a migration, for the outbox and the inbox; without an import of Alembic."""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import MetaData
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

__all__ = ["Operations", "create_tables", "drop_tables"]


class Operations(Protocol):
    """What is used of ``alembic.op``."""

    def execute(self, sqltext: Any, /) -> None:
        """Run a statement, or print it when offline."""
        ...

    def get_context(self) -> Any:
        """What knows the dialect."""
        ...


def create_tables(op: Operations, metadata: MetaData) -> None:
    """Create the tables and their indexes, those that are not there."""
    for table in metadata.sorted_tables:
        op.execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            op.execute(CreateIndex(index, if_not_exists=True))


def drop_tables(op: Operations, metadata: MetaData) -> None:
    """Drop the tables, with all that is in them."""
    for table in reversed(metadata.sorted_tables):
        op.execute(DropTable(table))
