"""Where records without an outcome are brought again by themselves, as by AWS Lambda, and waiting has an end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from eventzr_kafka.intake import Work
from eventzr_kafka.retry import Decision, Retry, Stop

__all__ = ["Leave", "Redelivery", "meant"]


class Redelivery(Protocol):
    """Brings records again that have no outcome."""

    def has_time(self, seconds: float) -> bool:
        """Whether there is time to wait so long and try again."""
        ...

    def leave(self, work: Work) -> None:
        """Leave this record, and what comes after it in its partition, to be brought again; its lane waits."""
        ...


@dataclass(frozen=True, slots=True)
class Leave:
    """Not tried again here: it comes again by itself."""

    instead_of: Retry | Stop


def meant(decision: Decision | Leave) -> Decision:
    """What was decided, wherever it is done."""
    return decision.instead_of if isinstance(decision, Leave) else decision
