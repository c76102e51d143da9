"""The errors of AWS Lambda functions; `eventzr_kafka.errors` draws the whole tree."""

from __future__ import annotations

from collections.abc import Sequence

from eventzr_kafka.errors import ConsumerError, ProducerError
from eventzr_kafka.safe_text import list_some, printable

__all__ = ["BatchIncompleteError", "EventSourceError", "UnacknowledgedError"]


class EventSourceError(ConsumerError):
    """The event of the invocation is not one of a Kafka event source; no record was handled.

    Attributes:
        problem: The fault of the event, without payload.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"not an event of Kafka: {problem}; lambda_handler is for an MSK or Kafka event source mapping"
        )


class BatchIncompleteError(ConsumerError):
    """Records must be redelivered, and the event source mapping reads no report: AWS redelivers the whole batch.

    Attributes:
        positions: The first such record of each partition, as ``topic[partition]@offset``.
    """

    def __init__(self, positions: Sequence[str]) -> None:
        self.positions = tuple(positions)
        super().__init__(f"redelivery is needed from these records on in their partitions: {list_some(positions)}")


class UnacknowledgedError(ProducerError):
    """The invocation ends, and the broker has not acknowledged these events; they are not sent any more.

    Some may have arrived all the same: publish them again *with the same event ids*. The log names each with its
    error.

    Attributes:
        events: Id and topic of each event.
    """

    def __init__(self, events: Sequence[tuple[str, str]]) -> None:
        self.events = tuple(events)
        named = [f"{printable(event_id)} for {topic}" for event_id, topic in events]
        super().__init__(
            f"{len(events)} events were not acknowledged and are not sent any more: {list_some(named)}; "
            "publish them again with the same event ids"
        )
