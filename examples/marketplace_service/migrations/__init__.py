"""Alembic: the steps of the database, oldest first in `versions`."""
