"""The migration makes exactly the tables of the metadata, and takes them away again."""

from __future__ import annotations

import io
from typing import Protocol

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import MetaData, create_engine, inspect, text

from eventzr_kafka import inbox
from eventzr_kafka.inbox import migration as inbox_migration
from eventzr_kafka.outbox import metadata, migration


class Steps(Protocol):
    """The module of a migration."""

    def upgrade(self, op: Operations, /) -> None: ...
    def downgrade(self, op: Operations, /) -> None: ...


@pytest.mark.parametrize(("steps", "metadata"), [(migration, metadata), (inbox_migration, inbox.metadata)])
def test_the_migration_makes_what_the_metadata_says(url: str, steps: Steps, metadata: MetaData) -> None:
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        steps.upgrade(Operations(context))
        assert compare_metadata(context, metadata) == []
        steps.downgrade(Operations(context))
        assert inspect(connection).get_table_names() == []
    engine.dispose()


def test_the_migration_adds_what_the_tables_of_an_earlier_release_lack(url: str) -> None:
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        migration.upgrade(Operations(context))
        connection.execute(text("DROP INDEX eventzr_outbox_published"))
        migration.upgrade(Operations(context))
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_migration_can_be_printed() -> None:
    out = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})
    migration.upgrade(Operations(context))
    assert "CREATE TABLE IF NOT EXISTS eventzr_outbox (" in out.getvalue()
    assert "WHERE published_at IS NULL AND parked_at IS NULL" in out.getvalue()
