"""Tenant, source and id identify an event, in the inbox and among the dead letters."""

import sqlalchemy as sa
from alembic import op

from eventzr_kafka.inbox import migration as inbox

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    inbox.upgrade(op, step=2)
    op.add_column("dead_letter", sa.Column("source", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("dead_letter", "source")  # the inbox keeps its column: earlier versions work with it
