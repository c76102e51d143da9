"""What fails elsewhere than in a runner: AWS Lambda brings it again, and a replay leaves its letter open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from eventzr_kafka.engine.failed_event import Failed
from eventzr_kafka.handlers.retry import Decision

__all__ = ["Leave", "Redelivery", "meant"]


@dataclass(frozen=True, slots=True)
class Leave:
    """Not decided here: the event is left to a `Redelivery`.

    Attributes:
        instead_of: What a runner would do.
        reason: What happened, safe to show.
        then: What comes next, for a log line.
    """

    instead_of: Decision
    reason: str
    then: str


class Redelivery(Protocol):
    """Takes the events that a runner would keep waiting, write to the dead letters, or stop for."""

    def plan(self, decision: Decision, error: BaseException) -> Decision | Leave:
        """What to do in place of a decision; the decision itself where it fits."""
        ...

    def leave(self, each: Failed, left: Leave) -> None:
        """Take this event, whose lane waits."""
        ...


def meant(decision: Decision | Leave) -> Decision:
    """What was decided, wherever it is done."""
    return decision.instead_of if isinstance(decision, Leave) else decision
