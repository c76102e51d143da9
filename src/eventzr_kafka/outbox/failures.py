"""What a failure means for a row and its lane, and how long lanes wait.

1. A row is unpublishable only if it failed *alone*: a broker refuses a whole batch for one of its records.
2. Where the client gave up because of another batch, the row is simply sent again.
3. After any other failure, such as a missing topic, the tenant's lane waits: 1 s, then twice as long, up to 30 s.
4. After waiting, one row of the lane goes on trial, alone. The lane runs again once that row is acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from eventzr_kafka.transport import Failure

__all__ = ["Verdict", "WaitingLanes", "is_refusal", "judge"]

Verdict: TypeAlias = Literal["again", "lane waits", "unpublishable"]

_REFUSED = {
    "INVALID_MSG",
    "INVALID_MSG_SIZE",
    "INVALID_RECORD",
    "INVALID_TIMESTAMP",
    "MSG_SIZE_TOO_LARGE",
    "POLICY_VIOLATION",
    "RECORD_LIST_TOO_LARGE",
    "TOPIC_EXCEPTION",
    "_BAD_MSG",
    "_INVALID_ARG",
}
_OF_ANOTHER = {"_DESTROY", "_FATAL", "_GAPLESS_GUARANTEE", "_PURGE_INFLIGHT", "_PURGE_QUEUE", "_STATE"}
_FIRST, _LONGEST = 1.0, 30.0


def is_refusal(failure: Failure | None) -> bool:
    """Whether the broker will not take the row, or one that was in a batch with it, however often it is sent."""
    return failure is not None and failure.reason in _REFUSED


def judge(failure: Failure, *, alone: bool) -> Verdict:
    """Say what to do with a row that failed.

    Args:
        alone: No other row was under way.
    """
    if is_refusal(failure):
        return "unpublishable" if alone else "again"
    return "again" if failure.reason in _OF_ANOTHER else "lane waits"


@dataclass(slots=True)
class _Wait:
    until: float
    seconds: float


class WaitingLanes:
    """Lanes that failed, by tenant."""

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}

    def wait(self, tenant_id: str, now: float, *, longest: bool = False) -> float:
        """Let a lane wait; returns for how many seconds, 0 if it waits already (several rows failed at once)."""
        known = self._waits.get(tenant_id)
        if known is not None and known.until > now:
            return 0.0
        seconds = _LONGEST if longest else min(known.seconds * 2, _LONGEST) if known else _FIRST
        self._waits[tenant_id] = _Wait(now + seconds, seconds)
        return seconds

    def recovered(self, tenant_id: str) -> None:
        """Let a lane run as before."""
        self._waits.pop(tenant_id, None)

    def waiting(self, now: float) -> Collection[str]:
        """The tenants whose lanes wait at this moment."""
        return [tenant_id for tenant_id, wait in self._waits.items() if wait.until > now]

    def on_trial(self, tenant_id: str) -> bool:
        """Whether the lane's next row has to go alone."""
        return tenant_id in self._waits
