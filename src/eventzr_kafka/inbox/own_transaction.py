"""The transaction of an inbox while a handler works in it: at the end it has to be the one that was opened.

1. The handler neither commits nor ends the session's transaction, and leaves no savepoint open.
2. Nor does it end the transaction below the session: on the connection, by a COMMIT or ROLLBACK of its own, or by the
   driver. The session does not hear of that, so the database is asked. PostgreSQL numbers its transactions; in SQLite a
   savepoint of ours is only there in the transaction that made it.
3. A handler that has committed has committed its mark, too. The mark is taken back, so that a replay can run the event,
   and the event is rejected: one more attempt would repeat what is committed.
4. A transaction that an error of the database has ended keeps nothing in PostgreSQL, and its COMMIT succeeds all the
   same. A handler that swallows such an error has failed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, delete, event, func, null, select, tuple_
from sqlalchemy.orm import Session

from eventzr_kafka.errors import ConsumerStateError, Reject
from eventzr_kafka.inbox.tables import marks
from eventzr_kafka.safe_text import error_location

__all__ = ["WRITTEN", "OwnTransaction", "committed_below"]

_HANDLING = "eventzr_kafka.inbox"  # in a session's info while a handler has it
_SAVEPOINT = "eventzr_inbox"
_MARK = (marks.c.group_id, marks.c.tenant_id, marks.c.source, marks.c.event_id, marks.c.marked_at)
WRITTEN = {  # by dialect: what the insertion of marks returns, the parts of an `InboxKey` first
    "postgresql": (*_MARK, func.txid_current(type_=BigInteger())),
    "sqlite": (*_MARK, null()),
}
_NUMBER = select(func.txid_current_if_assigned(type_=BigInteger()))


class OwnTransaction:
    """The transaction that holds the marks of one call of a handler."""

    def __init__(self, session: Session, written: Sequence[Any]) -> None:
        """Take the transaction as it is after the marks.

        Args:
            written: The rows that the insertion returned, one or more, see `WRITTEN`.
        """
        self._marks = [tuple(row)[:-1] for row in written]
        self._number: int | None = written[0][-1]
        self._begun = session.get_transaction()
        self._is_open = False
        self._problem = "the handler ended its transaction below its session: leave that to the inbox"
        if self._number is None:
            _connection(session).exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")

    @contextmanager
    def in_hand(self, session: Session) -> Generator[None]:
        """Have the handler leave the session as it found it.

        Raises:
            ConsumerStateError: It has committed, rolled back or closed it; neither effect nor mark would be kept. Or it
                has left a savepoint open: what an outbox was given in there would not be kept.
        """
        session.info[_HANDLING] = True
        try:
            yield
        finally:
            session.info.pop(_HANDLING, None)
        if self._begun is None or not self._begun.is_active or session.get_transaction() is not self._begun:
            raise ConsumerStateError("the handler ended its session's transaction: leave that to the inbox")
        if session.in_nested_transaction():
            raise ConsumerStateError("the handler left a savepoint of its session open: release it, or roll it back")

    def look(self, session: Session) -> None:
        """Find out whether the transaction is still the same; after the handler, however it ended."""
        try:
            if self._number is not None:
                self._is_open = _connection(session).scalar(_NUMBER) == self._number
            else:
                _connection(session).exec_driver_sql(f"RELEASE {_SAVEPOINT}")
                self._is_open = True
        except Exception as error:  # noqa: BLE001 -- whatever it is, the transaction is in doubt
            if "no such savepoint" not in str(error):
                self._problem = _no_answer(error)

    def require_open(self) -> None:
        """Let a call pass whose transaction is the same.

        Raises:
            ConsumerStateError: It is not.
        """
        if not self._is_open:
            raise ConsumerStateError(self._problem)

    @property
    def is_in_doubt(self) -> bool:
        """True if the marks may have been committed although the call has failed."""
        return not self._is_open

    def take_back(self, session: Session) -> int:
        """Delete those marks of a failed call that are committed, in another transaction; returns how many."""
        written: Any = session.execute(delete(marks).where(tuple_(*_MARK).in_(self._marks)))
        return int(written.rowcount)


def committed_below() -> Reject:
    """The error of a handler that has committed."""
    problem = "the handler committed below its session, on the connection or by the driver: leave that to the inbox"
    return Reject(f"{problem}; what it had changed by then is kept, its mark is not")


def _no_answer(error: Exception) -> str:
    return f"the transaction cannot be committed after the handler: an error of the database? ({error_location(error)})"


def _connection(session: Session) -> Any:
    return session.connection(bind_arguments={"clause": marks})


@event.listens_for(Session, "before_commit")
def _before_commit(session: Session) -> None:
    if session.info.get(_HANDLING) and not session.in_nested_transaction():
        raise ConsumerStateError("the handler commits its session: leave that to the inbox, or the mark is alone")
