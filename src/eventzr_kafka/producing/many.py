"""Many events published by one call.

1. All events are made before the first one is sent.
2. They are sent in the order of the call. One that finds no room waits in the waiting room, as in `publish`; the later
   ones wait here until it is settled, so a call adds one event at the most to what waits.
3. If that event finds no room in time, or the producer is closed, the later events are not sent and get the same error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeAlias

from eventzr_kafka.errors import ProducerError, ProducerStateError, QueueFullError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.producing.delivery import Delivery, PublishResult
from eventzr_kafka.producing.envelope import PublishKeywords

__all__ = ["AT_ONCE", "ManyEvents", "Prepare", "PublishManyError", "Publishable", "Send"]

log = logging.getLogger("eventzr_kafka.producer")

AT_ONCE = 500  # events, until other tasks may run: some milliseconds

Publishable: TypeAlias = EventData | CloudEvent[Any] | tuple[EventData, PublishKeywords]
Prepare: TypeAlias = Callable[[Any, Mapping[str, Any]], tuple[Delivery, OutgoingRecord | None]]
Send: TypeAlias = Callable[[OutgoingRecord, Delivery], bool]


class PublishManyError(ProducerError, ExceptionGroup[Exception]):
    """Some events of one `publish_many` were not published; the others were.

    It is an `ExceptionGroup` of the errors: ``except* DeliveryError`` takes those of one kind.

    Attributes:
        results: The result or the error of each event, in the order in which the call named them.
    """

    results: Sequence[PublishResult | Exception]

    def __new__(cls, results: Sequence[PublishResult | Exception]) -> Self:
        """Make the group of the errors in `results`; there is at least one."""
        failed = [result for result in results if isinstance(result, Exception)]
        text = f"{len(failed)} of {len(results)} events were not published, see results; the first: {failed[0]}"
        group = super().__new__(cls, text, failed)
        group.results = tuple(results)
        return group

    def __init__(self, results: Sequence[PublishResult | Exception]) -> None:
        """Do nothing: a group is made by `__new__`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Make the group again from its results."""
        return PublishManyError, (self.results,)

    def derive(self, errors: Sequence[Any], /) -> Any:
        """Make the group of some of the errors, for ``except*``."""
        return PublishManyError(errors)


class ManyEvents:
    """The events of one call."""

    def __init__(
        self, prepare: Prepare, send: Send, withdraw: Callable[[Delivery], bool], shared: Mapping[str, Any]
    ) -> None:
        """Begin without events.

        Args:
            prepare: Makes the record and the delivery of an event; no record if it is not to be sent.
            send: Sends a record, or lets it wait; returns False if it waits.
            withdraw: Withdraws one that waits.
            shared: Keywords of all payloads.
        """
        self._prepare = prepare
        self._send = send
        self._withdraw = withdraw
        self._shared = shared
        self._events: list[tuple[Delivery, OutgoingRecord | None]] = []

    def add(self, event: Publishable) -> int:
        """Make the record of an event; returns how many there are."""
        if type(event) is tuple:
            payload, own = event
            self._events.append(self._prepare(payload, {**self._shared, **own}))
        else:
            self._events.append(self._prepare(event, self._shared))
        return len(self._events)

    def send(self) -> Iterator[Delivery | None]:
        """Send all events; yields each delivery to wait for, and None from time to time: let other tasks run.

        Raises:
            ProducerStateError: Not even the first event could be sent.
        """
        for place, (delivery, record) in enumerate(self._events):
            if record is None:
                continue
            try:
                is_sent = self._send(record, delivery)
            except ProducerStateError as error:
                if place == 0:
                    raise
                self._skip_from(place, error)
                break
            delivery.retrieved = True  # the call receives the outcome, unless it is given up
            if not is_sent:
                yield delivery
                outcome = delivery.outcome()
                if isinstance(outcome, QueueFullError):
                    self._skip_from(place + 1, outcome)
                    break
            elif place % AT_ONCE == AT_ONCE - 1:
                yield None
        for delivery, _ in reversed(self._events):  # most are settled once the last one is
            if not delivery.done():
                yield delivery

    def _skip_from(self, place: int, error: ProducerError) -> None:
        skipped = self._events[place:]
        if skipped:
            log.error("not published: %d events behind the one that failed: %s", len(skipped), error)
        for delivery, _ in skipped:
            delivery.settle(error)

    def give_up(self) -> None:
        """Send nothing more; failures are the producer's again."""
        for delivery, _ in self._events:
            delivery.retrieved = False
            self._withdraw(delivery)

    def results(self) -> list[PublishResult]:
        """Return the results, in the order of the events.

        Raises:
            PublishManyError: Some events were not published.
        """
        found = [outcome for delivery, _ in self._events if (outcome := delivery.outcome()) is not None]
        published = [outcome for outcome in found if isinstance(outcome, PublishResult)]
        if len(published) < len(found):
            raise PublishManyError(found)
        return published
