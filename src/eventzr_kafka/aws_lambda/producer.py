"""`lambda_producer`: one client for a container, and nothing of an invocation left behind when it ends.

1. The client is made in a thread while the function is loaded. With SnapStart it is made in the first invocation:
   containers that come from one snapshot must not share a client's identity, nor the numbers that ids are made of.
2. Before an invocation ends all is flushed, for as long as the remaining time allows. What is not acknowledged then is
   purged and raised as an error: a frozen container holds nothing that a later invocation could send.
3. From the flush on nothing more is taken from that invocation, nor is it later: a thread or task that outlived it is
   refused, known by its context. Outside of an invocation nothing can be published.
4. After a purge the next invocation makes a new client.
5. Disabled, as it is on Lambda by default, there is no client, no thread and no socket.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from eventzr_kafka.aws_lambda.container import Deadline, event_loop
from eventzr_kafka.aws_lambda.errors import UnacknowledgedError
from eventzr_kafka.clock import renew_ids
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.codec.limits import DEFAULT_LIMITS, Limits
from eventzr_kafka.errors import ProducerStateError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import ProducerTransport
from eventzr_kafka.producing.delivery import Delivery
from eventzr_kafka.producing.producer import EventProducer
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["LambdaProducer", "lambda_producer"]

log = logging.getLogger("eventzr_kafka.producer")

_FLUSH_RESERVE = 0.5  # part of the margin that a purge and the return may take


class LambdaProducer(EventProducer):
    """An `EventProducer` that lives as long as its container, see `lambda_producer`."""

    def __init__(self, *, margin: float = 2.0, **options: Any) -> None:
        """Begin to make the client; the arguments are those of `lambda_producer`."""
        super().__init__(**options)
        self._margin = margin
        self._open: object = None  # stands for the invocation that may publish
        self._running_for: ContextVar[object] = ContextVar("eventzr_kafka.lambda_invocation", default=None)
        self._gate = threading.Lock()
        self._starting: threading.Thread | None = None
        self._start_error: Exception | None = None
        self._restored = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        if self.settings.enabled and not self._restored:
            self._begin()

    def flushed(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Decorate the handler of any function, ``def`` or ``async def``, so that it returns when all is acknowledged.

        An ``async def`` runs on the container's event loop, and is cancelled when its time ends.

        Raises:
            ProducerStateError: The client could not be made in time; the function was not called.
            UnacknowledgedError: Events were not acknowledged in time, and nobody was told of it by awaiting them.
            TimeoutError: An ``async def`` took until its time ended, and all that it had published was acknowledged.
        """

        @wraps(function)
        def handler(event: Any, context: Any) -> Any:
            deadline = Deadline(context, self._margin)
            with self.invocation(deadline):
                result = function(event, context)
                return (
                    event_loop().run_until_complete(deadline.limit(result)) if inspect.iscoroutine(result) else result
                )

        return handler

    @contextmanager
    def invocation(self, deadline: Deadline) -> Generator[None]:
        """Be ready before the block, and leave nothing behind after it."""
        self._get_ready(deadline)
        self._open = invocation = object()
        token = self._running_for.set(invocation)
        try:
            yield
        finally:
            self._running_for.reset(token)
            with self._gate:
                self._open = None
            self._settle(deadline.left(_FLUSH_RESERVE))

    def _get_ready(self, deadline: Deadline) -> None:
        if self._restored:
            self._restored = False
            renew_ids()
        if not self.settings.enabled or self._transport is not None:
            return
        if self._starting is None:
            self._begin()
        self._await_client(deadline.left())

    def _settle(self, timeout: float) -> None:
        transport = self._own_transport()
        if transport is not None and self._flush(transport, timeout):
            self._give_up(transport)
            self._starting = None
        if lost := self._take_lost():
            raise UnacknowledgedError([(delivery.event_id, delivery.topic) for delivery in lost])

    def _begin(self) -> None:
        self._start_error = None
        self._starting = threading.Thread(target=self._make_client, name="eventzr-kafka start", daemon=True)
        self._starting.start()

    def _make_client(self) -> None:
        try:
            self.start()
        except Exception as error:  # noqa: BLE001 -- raised where the client is needed
            self._start_error = error

    def _await_client(self, timeout: float) -> None:
        """Wait until the client is made, or raise why it is not; an error is tried again in the next invocation."""
        starting = self._starting
        if starting is None:
            return
        starting.join(timeout)
        if starting.is_alive():
            raise ProducerStateError(
                f"the Kafka client is not made yet, after {timeout:.1f} s of this invocation: nothing was run; "
                "give the function more time or memory"
            )
        self._starting = None
        if self._start_error is not None:
            raise self._start_error

    # Publishing

    def _encode(self, event: CloudEvent[Any]) -> tuple[Delivery, OutgoingRecord]:
        self._require_invocation(event.id, event.type)
        return super()._encode(event)

    def _offer(self, record: OutgoingRecord, delivery: Delivery) -> bool:
        with self._gate:
            self._require_invocation(delivery.event_id, delivery.topic)
            return super()._offer(record, delivery)

    def _wait(self, record: OutgoingRecord, delivery: Delivery) -> None:
        with self._gate:
            self._require_invocation(delivery.event_id, delivery.topic)
            super()._wait(record, delivery)

    def _require_invocation(self, event_id: str, topic: str) -> None:
        """Refuse what no invocation would wait for; in the log too, since a handler that was cut off raises unheard."""
        mine = self._running_for.get()
        if self._open is not None and mine in (None, self._open):  # a thread of its own has no context
            return
        over = "the invocation that it belongs to is over" if mine is not None else "no invocation is under way"
        problem = f"event {printable(event_id)} for {topic} is not sent: {over}"
        log.error("not published: %s", problem)
        raise ProducerStateError(f"{problem}; publish in a handler that is `flushed`, and before its time ends")


def lambda_producer(
    *,
    source: str | None = None,
    settings: KafkaSettings | None = None,
    mode: ContentMode = "structured",
    limits: Limits = DEFAULT_LIMITS,
    queue_timeout: float = 10.0,
    margin: float = 2.0,
    transport: Callable[[KafkaSettings], ProducerTransport] | None = None,
) -> LambdaProducer:
    """Make the producer of a Lambda function, once, where the function's module is loaded.

    ::

        producer = lambda_producer(source="orders-svc")
        handler = lambda_handler(lambda: OrderHandler(producer), producer=producer)

    and for a function of another event source::

        @producer.flushed
        def handler(event, context): ...

    Args:
        source: As for `EventProducer`, like all that is not said here.
        settings: From the environment if left out: on Lambda nothing is published unless ``KAFKA_ENABLED`` is true.
        mode: ``structured`` or ``binary``.
        limits: `max_bytes` bounds the value.
        queue_timeout: Seconds that an event may wait for room in the queue.
        margin: Seconds before the function's time-out at which what is not acknowledged is given up; half the time at
            most.
        transport: Makes the Kafka client; for tests.
    """
    return LambdaProducer(
        source=source,
        settings=settings,
        mode=mode,
        limits=limits,
        queue_timeout=queue_timeout,
        margin=margin,
        transport=transport,
    )
