"""`FailureHost`: the place where events fail: a group of a runner, an invocation of AWS Lambda, or a replay.

Only a runner can wait as long as it takes. The other two have a `Redelivery`: AWS Lambda delivers a failed event again
with a later invocation, and a replay leaves its dead letter open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.dead_letters.parked_keys import ParkedKeys
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.handlers.retry import Decision
from eventzr_kafka.hooks import ConsumerHooks

__all__ = ["FailureHost", "LeaveToRedelivery", "Redelivery", "underlying_decision"]


@dataclass(frozen=True, slots=True)
class LeaveToRedelivery:
    """In place of a decision: the event is left to the `Redelivery`.

    Attributes:
        instead_of: The decision that a runner would carry out.
        reason: The error in words, safe to show.
        next_step: The event's next step, for a log line.
    """

    instead_of: Decision
    reason: str
    next_step: str


class Redelivery(Protocol):
    """Takes the events for which a runner would wait, write a dead letter, or stop."""

    def adapt(self, decision: Decision, error: BaseException) -> Decision | LeaveToRedelivery:
        """Return the decision if it can be carried out now, or else leave the event to the redelivery."""
        ...

    def take_over(self, failed: FailedEvent, left: LeaveToRedelivery) -> None:
        """Take an event that is left to the redelivery; its lane waits."""
        ...


def underlying_decision(decision: Decision | LeaveToRedelivery) -> Decision:
    """The decision of a runner, also where the event is left to a redelivery."""
    return decision.instead_of if isinstance(decision, LeaveToRedelivery) else decision


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureHost:
    """The host of one group's failures.

    Attributes:
        on_ready: Called when a lane can go on after a failure.
        on_stop: Called when the group must not go on.
        writer: Writes the dead letters; the groups of a runner share it.
        parked_keys: Set if a dead letter parks its ordering key.
        redelivery: Set if the host is not a runner.
    """

    group_id: str
    on_ready: Callable[[], None]
    on_stop: Callable[[Exception], None]
    writer: DeadLetterWriter
    hooks: ConsumerHooks = field(default_factory=ConsumerHooks)
    parked_keys: ParkedKeys | None = None
    redelivery: Redelivery | None = None
    clock: Clock = SYSTEM_CLOCK
