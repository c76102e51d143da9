"""The future of one published event: awaited on an event loop, or waited for in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Protocol, cast

from eventzr_kafka.errors import ProducerError
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryFailure, DeliveryOutcome
from eventzr_kafka.lifecycle.asyncio_only import no_loop
from eventzr_kafka.safe_text import printable

__all__ = ["Delivery", "DeliverySink", "PublishResult"]


class PublishResult(NamedTuple):
    """The outcome of publishing an event.

    Attributes:
        status: ``acknowledged`` by the broker, or ``skipped`` because Kafka is disabled.
        partition, offset: The position of its record; None if skipped.
    """

    status: Literal["acknowledged", "skipped"]
    event_id: str
    topic: str
    partition: int | None = None
    offset: int | None = None


class DeliverySink(Protocol):
    """The outcomes of a producer, as far as a delivery needs them."""

    woken: deque[asyncio.Future[None]]

    def fail(self, delivery: Delivery, failure: DeliveryFailure) -> None:
        """Log a failure, and settle the delivery with its error."""
        ...


_lock = threading.Lock()  # of all deliveries, while a caller begins to wait


class Delivery:
    """The future of one published event: await it, or call `result` where there is no event loop.

    It is also what the client calls with the report on the event's record: one object for each event in flight.

    Attributes:
        retrieved: True once a caller has received the outcome, or waits for it.
    """

    __slots__ = ("_done", "_event", "_futures", "_outcome", "_sink", "event_id", "retrieved", "topic")

    def __init__(self, sink: DeliverySink, event_id: str, topic: str) -> None:
        self._sink = sink
        self.event_id = event_id
        self.topic = topic
        self.retrieved = False
        self._outcome: Acknowledgement | Exception | None = None  # None of an event that was skipped
        self._done = False
        self._futures: tuple[asyncio.Future[None], ...] = ()
        self._event: threading.Event | None = None

    def __call__(self, outcome: DeliveryOutcome) -> None:
        """Take the client's report, in the client's thread."""
        if type(outcome) is Acknowledgement:
            self.settle(outcome)
        else:
            self._sink.fail(self, cast("DeliveryFailure", outcome))

    def settle(self, outcome: Acknowledgement | Exception | None) -> None:
        """Set the outcome, from any thread; None means skipped. The producer wakes the tasks that wait."""
        self._outcome = outcome
        self._done = True
        # A caller that begins to wait looks at _done again after that, so one of the two is seen.
        if self._event is not None:
            self._event.set()
        if self._futures:
            self._sink.woken.extend(self._futures)

    def done(self) -> bool:
        """Return True once the outcome is known."""
        return self._done

    def result(self, timeout: float | None = None) -> PublishResult:
        """Block until the outcome is known; not on an event loop.

        Args:
            timeout: Seconds; None waits as long as the client tries, `delivery.timeout.ms`.

        Raises:
            TimeoutError: The outcome is not known yet.
            DeliveryError: The broker did not acknowledge.
            QueueFullError: There was no room in time.
        """
        if not self._done:
            with _lock:
                event = self._event = self._event or threading.Event()
            self.retrieved = True  # this caller receives the outcome
            if not self.done() and not event.wait(timeout):
                self.retrieved = False
                raise TimeoutError(
                    f"event {self.event_id} is not acknowledged after {timeout} s; it is still in flight"
                )
        return self._take_result()

    def __await__(self) -> Generator[Any, None, PublishResult]:
        if not self._done:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise no_loop(f"awaiting event {printable(self.event_id)}, which is in flight,") from None
            future: asyncio.Future[None] = loop.create_future()
            with _lock:
                self._futures = (*self._futures, future)
            if not self._done:
                self.retrieved = True  # this caller receives the outcome
                try:
                    yield from future
                except BaseException:  # cancelled: this caller does not receive the outcome
                    self.retrieved = False
                    raise
        return self._take_result()

    def outcome(self) -> PublishResult | Exception | None:
        """Return the result, or the error of an event that was not published; None as long as neither is known."""
        if not self._done:
            return None
        if isinstance(self._outcome, Exception):
            self.retrieved = True
            return self._outcome
        return self._take_result()

    async def settled(self) -> None:
        """Wait until the outcome is known; a failure is not raised."""
        with suppress(ProducerError):
            await self

    def _take_result(self) -> PublishResult:
        """Return the result or raise the error, once the outcome is known."""
        self.retrieved = True
        outcome = self._outcome
        if type(outcome) is Acknowledgement:
            return PublishResult("acknowledged", self.event_id, self.topic, outcome[0], outcome[1])
        if isinstance(outcome, Exception):
            raise outcome
        return PublishResult("skipped", self.event_id, self.topic)
