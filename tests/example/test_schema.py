"""The migrations make what the models say, in both databases, and can be taken back."""

from __future__ import annotations

import json
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
from sqlalchemy import MetaData, create_engine, inspect, make_url, text
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


def alembic_config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    config.attributes["database_url"] = database_url
    return config


ORDER = "INSERT INTO orders VALUES ('t', '{0}', 'q', 'l', 'b', 's', 7, 'USD', '{0}', {1}, '2026-03-02')"
DISPUTE = "INSERT INTO dispute (tenant_id, id, order_id, reason, state) VALUES ('t', '{0}', 'paid', 'r', 'opened')"
PREVIOUS = [
    (
        "INSERT INTO member (tenant_id, id, sells, tier, entitlements, rating_count, subscribed_at) "
        "VALUES ('t', 's', TRUE, 'pro', '[\"x\"]', 0, '2026-03-01')"
    ),
    (
        "INSERT INTO listing (tenant_id, id, seller_id, title, lane, price, currency, state, views, created_at) "
        "VALUES ('t', 'l', 's', 'Hall', 'vendora', 7, 'USD', 'published', 0, '2026-03-02')"
    ),
    "INSERT INTO quote VALUES ('t', 'q', 'l', 'b', 7, 'USD', '', 'accepted', '2026-03-02')",
    ORDER.format("created", "NULL"),
    *(ORDER.format(state, "'p'") for state in ("paid", "delivered", "cancelled")),
    "INSERT INTO payout VALUES ('t', 'delivered', 's', 7, 'USD', 'pending', NULL)",
    *(DISPUTE.format(name) for name in ("d1", "d2")),
]


def test_newest_version_matches_the_models_and_is_removed(empty: str) -> None:
    url = make_url(empty)
    engine = create_engine(url.set(drivername=url.drivername.removesuffix("+aiosqlite")))

    schema.migrate(empty)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), whole())
    command.downgrade(alembic_config(empty), "base")

    assert differences == []
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_pods_migrate_one_after_another(postgres: Databases) -> None:
    url = postgres.create_database(uuid.uuid4().hex)
    command = (sys.executable, "-m", "examples.marketplace_service", "migrate")
    environment = {**os.environ, "MARKETPLACE_DATABASE_URL": url}

    pods = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(2)]

    assert [pod.wait(timeout=240) for pod in pods] == [0, 0]


def test_rows_of_the_previous_release_are_completed(empty: str) -> None:
    url = make_url(empty)
    engine = create_engine(url.set(drivername=url.drivername.removesuffix("+aiosqlite")))
    config = alembic_config(empty)
    command.upgrade(config, "0002")
    with engine.begin() as connection:
        for statement in PREVIOUS:
            connection.execute(text(statement))

    command.upgrade(config, "head")
    command.upgrade(config, "head")

    with engine.connect() as connection:
        orders = connection.execute(text("SELECT id, CAST(paid AS INTEGER), CAST(refunded AS INTEGER) FROM orders"))
        payouts = connection.execute(text("SELECT id, state, CAST(amount AS INTEGER) FROM payout"))
        opened = connection.execute(text("SELECT id FROM dispute WHERE state = 'opened'"))
        changes = connection.execute(text("SELECT seller_id, named, applied FROM subscription_change")).one()
    assert sorted(map(tuple, orders)) == [("cancelled", 7, 7), ("created", 0, 0), ("delivered", 7, 0), ("paid", 7, 0)]
    assert sorted(map(tuple, payouts)) == [("delivered", "pending", 7), ("paid", "pending", 7)]
    assert [row.id for row in opened] == ["d2"]
    named = json.loads(changes.named) if isinstance(changes.named, str) else changes.named
    assert (changes.seller_id, changes.applied) == ("s", True)
    assert named == {"tier": "pro", "entitlements": ["x"], "listing_limit": None}
    engine.dispose()
