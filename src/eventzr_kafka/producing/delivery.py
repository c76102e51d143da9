"""The future of one published event: awaited on an event loop, or waited for in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from eventzr_kafka.codec.size_hints import size_hint
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.lifecycle.asyncio_only import no_loop
from eventzr_kafka.safe_text import printable

__all__ = ["Delivery", "PublishResult", "Waiter", "delivery_error", "wake"]

_HINTS = {
    "_UNKNOWN_TOPIC": "create the topic; the SDK never does",
    "UNKNOWN_TOPIC_OR_PART": "create the topic; the SDK never does",
    "TOPIC_AUTHORIZATION_FAILED": "allow this identity to write to the topic",
}


@dataclass(frozen=True, slots=True)
class PublishResult:
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


Waiter: TypeAlias = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


_event_lock = threading.Lock()


class Delivery:
    """The future of one published event: await it, or call `result` where there is no event loop.

    Attributes:
        retrieved: True once a caller has received the outcome, or waits for it.
    """

    __slots__ = ("_done", "_error", "_event", "_result", "_waiters", "event_id", "retrieved", "topic")

    def __init__(self, event_id: str, topic: str) -> None:
        self.event_id = event_id
        self.topic = topic
        self.retrieved = False
        self._result: PublishResult | None = None
        self._error: Exception | None = None
        self._done = False
        self._waiters: list[Waiter] = []
        self._event: threading.Event | None = None

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
            with _event_lock:
                event = self._event = self._event or threading.Event()
            # The report sets _done first and looks for the event then, so one of the two is seen.
            self.retrieved = True  # this caller receives the outcome
            if not self.done() and not event.wait(timeout):
                self.retrieved = False
                raise TimeoutError(
                    f"event {self.event_id} is not acknowledged after {timeout} s; it is still in flight"
                )
        return self._outcome()

    def __await__(self) -> Generator[Any, None, PublishResult]:
        if not self._done:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise no_loop(f"awaiting event {printable(self.event_id)}, which is in flight,") from None
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.append((loop, future))
            if not self._done:
                self.retrieved = True  # this caller receives the outcome
                try:
                    yield from future
                except BaseException:  # cancelled: this caller does not receive the outcome
                    self.retrieved = False
                    raise
        return self._outcome()

    def _outcome(self) -> PublishResult:
        self.retrieved = True
        if self._error is not None:
            raise self._error
        assert self._result is not None  # noqa: S101 -- one of the two is set before _done
        return self._result

    def settle(self, outcome: PublishResult | Exception) -> list[Waiter]:
        """Set the outcome, from any thread; returns the tasks to `wake`."""
        if isinstance(outcome, Exception):
            self._error = outcome
        else:
            self._result = outcome
        self._done = True
        if self._event is not None:
            self._event.set()
        return self._waiters


def delivery_error(delivery: Delivery, failure: DeliveryFailure) -> DeliveryError:
    """Make the error of an event that the broker did not acknowledge, with a hint."""
    again = "publish it again with the same event id: it may have arrived, and the id marks the duplicate"
    otherwise = _HINTS.get(failure.reason, again if failure.unknown else "publish it again")
    hint = size_hint(failure.reason, local=failure.local) or otherwise
    error = DeliveryError(delivery.event_id, delivery.topic, f"{failure.reason}: {failure.text}", hint)
    error.__cause__ = failure.cause
    return error


def wake(waiters: Iterable[Waiter]) -> None:
    """Wake the tasks that await deliveries, with one call per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for loop, future in waiters:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, and its tasks with it
            loop.call_soon_threadsafe(_set, futures)


def _set(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
