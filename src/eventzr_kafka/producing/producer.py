"""`EventProducer`: publishes events; an event without a tenant is refused.

1. The record's key is the tenant id; a caller cannot pass another key. In a handler the tenant is inherited.
2. `enqueue` returns at once; `publish` and `publish_many` await the broker's acknowledgement. All keep their order.
3. When the client's queue is full, further events wait here in order, each for `queue_timeout` seconds at most: one for
   each task in `publish`, and 10,000 of `enqueue`. A cancelled `publish` withdraws its event.
4. A disabled producer checks its arguments and sends nothing: the result's status is ``skipped``, and one log line for
   each process reports it.
5. Every failure is logged once, and raised when the event's future is awaited.
6. A producer that is open when the process ends flushes for some seconds, and logs how many events are not delivered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from types import TracebackType
from typing import Any, Self, Unpack, overload

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.codec.encoder import ContentMode, encode
from eventzr_kafka.codec.limits import DEFAULT_LIMITS, Limits
from eventzr_kafka.errors import ProducerError, ProducerStateError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import ProducerTransport
from eventzr_kafka.lifecycle.asyncio_only import running_loop
from eventzr_kafka.lifecycle.process import forget_open, forks, note_open
from eventzr_kafka.lifecycle.shutdown import complete
from eventzr_kafka.producing.delivery import Delivery, PublishResult
from eventzr_kafka.producing.envelope import Enveloper, ManyKeywords, PublishKeywords
from eventzr_kafka.producing.many import AT_ONCE, ManyEvents, Publishable
from eventzr_kafka.producing.outcomes import Outcomes
from eventzr_kafka.producing.record_builder import RecordBuilder
from eventzr_kafka.producing.waiting_room import WaitingRoom, no_room, queue_full
from eventzr_kafka.settings import KafkaSettings

__all__ = ["EventProducer", "make_producer_client"]

log = logging.getLogger("eventzr_kafka.producer")

_MAX_WAITING = 10_000


class EventProducer:
    """Publishes events to Kafka.

    ::

        async with EventProducer(source="marketplace-svc") as producer:
            await producer.publish(ListingCreated(…), tenant_id=tenant)

    Without an event loop: ``with EventProducer(…) as producer: producer.enqueue(…).result()``. All methods may be
    called from any thread.
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        settings: KafkaSettings | None = None,
        mode: ContentMode = "structured",
        limits: Limits = DEFAULT_LIMITS,
        queue_timeout: float = 10.0,
        transport: Callable[[KafkaSettings], ProducerTransport] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Take the configuration; nothing connects before ``async with``, ``with`` or `start`.

        Args:
            source: The CloudEvents ``source`` of every event, a URI-reference such as ``marketplace-svc``; left out,
                each payload class must declare its own.
            settings: How to reach Kafka; from the environment if left out.
            mode: ``structured`` (attributes and data in the value) or ``binary`` (attributes in headers).
            limits: `max_bytes` bounds the value.
            queue_timeout: Seconds that an event may wait for room in the queue.
            transport: Makes the Kafka client; for tests.
            clock: The time and the ids; for tests.
        """
        self.settings = settings or KafkaSettings.from_env()
        self._enveloper = Enveloper(source, clock=clock, outside_handlers=self.settings.outside_handlers)
        self._build = RecordBuilder(self._enveloper, mode, limits).build
        self._monotonic = clock.monotonic
        self._mode: ContentMode = mode
        self._limits = limits
        self._queue_timeout = queue_timeout
        self._make_transport = transport or make_producer_client
        self._transport: ProducerTransport | None = None
        self._waiting = WaitingRoom()
        self._outcomes = Outcomes()
        self._forks = 0

    # Starting and ending

    def start(self) -> None:
        """Make the client; blocks, for a second with OAuth. On an event loop use ``async with``."""
        if not self.settings.enabled:
            _log_disabled()
        elif self._transport is None:
            transport = self._make_transport(self.settings)
            transport.start(self._on_reports)
            self._waiting.open()
            self._transport, self._forks = transport, forks.count
            note_open(self)

    def close(self, timeout: float = 30.0) -> None:
        """Flush, and end the client; events that are not acknowledged fail. Blocks.

        Args:
            timeout: Seconds for the flush.

        Raises:
            ProducerError: Events were not acknowledged, now or earlier, and their futures were not awaited; the log
                names each one.
        """
        transport = self._own_transport()
        if transport is None:
            return
        self._flush(transport, timeout)
        self._end_client(transport)
        if unreported := self._outcomes.take_unreported():
            raise ProducerError(f"{len(unreported)} events were not acknowledged; the log names each one")

    def _end_client(self, transport: ProducerTransport) -> None:
        """End the client; events that are not acknowledged fail, and are not sent any more."""
        self._waiting.close()
        self._transport = None
        forget_open(self)
        transport.close()
        self._expire_waiting(float("inf"))
        self._outcomes.wake()

    def end_at_exit(self, deadline: float) -> None:
        """Deliver events in flight until `deadline`, a time of the clock, and log how many are not delivered."""
        transport = self._own_transport()
        if transport is None:
            return
        failures, seconds = self._outcomes.failures, max(deadline - self._monotonic(), 0.0)
        if waiting := self._flush(transport, 0.0):
            text = "the process ends with an open producer: delivering %d events, for %.0f s at most; %s"
            log.warning(text, waiting, seconds, "use `async with` or `with`, or call close()")
            self._flush(transport, seconds)
        self._end_client(transport)
        if lost := self._outcomes.failures - failures:
            log.error("%d events were not delivered before the process ended; the log names each one", lost)

    @property
    def unreported_failures(self) -> int:
        """The number of events that were not acknowledged and whose futures were not awaited."""
        return self._outcomes.unreported

    async def __aenter__(self) -> Self:
        if not self.settings.enabled:
            _log_disabled()
            return self
        running_loop("`async with EventProducer`")
        try:
            await complete(asyncio.to_thread(self.start))
        except asyncio.CancelledError:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            await complete(asyncio.to_thread(self.__exit__, kind, error, trace))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except ProducerError:
            if error is None:
                raise

    # Publishing

    @overload
    async def publish(
        self,
        event: EventData,
        /,
        **keywords: Unpack[PublishKeywords],
    ) -> PublishResult: ...
    @overload
    async def publish(self, event: CloudEvent[Any], /, *, allow_cross_tenant: bool = False) -> PublishResult: ...
    async def publish(self, event: Any, /, **keywords: Any) -> PublishResult:
        """Publish an event and wait until the broker has acknowledged it.

        Cancelling it withdraws the event, unless the client has it already: then it may arrive all the same.

        Args:
            event: A payload, which gets its envelope here; or a whole `CloudEvent`, which is sent as it is.
            tenant_id: Owner of the event, which becomes its ``tenantid`` and the record's key. A handler may leave it
                out: the event then gets the tenant of the handled event.
            subject: The subject of the event; by default it comes from the template of the payload class.
            event_id: The id, to be kept when an event is published again; by default a new UUIDv7.
            time: The time at which it happened, with a time zone; by default now.
            extensions: Further CloudEvents extension attributes. In a handler, ``correlationid``, ``causationid``,
                ``traceparent`` and ``tracestate`` come from the handled event, unless they are given here.
            allow_cross_tenant: True lets a handler publish this event for another tenant.

        Raises:
            MissingTenantError: `tenant_id` was left out and cannot be inherited; nothing was sent.
            CrossTenantError: In a handler, the event is another tenant's; nothing was sent.
            EncodeError: The event cannot be written; nothing was sent.
            QueueFullError: There was no room within `queue_timeout`; nothing was sent.
            DeliveryError: The broker did not acknowledge; the message says what to do.
            ProducerStateError: The producer is not started, or was made before this process was forked.
        """
        delivery, record = self._prepare(event, keywords)
        if record is not None:
            self._send(record, delivery)
        try:
            return await delivery
        except asyncio.CancelledError:
            self._waiting.withdraw(delivery)
            raise

    @overload
    def enqueue(
        self,
        event: EventData,
        /,
        **keywords: Unpack[PublishKeywords],
    ) -> Delivery: ...
    @overload
    def enqueue(self, event: CloudEvent[Any], /, *, allow_cross_tenant: bool = False) -> Delivery: ...
    def enqueue(self, event: Any, /, **keywords: Any) -> Delivery:
        """Queue an event and return its future at once; arguments and errors are those of `publish`.

        A failure whose future is never awaited is logged, and makes `close` raise.

        Raises:
            QueueFullError: 10,000 events wait for room already; nothing was sent.
        """
        delivery, record = self._prepare(event, keywords)
        if record is not None and not self._try_to_produce(record, delivery):
            if len(self._waiting.entries) >= _MAX_WAITING:
                raise queue_full(delivery, _MAX_WAITING)
            self._let_wait(record, delivery)
        return delivery

    async def publish_many(
        self, events: Iterable[Publishable], /, **keywords: Unpack[ManyKeywords]
    ) -> list[PublishResult]:
        """Publish events in this order, and wait until the broker has acknowledged all of them.

        It costs a third of as many calls of `publish`. All events are made before the first one is sent: pass some
        thousand at a time. Cancelling it sends no further event; those that the client has may arrive all the same.

        Args:
            events: Payloads; pairs of a payload and its keywords, as for `publish`; or whole `CloudEvent`s.
            keywords: As for `publish`; they count for each payload, unless its own say otherwise.

        Returns:
            The results, in the order of the events.

        Raises:
            EncodeError: An event cannot be written, or has no tenant, or another tenant than the handled event; no
                event was sent.
            ProducerStateError: The producer is not started, or was made before this process was forked.
            PublishManyError: Some events were not published; it has the result or the error of each. When one finds no
                room within `queue_timeout`, the later ones are not sent.
        """
        call = ManyEvents(self._prepare, self._send, self._waiting.withdraw, keywords)
        for event in events:
            if call.add(event) % AT_ONCE == 0:
                await asyncio.sleep(0)
        try:
            for delivery in call.send():
                await (asyncio.sleep(0) if delivery is None else delivery.settled())
        except asyncio.CancelledError:
            call.give_up()
            raise
        return call.results()

    def publish_many_sync(
        self, events: Iterable[Publishable], /, **keywords: Unpack[ManyKeywords]
    ) -> list[PublishResult]:
        """Do the same as `publish_many`, in code without an event loop: it blocks."""
        call = ManyEvents(self._prepare, self._send, self._waiting.withdraw, keywords)
        for event in events:
            call.add(event)
        for delivery in call.send():
            if delivery is not None:
                with suppress(ProducerError):
                    delivery.result()
        return call.results()

    async def flush(self, timeout: float = 30.0) -> int:
        """Wait until everything queued is reported.

        Returns:
            The number of events that are not acknowledged after `timeout` seconds.
        """
        running_loop("EventProducer.flush")
        return 0 if self._transport is None else await asyncio.to_thread(self.flush_sync, timeout)

    def flush_sync(self, timeout: float = 30.0) -> int:
        """Do the same as `flush`, in code without an event loop."""
        transport = self._own_transport()
        return 0 if transport is None else self._flush(transport, timeout)

    # One event

    def _prepare(self, event: Any, keywords: Mapping[str, Any]) -> tuple[Delivery, OutgoingRecord | None]:
        """Make an event's record, and the future of its delivery. There is no record if Kafka is disabled."""
        if self._transport is not None and self._forks == forks.count:
            built = self._build(event, keywords)
            if built is not None:
                return Delivery(self._outcomes, built[0], built[1].topic), built[1]
        return self._prepare_carefully(self._enveloper.prepare_event(event, **keywords))

    def _prepare_carefully(self, event: CloudEvent[Any]) -> tuple[Delivery, OutgoingRecord | None]:
        if not self.settings.enabled:
            _log_disabled()
            skipped = Delivery(self._outcomes, event.id, event.type)
            skipped.settle(None)
            return skipped, None
        if self._own_transport() is None:
            raise _not_started()
        record = encode(event, self._mode, limits=self._limits)
        return Delivery(self._outcomes, event.id, record.topic), record

    def _own_transport(self) -> ProducerTransport | None:
        """Return the client, or None before `start` and after `close`.

        Raises:
            ProducerStateError: It was made before a fork: its threads exist in the parent process alone.
        """
        if self._transport is not None and self._forks != forks.count:
            raise ProducerStateError("the producer was made before this process was forked: make one in each process")
        return self._transport

    def _try_to_produce(self, record: OutgoingRecord, delivery: Delivery) -> bool:
        transport = self._transport
        if transport is None:
            raise _not_started()
        return not self._waiting.entries and transport.produce(record, delivery)

    def _send(self, record: OutgoingRecord, delivery: Delivery) -> bool:
        """Send an event that a task waits for; False if it waits for room: at most one for each task."""
        if self._try_to_produce(record, delivery):
            return True
        self._let_wait(record, delivery)
        return False

    def _let_wait(self, record: OutgoingRecord, delivery: Delivery) -> None:
        if not self._waiting.add(delivery, record, self._monotonic() + self._queue_timeout):
            raise _not_started()

    # In the client's thread

    def _on_reports(self) -> None:
        self._expire_waiting(self._monotonic())
        self._waiting.hand_over(self._produce)
        self._outcomes.wake()

    def _produce(self, record: OutgoingRecord, delivery: Delivery) -> bool:
        transport = self._transport
        return transport is not None and transport.produce(record, delivery)

    def _expire_waiting(self, now: float) -> None:
        for delivery in self._waiting.pop_expired(now):
            self._outcomes.fail_with(delivery, no_room(delivery, self._queue_timeout))

    def _flush(self, transport: ProducerTransport, timeout: float) -> int:
        deadline = self._monotonic() + timeout
        left = transport.flush(timeout)
        while (left or self._waiting.entries) and self._monotonic() < deadline:
            left = transport.flush(deadline - self._monotonic())
        return left + len(self._waiting.entries)


def _not_started() -> ProducerStateError:
    return ProducerStateError("the producer is not started: use it inside `async with` or `with`, or call start()")


@cache
def _log_disabled() -> None:
    log.info("Kafka is disabled (KAFKA_ENABLED): events are skipped")


def make_producer_client(settings: KafkaSettings) -> ProducerTransport:
    """Make a client of the client library, which is loaded with the first of them: 60 ms."""
    from eventzr_kafka._confluent.producer import ConfluentProducer  # noqa: PLC0415 -- see above

    return ConfluentProducer(settings)
