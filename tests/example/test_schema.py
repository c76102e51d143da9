"""The migrations make what the models say, in both databases, and can be taken back."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from examples.marketplace_service import schema
from sqlalchemy import MetaData, create_engine, inspect, make_url
from tests.postgres import Databases

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    server: Databases = request.getfixturevalue("postgres")
    return server.create_database(uuid.uuid4().hex)


def whole() -> MetaData:
    """All tables in one; the outbox and the inbox bring metadata of their own."""
    merged = MetaData()
    for table in (table for metadata in schema.METADATA for table in metadata.sorted_tables):
        table.to_metadata(merged)
    return merged


def test_newest_version_matches_the_models_and_is_removed(empty: str) -> None:
    url = make_url(empty)
    engine = create_engine(url.set(drivername=url.drivername.removesuffix("+aiosqlite")))

    schema.migrate(empty)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), whole())
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    config.attributes["database_url"] = empty
    command.downgrade(config, "base")

    assert differences == []
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_pods_migrate_one_after_another(postgres: Databases) -> None:
    url = postgres.create_database(uuid.uuid4().hex)
    command = (sys.executable, "-m", "examples.marketplace_service", "migrate")
    environment = {**os.environ, "MARKETPLACE_DATABASE_URL": url}

    pods = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(2)]

    assert [pod.wait(timeout=240) for pod in pods] == [0, 0]
