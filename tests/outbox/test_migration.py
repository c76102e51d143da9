"""The migration makes exactly the tables of the metadata, and takes them away again."""

from __future__ import annotations

import io
from typing import Protocol

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, create_engine, inspect, text

from eventzr_kafka import inbox
from eventzr_kafka.inbox import migration as inbox_migration
from eventzr_kafka.outbox import metadata, migration


class Steps(Protocol):
    """The module of a migration."""

    def upgrade(self, op: Operations, /, *, step: int | None = None) -> None: ...
    def downgrade(self, op: Operations, /) -> None: ...


@pytest.mark.parametrize(("steps", "metadata"), [(migration, metadata), (inbox_migration, inbox.metadata)])
def test_migration_matches_the_metadata(url: str, steps: Steps, metadata: MetaData) -> None:
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        steps.upgrade(Operations(context))
        assert compare_metadata(context, metadata) == []
        steps.downgrade(Operations(context))
        assert inspect(connection).get_table_names() == []
    engine.dispose()


def test_migration_adds_what_older_tables_lack(url: str) -> None:
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        migration.upgrade(Operations(context))
        connection.execute(text("DROP INDEX eventzr_outbox_published"))
        migration.upgrade(Operations(context))
        assert compare_metadata(context, metadata) == []
    engine.dispose()


FIRST_INBOX = """
    CREATE TABLE eventzr_inbox (
        group_id TEXT NOT NULL, source TEXT NOT NULL, event_id TEXT NOT NULL, marked_at TIMESTAMP{} NOT NULL,
        PRIMARY KEY (group_id, source, event_id)
    )"""
SECOND_MARK = """
    INSERT INTO eventzr_inbox (group_id, source, event_id, tenant_id, marked_at)
    VALUES ('g', 's', 'new', 'a', '2026-01-02 03:04:05')"""


def create_first_inbox(connection: Connection) -> None:
    """The table as the first release made it, with one mark."""
    zone = " WITH TIME ZONE" if connection.dialect.name == "postgresql" else ""
    connection.execute(text(FIRST_INBOX.format(zone)))
    connection.execute(text("CREATE INDEX eventzr_inbox_marked ON eventzr_inbox (marked_at)"))
    connection.execute(text("INSERT INTO eventzr_inbox VALUES ('g', 's', 'old', '2026-01-02 03:04:05')"))


@pytest.mark.parametrize("step", [2, None])
def test_first_inbox_gets_its_tenant(url: str, step: int | None) -> None:
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as connection:
        create_first_inbox(connection)
        context = MigrationContext.configure(connection)
        inbox_migration.upgrade(Operations(context), step=step)
        connection.execute(text(SECOND_MARK))
        inbox_migration.upgrade(Operations(context), step=step)
        rows = connection.execute(text("SELECT group_id, source, event_id, tenant_id FROM eventzr_inbox")).all()
        key = inspect(connection).get_pk_constraint("eventzr_inbox")["constrained_columns"]
        assert compare_metadata(context, inbox.metadata) == []
    engine.dispose()
    assert sorted(map(tuple, rows)) == [("g", "s", "new", "a"), ("g", "s", "old", "")]
    assert key == ["group_id", "source", "event_id", "tenant_id"]


@pytest.mark.parametrize(("steps", "known"), [(migration, "outbox migration are 1"), (inbox_migration, "are 1, 2")])
def test_step_that_does_not_exist_is_refused(steps: Steps, known: str) -> None:
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True})
    with pytest.raises(ValueError, match=f"step=3: the steps of the .*{known}"):
        steps.upgrade(Operations(context), step=3)


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_inbox_steps_can_be_printed(dialect: str) -> None:
    out = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": out})
    inbox_migration.upgrade(Operations(context))
    assert "PRIMARY KEY (group_id, source, event_id, tenant_id)" in out.getvalue()


def test_migration_can_be_printed() -> None:
    out = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})
    migration.upgrade(Operations(context))
    assert "CREATE TABLE IF NOT EXISTS eventzr_outbox (" in out.getvalue()
    assert "WHERE published_at IS NULL AND parked_at IS NULL" in out.getvalue()
