"""The migration makes exactly the tables of the metadata, and takes them away again."""

from __future__ import annotations

import io

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, inspect

from eventzr_kafka.outbox import metadata, migration


def test_the_migration_makes_what_the_metadata_says(url: str) -> None:
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        migration.upgrade(Operations(context))
        assert compare_metadata(context, metadata) == []
        migration.downgrade(Operations(context))
        assert inspect(connection).get_table_names() == []
    engine.dispose()


def test_the_migration_can_be_printed() -> None:
    out = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})
    migration.upgrade(Operations(context))
    assert "CREATE TABLE eventzr_outbox (" in out.getvalue()
    assert "WHERE published_at IS NULL AND parked_at IS NULL" in out.getvalue()
