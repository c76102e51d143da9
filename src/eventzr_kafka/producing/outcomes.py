"""The outcomes of one producer's events: failures are logged and kept, and waiting tasks are woken in bundles."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from contextlib import suppress

from eventzr_kafka.codec.size_hints import size_hint
from eventzr_kafka.errors import DeliveryError, ProducerError
from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.producing.delivery import Delivery

__all__ = ["Outcomes"]

log = logging.getLogger("eventzr_kafka.producer")

_MOST_FAILURES = 10_000  # that are kept
_HINTS = {
    "_UNKNOWN_TOPIC": "create the topic; the SDK never does",
    "UNKNOWN_TOPIC_OR_PART": "create the topic; the SDK never does",
    "TOPIC_AUTHORIZATION_FAILED": "allow this identity to write to the topic",
}


class Outcomes:
    """Failures, and futures to be woken; any thread may call the methods.

    Attributes:
        woken: Futures of tasks whose deliveries are settled; `wake` wakes them.
        failures: The number of events that failed so far.
    """

    def __init__(self) -> None:
        self.woken: deque[asyncio.Future[None]] = deque()
        self.failures = 0
        self._failed: deque[Delivery] = deque(maxlen=_MOST_FAILURES)
        self._lock = threading.Lock()  # of the failures: a flush reports in its own thread, beside the client's

    def fail(self, delivery: Delivery, failure: DeliveryFailure) -> None:
        """Settle a delivery that the client reports as failed."""
        self.fail_with(delivery, _delivery_error(delivery, failure))

    def fail_with(self, delivery: Delivery, error: ProducerError) -> None:
        """Log a failure, and settle its delivery."""
        with self._lock:
            while self._failed and self._failed[0].retrieved:
                self._failed.popleft()
            self._failed.append(delivery)
            self.failures += 1
        log.error("not published: %s", error)
        delivery.settle(error)

    @property
    def unreported(self) -> int:
        """The number of failures that no caller has received."""
        with self._lock:
            failed = list(self._failed)
        return sum(not delivery.retrieved for delivery in failed)

    def take_unreported(self) -> list[Delivery]:
        """Return the failures that no caller has received, once."""
        with self._lock:
            failed = list(self._failed)
            self._failed.clear()
        return [delivery for delivery in failed if not delivery.retrieved]

    def wake(self) -> None:
        """Wake the tasks whose deliveries are settled: one call per event loop, however many there are."""
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        with suppress(IndexError):  # it is empty; another thread may take from it, too
            while True:
                future = self.woken.popleft()
                by_loop.setdefault(future.get_loop(), []).append(future)
        for loop, futures in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed, and its tasks with it
                loop.call_soon_threadsafe(_set, futures)


def _delivery_error(delivery: Delivery, failure: DeliveryFailure) -> DeliveryError:
    """Make the error of an event that the broker did not acknowledge, with a hint."""
    again = "publish it again with the same event id: it may have arrived, and the id marks the duplicate"
    otherwise = _HINTS.get(failure.reason, again if failure.unknown else "publish it again")
    hint = size_hint(failure.reason, local=failure.local) or otherwise
    error = DeliveryError(delivery.event_id, delivery.topic, f"{failure.reason}: {failure.text}", hint)
    error.__cause__ = failure.cause
    return error


def _set(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
