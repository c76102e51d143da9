"""The bound of the rows that are kept while Kafka is disabled (``OUTBOX_WHILE_DISABLED=keep``).

1. A transaction whose rows would pass the bound fails at its commit: no event is dropped, and the disk does not fill.
2. From 80 % of the bound on, the writer logs a warning, once until there is room again, and a relay has a problem.
3. The span of the ids is an upper bound of the pending rows, found in two index look-ups. Only a span of 80 % or more
   is worth counting the rows, at most as many as the bound.
4. Transactions that commit at the same moment do not see each other's rows, so together they may pass the bound.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, Integer, Select, case, func, literal_column, select

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import ProducerError
from eventzr_kafka.lifecycle.state_log import StateLog
from eventzr_kafka.outbox.tables import events, is_pending

__all__ = ["KeptRows", "OutboxFullError", "describe_kept", "pending_up_to"]

log = logging.getLogger("eventzr_kafka.outbox")

_NEAR = 0.8  # of the bound
_HINT = "enable Kafka, so that a relay publishes them, or raise OUTBOX_KEPT_ROWS"


class OutboxFullError(ProducerError):
    """Kafka is disabled, and the outbox keeps as many rows as it may; the commit that would add more has failed.

    Attributes:
        pending: Rows that wait, as far as the transaction sees them.
        bound: The setting ``OUTBOX_KEPT_ROWS``.
        hint: What to do.
    """

    def __init__(self, pending: int, bound: int, hint: str) -> None:
        self.pending = pending
        self.bound = bound
        self.hint = hint
        problem = f"Kafka is disabled, and {pending:,} of at most {bound:,} rows wait already"
        super().__init__(f"the outbox is full, nothing was committed: {problem}; {hint}")


def pending_up_to(bound: int) -> Select[Any]:
    """Make the statement for the number of pending rows: exact from 80 % of the bound on, and at most the bound."""
    newest = select(func.max(events.c.id)).scalar_subquery()
    oldest = select(func.min(events.c.id)).where(is_pending).scalar_subquery()
    span = func.coalesce(newest - oldest + 1, 0)
    some = select(literal_column("1", Integer)).select_from(events).where(is_pending).limit(bound).subquery()
    counted = select(func.count()).select_from(some).scalar_subquery()
    return select(case((span < int(_NEAR * bound), span), else_=counted))


def describe_kept(pending: int, bound: int) -> str | None:
    """Describe the problem of an outbox that is nearly full, or full; None while it has room."""
    if pending < _NEAR * bound:
        return None
    state = "is full: commits with events fail" if pending >= bound else "is nearly full"
    return f"the outbox {state}: Kafka is disabled, and {pending:,} of at most {bound:,} rows wait; {_HINT}"


class KeptRows:
    """Checks the bound in the transactions of one `Outbox`. Any thread may use it."""

    def __init__(self, bound: int, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._bound = bound
        self._state = StateLog(log, failure_level=logging.WARNING, recovery_level=logging.INFO, clock=clock)

    def require_room(self, connection: Connection, rows: int) -> None:
        """Check that the rows of a transaction fit.

        Raises:
            OutboxFullError: The outbox would hold more pending rows than the bound.
        """
        pending: int = connection.execute(pending_up_to(self._bound)).scalar_one()
        if pending + rows > self._bound:
            raise OutboxFullError(pending, self._bound, _HINT)
        problem = describe_kept(pending + rows, self._bound)
        if problem is None:
            self._state.report_success("the outbox has room again")
        else:
            self._state.report_failure("near", "%s", problem)
