"""All tables of the service, and how they are brought up to date."""

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
"""What autogenerate compares the database with."""

_DEFINE_TABLES = (activity, models, transactions)  # importing them is what fills the metadata


def migrate(database_url: str) -> None:
    """Bring a database to the newest version; it may be empty."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")
