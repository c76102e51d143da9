"""What a failure means for a row.

1. A row is unpublishable only if it failed *alone*: a broker refuses a whole batch for one of its records. What the
   client itself refuses was in no batch.
2. Where the client gave up because of another row, the row is simply sent again.
3. Any other failure, such as a missing topic or a clock that is wrong, is not one of the row: all rows for its topic
   wait (see `waiting`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from eventzr_kafka.codec.size_hints import TOO_LARGE
from eventzr_kafka.kafka.transport import DeliveryFailure

__all__ = ["Verdict", "is_refusal", "judge"]

Verdict: TypeAlias = Literal["again", "topic waits", "unpublishable"]

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
    """Whether the broker will not take the row, or one that was in a batch with it, however often it is sent."""
    return failure.reason in _REFUSED


def judge(failure: DeliveryFailure, *, alone: bool) -> Verdict:
    """Say what to do with a row that failed.

    Args:
        alone: No other row can be the cause.
    """
    if is_refusal(failure):
        return "unpublishable" if alone else "again"
    return "again" if failure.reason in _OF_ANOTHER else "topic waits"
