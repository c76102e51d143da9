"""What only a Lambda function meets; the tree is drawn in `eventzr_kafka.errors`."""

from __future__ import annotations

from collections.abc import Sequence

from eventzr_kafka.errors import ConsumerError, ProducerError
from eventzr_kafka.safe_text import printable

__all__ = ["BatchIncompleteError", "EventSourceError", "UnacknowledgedError"]

_NAMED = 3  # events or records that a message names


class EventSourceError(ConsumerError):
    """The event of the invocation is not one of a Kafka event source; nothing of it was run.

    Attributes:
        problem: What is wrong with it, without payload.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"not an event of Kafka: {problem}; lambda_handler is for an MSK or Kafka event source mapping"
        )


class BatchIncompleteError(ConsumerError):
    """Records have to come again, and the event source mapping takes no report: the whole batch comes again.

    Attributes:
        positions: Where each partition has to go on, as ``topic[partition]@offset``.
    """

    def __init__(self, positions: Sequence[str]) -> None:
        self.positions = tuple(positions)
        super().__init__(f"these have to come again, and all after them: {_some(positions)}")


class UnacknowledgedError(ProducerError):
    """An invocation ends, and the broker has not acknowledged these events; they are not sent any more.

    Some may have arrived all the same: publish them again *with the same event ids*. Each is in the log with its
    reason.

    Attributes:
        events: Id and topic of each.
    """

    def __init__(self, events: Sequence[tuple[str, str]]) -> None:
        self.events = tuple(events)
        named = [f"{printable(event_id)} for {topic}" for event_id, topic in events]
        super().__init__(
            f"{len(events)} events were not acknowledged and are not sent any more: {_some(named)}; "
            "publish them again with the same event ids"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
