"""All tables of the service, and their migration."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData

from eventzr_kafka import inbox, outbox
from examples.marketplace_service import activity
from examples.marketplace_service.api import transactions
from examples.marketplace_service.database import Base
from examples.marketplace_service.domain import models

__all__ = ["METADATA", "migrate"]

METADATA: tuple[MetaData, ...] = (Base.metadata, outbox.metadata, inbox.metadata)
"""Tables that Alembic's autogenerate compares with the database."""

_DEFINE_TABLES = (activity, models, transactions)  # importing them fills the metadata


def migrate(database_url: str) -> None:
    """Bring a database, which may be empty, to the newest version."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")
