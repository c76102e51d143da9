"""Databases with the tables of outbox and inbox: PostgreSQL and SQLite, sync and async."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.postgres import Databases

from eventzr_kafka import inbox
from eventzr_kafka.outbox import metadata

business = MetaData()
listings = Table("listing", business, Column("id", Integer, primary_key=True), Column("tenant_id", Text))
counters = Table("counter", business, Column("tenant_id", Text, primary_key=True), Column("count", Integer))


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/outbox.db"
    server: Databases = request.getfixturevalue("postgres")
    return server.create_database(uuid.uuid4().hex)


@pytest.fixture
def postgres_url(postgres: Databases) -> str:
    return postgres.create_database(uuid.uuid4().hex)


@pytest.fixture
async def engine(url: str) -> AsyncGenerator[AsyncEngine]:
    async for made in prepared(url):
        yield made


@pytest.fixture
async def postgres_engine(postgres_url: str) -> AsyncGenerator[AsyncEngine]:
    async for made in prepared(postgres_url):
        yield made


async def prepared(url: str) -> AsyncGenerator[AsyncEngine]:
    create_tables(url)
    engine = create_async_engine(url)
    yield engine
    await engine.dispose()


def create_tables(url: str) -> None:
    engine = create_engine(url.replace("+aiosqlite", ""))
    metadata.create_all(engine)
    inbox.metadata.create_all(engine)
    business.create_all(engine)
    engine.dispose()
