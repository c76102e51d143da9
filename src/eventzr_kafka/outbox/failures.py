"""The action that follows from a failure of a row.

1. A row is unpublishable only if it failed *alone*: a broker refuses a whole batch for one of its records. A row that
   the client itself refuses was in no batch.
2. A row that the client gave up because of another row is sent again.
3. Every other failure, such as a missing topic or a wrong clock, concerns the topic: all rows for it wait (see
   `delays`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from eventzr_kafka.codec.size_hints import TOO_LARGE
from eventzr_kafka.kafka.transport import DeliveryFailure

__all__ = ["RowAction", "decide_action", "is_refusal"]

RowAction: TypeAlias = Literal["resend", "delay_topic", "unpublishable"]

_REFUSED = {
    *TOO_LARGE,
    "INVALID_MSG",
    "INVALID_RECORD",
    "POLICY_VIOLATION",
    "TOPIC_EXCEPTION",
    "_BAD_MSG",
    "_INVALID_ARG",
}
_OF_ANOTHER = {
    "_DESTROY",
    "_FATAL",
    "_GAPLESS_GUARANTEE",
    "_INVALID_DIFFERENT_RECORD",
    "_PURGE_INFLIGHT",
    "_PURGE_QUEUE",
    "_STATE",
}


def is_refusal(failure: DeliveryFailure) -> bool:
    """True if the broker refuses this row, or another one of its batch, however often it is sent."""
    return failure.reason in _REFUSED


def decide_action(failure: DeliveryFailure, *, alone: bool) -> RowAction:
    """Return the action for a row that failed.

    Args:
        alone: True if no other row can be the cause.
    """
    if is_refusal(failure):
        return "unpublishable" if alone else "resend"
    return "resend" if failure.reason in _OF_ANOTHER else "delay_topic"
