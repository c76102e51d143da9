"""`Migration`: the numbered steps of the tables of the outbox and of the inbox, without an import of Alembic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from sqlalchemy import MetaData
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

__all__ = ["Migration", "MigrationStep", "Operations", "create_tables"]


class Operations(Protocol):
    """The part of ``alembic.op`` that migrations need."""

    def execute(self, sqltext: Any, /) -> None:
        """Run a statement, or print it when offline."""
        ...

    def get_context(self) -> Any:
        """Return the context, which has the dialect."""
        ...


MigrationStep: TypeAlias = Callable[[Operations], None]


class Migration:
    """Creates the tables of a package, and brings those of an earlier release up to date.

    Each step can be run again and changes nothing then, so an early revision may run all of them. A step has no
    downgrade of its own, because an earlier release works on the tables that it leaves.
    """

    def __init__(self, package: str, metadata: MetaData, steps: Mapping[int, MigrationStep]) -> None:
        """Take the steps.

        Args:
            package: Name for error messages, such as ``outbox``.
            metadata: The tables, as all steps together leave them.
            steps: By number, in ascending order.
        """
        self._package = package
        self._metadata = metadata
        self._steps = steps

    def upgrade(self, op: Operations, *, step: int | None = None) -> None:
        """Create the tables, or bring those that exist up to date.

        Args:
            op: Module `op` of Alembic.
            step: Run only the step of this number; left out, all steps.

        Raises:
            ValueError: No step has this number.
        """
        if step is not None and step not in self._steps:
            numbers = ", ".join(map(str, self._steps))
            raise ValueError(f"step={step!r}: the steps of the {self._package} migration are {numbers}")
        for number, run in self._steps.items():
            if step in (None, number):
                run(op)

    def downgrade(self, op: Operations) -> None:
        """Drop the tables with all rows, also with rows of the outbox that are pending."""
        for table in reversed(self._metadata.sorted_tables):
            op.execute(DropTable(table))


def create_tables(op: Operations, metadata: MetaData) -> None:
    """Create the tables and indexes that do not exist."""
    for table in metadata.sorted_tables:
        op.execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            op.execute(CreateIndex(index, if_not_exists=True))
