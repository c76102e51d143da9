"""`LambdaProducer`: one client for a container; nothing of an invocation is left in it at the end.

1. The client is made in a thread while the function is loaded. With SnapStart it is made in the first invocation:
   containers restored from one snapshot must not share a client's identity, nor the random numbers of event ids.
2. Before an invocation ends all events are flushed, as long as the remaining time allows. Events that are not
   acknowledged then are purged and raised as an error: a frozen container holds nothing for a later invocation to send.
3. From the flush on, events of that invocation are refused, also later: a thread or task that outlived its invocation
   is recognised by its context. Nothing can be published outside of an invocation.
4. After a purge the next invocation makes a new client.
5. Without KAFKA_ENABLED, the default on Lambda, there is neither client nor thread nor socket.
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

__all__ = ["LambdaProducer"]

log = logging.getLogger("eventzr_kafka.producer")

_FLUSH_RESERVE = 0.5  # part of the margin that the purge and the return may take


class LambdaProducer(EventProducer):
    """An `EventProducer` that lives as long as its container. Make it once, where the function's module is loaded.

    ::

        producer = LambdaProducer(source="orders-svc")
        handler = lambda_handler(lambda: OrderHandler(producer), producer=producer)

    and for a function of another event source::

        @producer.flushed
        def handler(event, context): ...
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        settings: KafkaSettings | None = None,
        mode: ContentMode = "structured",
        limits: Limits = DEFAULT_LIMITS,
        queue_timeout: float = 10.0,
        margin: float = 2.0,
        transport: Callable[[KafkaSettings], ProducerTransport] | None = None,
    ) -> None:
        """Begin to make the client, in a thread.

        Args:
            source: The CloudEvents ``source`` of every event, as for `EventProducer`.
            settings: From the environment if left out: on Lambda nothing is published unless ``KAFKA_ENABLED`` is true.
            mode: ``structured`` or ``binary``.
            limits: `max_bytes` bounds the value.
            queue_timeout: Seconds that an event may wait for room in the queue.
            margin: Seconds before the function's time-out at which events that are not acknowledged are given up; half
                of the remaining time at most.
            transport: Makes the Kafka client; for tests.
        """
        super().__init__(
            source=source,
            settings=settings,
            mode=mode,
            limits=limits,
            queue_timeout=queue_timeout,
            transport=transport,
        )
        self._margin = margin
        self._open: object = None  # a token of the invocation that may publish
        self._running_for: ContextVar[object] = ContextVar("eventzr_kafka.lambda_invocation", default=None)
        self._gate = threading.Lock()
        self._starting: threading.Thread | None = None
        self._start_error: Exception | None = None
        self._restored = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        if self.settings.enabled and not self._restored:
            self._start_in_thread()

    def flushed(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Decorate the handler of any function: it returns once all of its events are acknowledged.

        An ``async def`` runs on the container's event loop, and is cancelled when the time is up. A ``def`` works too.

        Raises:
            ProducerStateError: The client could not be made in time; the function was not called.
            UnacknowledgedError: Events were not acknowledged in time, and the function did not await them.
            TimeoutError: An ``async def`` was cancelled for lack of time; all of its events were acknowledged.
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
        """Make the client ready before the block, and flush it after the block."""
        self._make_ready(deadline)
        self._open = invocation = object()
        token = self._running_for.set(invocation)
        try:
            yield
        finally:
            self._running_for.reset(token)
            with self._gate:
                self._open = None
            self._flush_or_purge(deadline.left(_FLUSH_RESERVE))

    def _make_ready(self, deadline: Deadline) -> None:
        if self._restored:
            self._restored = False
            renew_ids()
        if not self.settings.enabled or self._transport is not None:
            return
        if self._starting is None:
            self._start_in_thread()
        self._await_client(deadline.left())

    def _flush_or_purge(self, timeout: float) -> None:
        transport = self._own_transport()
        if transport is not None and self._flush(transport, timeout):
            self._end_client(transport)
            self._starting = None
        if lost := self._outcomes.take_unreported():
            raise UnacknowledgedError([(delivery.event_id, delivery.topic) for delivery in lost])

    def _start_in_thread(self) -> None:
        self._start_error = None
        self._starting = threading.Thread(target=self._make_client, name="eventzr-kafka start", daemon=True)
        self._starting.start()

    def _make_client(self) -> None:
        try:
            self.start()
        except Exception as error:  # noqa: BLE001 -- raised where the client is needed
            self._start_error = error

    def _await_client(self, timeout: float) -> None:
        """Wait until the client is made, or raise the error of making it; the next invocation tries again."""
        starting = self._starting
        if starting is None:
            return
        starting.join(timeout)
        if starting.is_alive():
            raise ProducerStateError(
                f"the Kafka client is not made yet, after {timeout:.1f} s of this invocation: no handler was called; "
                "give the function more time or memory"
            )
        self._starting = None
        if self._start_error is not None:
            raise self._start_error

    # Publishing

    def _prepare_carefully(self, event: CloudEvent[Any]) -> tuple[Delivery, OutgoingRecord | None]:
        if self.settings.enabled:
            self._require_invocation(event.id, event.type)
        return super()._prepare_carefully(event)

    def _try_to_produce(self, record: OutgoingRecord, delivery: Delivery) -> bool:
        with self._gate:
            self._require_invocation(delivery.event_id, delivery.topic)
            return super()._try_to_produce(record, delivery)

    def _let_wait(self, record: OutgoingRecord, delivery: Delivery) -> None:
        with self._gate:
            self._require_invocation(delivery.event_id, delivery.topic)
            super()._let_wait(record, delivery)

    def _require_invocation(self, event_id: str, topic: str) -> None:
        """Refuse an event for which no invocation would wait.

        The log has it too: the error of a handler that was cut off reaches no caller.
        """
        mine = self._running_for.get()
        if self._open is not None and mine in (None, self._open):  # None: a thread that was started without a context
            return
        over = "the invocation that it belongs to is over" if mine is not None else "no invocation is under way"
        problem = f"event {printable(event_id)} for {topic} is not sent: {over}"
        log.error("not published: %s", problem)
        raise ProducerStateError(f"{problem}; publish in a handler that is `flushed`, and before its time ends")
