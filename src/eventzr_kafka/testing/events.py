r"""`Events`: publish an event in a test and have real handlers process it, in milliseconds.

::

    async def test_a_new_listing_is_announced(events, capsys):
        events.subscribe(MarketplaceEventHandler())
        await events.emit(example(ListingCreated), tenant_id="t1")
        assert capsys.readouterr().out == "New listing in lane vendora: Premium Catering Service\n"

The handlers run in a real `ConsumerRunner` on a `MemoryBroker`: all code between the broker and the handler is the real
one.

They run on the test's own event loop, so they can use the objects of its fixtures. The clock of that loop is real, so
`emit` does not wait for retries: the first failure fails the test. With `in_virtual_time` the same test runs on a clock
that jumps, and retries, back-offs and time-outs end at once. The test has to choose it, since on a jumping clock the
time-outs of real sockets expire too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar, Unpack, overload

from eventzr_kafka.codec.decoder import decode
from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.dead_letters.letter import Letter, dead_letter_topic, read_letter
from eventzr_kafka.errors import DecodeError, EventStoppedError, ProducerError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData, topic_of
from eventzr_kafka.events.identity import EventIdentity, identity_of
from eventzr_kafka.hooks import EventFailed
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.kafka.transport import ProducerTransport
from eventzr_kafka.producing.envelope import EnvelopeKeywords, Enveloper
from eventzr_kafka.producing.producer import EventProducer
from eventzr_kafka.safe_text import error_location
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.testing._lazy_producer import LazyProducer
from eventzr_kafka.testing._memory_cluster import AT_ONCE, MemoryBrokerOptions
from eventzr_kafka.testing._memory_service import MemoryService, ensure_topics
from eventzr_kafka.testing.memory_broker import MemoryBroker
from eventzr_kafka.testing.published import PublishedEvents, describe_event, list_events
from eventzr_kafka.testing.virtual_time import virtual_loop

__all__ = ["EventNotHandledError", "EventOutcome", "Events"]

T = TypeVar("T", bound=EventData)
EventT = TypeVar("EventT", bound=CloudEvent[Any])
EventOutcome: TypeAlias = Literal["done", "skipped", "dead-lettered", "stopped", "retried", "pending"]
"""The outcome of an event: the worst of all groups that handle it; ``pending`` if it has none yet."""

_RETRIED = "it would be retried; @in_virtual_time runs a test with its retries at once"


class EventNotHandledError(AssertionError):
    """An event had another outcome than the test expects; the cause is the error that the handler raised."""


class Events:
    """A broker in memory with handlers on it; the fixture ``events``, or a ``with`` block of your own.

    Attributes:
        broker: The `MemoryBroker` behind it, for faults of every kind.
        timeout: Seconds that `emit` and `drain` wait at most; on a virtual clock they wait a day.
    """

    def __init__(self, *, seed: int = 0) -> None:
        """Make an empty broker.

        Args:
            seed: Decides the broker's choices.
        """
        self.broker = MemoryBroker(seed=seed, options=MemoryBrokerOptions(commit_interval=AT_ONCE))
        self.timeout = 5.0
        self._service = MemoryService(self.broker)
        self._emitted: dict[tuple[str, int, int], EventIdentity | None] = {}
        self._reported: set[tuple[Any, ...]] = set()  # records whose outcome a test has received
        self._producers: list[LazyProducer] = []
        self._producer: EventProducer | None = None

    # Handlers

    def subscribe(self, *handlers: object) -> None:
        """Subscribe objects of `@kafka_consumer` classes; they handle all events that are emitted or published.

        Raises:
            RoutingError: An object is not a consumer, or two of one group handle the same topic.
        """
        self._service.subscribe(*handlers)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the handlers for the whole block; without it they run during each `emit` and `drain`.

        Raises:
            EventNotHandledError: An error has stopped the handlers, and no `emit` has raised it.
        """
        async with self._service.running():
            yield
        if self._service.unreported is not None:
            raise _stopped_error(self._service.unreported)

    @overload
    async def emit(
        self, event: T, /, *, tenant_id: str, expect: EventOutcome | None = "done", **envelope: Unpack[EnvelopeKeywords]
    ) -> CloudEvent[T]: ...
    @overload
    async def emit(self, event: EventT, /, *, expect: EventOutcome | None = "done") -> EventT: ...
    @overload
    async def emit(self, event: Record, /, *, expect: EventOutcome | None = "done") -> Record: ...
    async def emit(self, event: Any, /, *, expect: EventOutcome | None = "done", **envelope: Any) -> Any:
        """Publish an event, as another service would, and wait until it is processed and committed.

        Args:
            event: A payload, which gets its envelope here; a whole `CloudEvent`; or a `Record` that no producer of this
                SDK would write, of which topic, key, value and headers are used.
            tenant_id: Owner of the event; further arguments are those of `EventProducer.publish`.
            expect: The outcome that the event must have; None for any. On a real clock ``done`` means at the first
                attempt.

        Returns:
            The event with its envelope, or the record with its offset.

        Raises:
            EventNotHandledError: It had another outcome, or none within `timeout`, or its topic has no handler.
        """
        __tracebackhide__ = True
        if not issubclass(type(event), (EventData, CloudEvent, Record)):
            raise TypeError(f"emit() takes a payload, a CloudEvent or a Record, not {type(event).__name__}")
        whole = self._make_envelope(event, **envelope)
        record = self._append(whole)
        name = record.position if isinstance(whole, Record) else describe_event(whole)
        waits = expect != "done" or virtual_loop() is not None
        error = await self._wait_until(
            lambda: self._is_committed(record) or self._is_decided(record, expect, waits=waits),
            f"not committed: {name}",
        )
        outcome = self._outcome(record)
        if expect is not None and outcome != expect:
            raise self._unexpected(f"{outcome}, not {expect}: {name}", record, error)
        if not waits and self._service.failures_of(record):
            raise self._unexpected(f"done, but not at the first attempt: {name}", record, error)
        self._reported.add(record[:3])
        if outcome != "stopped":
            self._service.unreported = error  # an error of another event, which a later call raises
        return record if isinstance(whole, Record) else whole

    async def drain(self) -> None:
        """Wait until the handlers have processed every event in their topics, also those that they published.

        Raises:
            EventNotHandledError: An error stopped them, an event became a dead letter or was skipped and no `emit` has
                reported it, or it took longer than `timeout`.
        """
        __tracebackhide__ = True
        error = await self._wait_until(self._is_idle, "not every event was processed")
        if error is not None:
            raise _stopped_error(error) from _cause(error)
        unreported = [
            (place, each) for (_, *place), each in self._service.failures.items() if tuple(place) not in self._reported
        ]
        bad = [(tuple(place), each) for place, each in unreported if each.outcome != "retried"]
        if bad:
            self._reported.update(place for place, _ in bad)
            lines = [f"{_describe_failure(each)}; {each.outcome}" for _, each in bad]
            raise EventNotHandledError("\n  ".join(lines)) from bad[0][1].cause

    def outcome(self, event: CloudEvent[Any] | Record) -> EventOutcome:
        """Find the outcome of an event that was emitted or published, by its last record of this tenant, source and id.

        Raises:
            LookupError: The broker does not have the event.
        """
        if isinstance(event, Record):
            return self._outcome(event)
        records = self.broker.records(event.type) if event.type in self.broker.topics else []
        found = [record for record in records if self._identity_of(record) == identity_of(event)]
        if not found:
            raise LookupError(f"{describe_event(event)}: not on the broker")
        return self._outcome(found[-1])

    def dead_letters(self) -> list[Letter]:
        """The dead letters of all subscribed groups, each with the failed `record`, and the error in its `facts`."""
        topics = dict.fromkeys(dead_letter_topic(definition.group_id) for definition in self._service.definitions)
        letters = [read_letter(record) for topic in topics for record in self.broker.records(topic)]
        return [letter for letter in letters if letter is not None]

    # Events that the code under test publishes

    @property
    def producer(self) -> EventProducer:
        """A started producer on the broker, for the code under test."""
        if self._producer is None:
            self._producer = EventProducer(settings=KafkaSettings(), transport=self.transport)
            self._producer.start()
        return self._producer

    def transport(self, _settings: KafkaSettings) -> ProducerTransport:
        """Make the client of your own producer: ``EventProducer(source="my-svc", transport=events.transport)``."""
        self._producers.append(LazyProducer(self.broker))
        return self._producers[-1]

    @overload
    def published(
        self, wanted: type[T], *, where: Callable[[CloudEvent[T]], bool] | None = None
    ) -> PublishedEvents[T]: ...
    @overload
    def published(
        self, wanted: str | None = None, *, where: Callable[[CloudEvent[Any]], bool] | None = None
    ) -> PublishedEvents[Any]: ...
    def published(
        self, wanted: type[Any] | str | None = None, *, where: Callable[[CloudEvent[Any]], bool] | None = None
    ) -> PublishedEvents[Any]:
        """Find the events that producers have published, by topic and offset, without those that the test emitted.

        Args:
            wanted: A payload class or a topic; all events if left out.
            where: Only events for which it returns True.
        """
        everything = self._published_events()
        topic = topic_of(wanted) if isinstance(wanted, type) else wanted
        if isinstance(wanted, type) and topic is None:
            raise TypeError(f"{wanted.__qualname__} declares no topic: name the topic, or another class")
        found = [event for event in everything if topic in (None, event.type) and (where is None or where(event))]
        return PublishedEvents(found, wanted=_kind_name(wanted, where), instead=everything)

    @overload
    def assert_published(
        self, wanted: type[T], *, where: Callable[[CloudEvent[T]], bool] | None = None
    ) -> CloudEvent[T]: ...
    @overload
    def assert_published(
        self, wanted: str, *, where: Callable[[CloudEvent[Any]], bool] | None = None
    ) -> CloudEvent[Any]: ...
    def assert_published(
        self, wanted: type[Any] | str, *, where: Callable[[CloudEvent[Any]], bool] | None = None
    ) -> CloudEvent[Any]:
        """Find the only published event of a kind.

        Raises:
            AssertionError: Not exactly one was published; the message lists all published events.
        """
        __tracebackhide__ = True
        found = self.published(wanted, where=where)
        if len(found) != 1:
            shown = list_events(self._published_events(), "\n  ")
            raise AssertionError(
                f"{len(found)} {_kind_name(wanted, where)} published, not 1; published were:\n  {shown}"
            )
        return found[0]

    # Ending

    def close(self) -> None:
        """Close the producers.

        Raises:
            ProducerError: The broker has refused events whose futures were not awaited.
        """
        lost = self._producer.unreported_failures if self._producer is not None else 0
        for producer in self._producers:
            producer.close()
        if lost:
            raise ProducerError(
                f"{lost} events were not acknowledged, and their futures were not awaited; the log names each one"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except ProducerError:
            if error is None:
                raise

    # Inside

    def _make_envelope(self, event: EventData | CloudEvent[Any] | Record, **envelope: Any) -> CloudEvent[Any] | Record:
        if isinstance(event, EventData):
            return Enveloper(type(event).__source__ or "test").build_event(event, **envelope)
        if envelope:
            raise TypeError(f"{next(iter(envelope))}= belongs to a payload, not to a {type(event).__name__}")
        return event

    def _append(self, event: CloudEvent[Any] | Record) -> Record:
        given = encode(event) if isinstance(event, CloudEvent) else event
        if not self._service.groups_of(given.topic):
            subscribed = ", ".join(self._service.labels) or "nothing"
            raise EventNotHandledError(f"no handler for {given.topic}; subscribed: {subscribed}")
        ensure_topics(self.broker, given.topic)
        record = self.broker.append(given.topic, given.value, key=given.key, headers=given.headers)
        self._emitted[record[:3]] = identity_of(event) if isinstance(event, CloudEvent) else None
        return record

    async def _wait_until(self, done: Callable[[], bool], otherwise: str) -> Exception | None:
        __tracebackhide__ = True
        async with self._service.running():
            try:
                return await self._service.wait_until(done, self.timeout)
            except TimeoutError as error:
                hint = "for handlers that wait, use @in_virtual_time or a larger events.timeout"
                failures = list(self._service.failures.values())
                lines = "".join(f"\n  {_describe_failure(failure)}" for failure in failures)
                cause = failures[-1].cause if failures else None
                raise EventNotHandledError(f"{error} have passed; {hint}\n  {otherwise}{lines}") from cause

    def _is_decided(self, record: Record, expect: EventOutcome | None, *, waits: bool) -> bool:
        """True if the outcome of a record is known before it is committed."""
        failures = self._service.failures_of(record)
        return bool(failures) and (not waits or (expect == "retried" and failures[-1].outcome == "retried"))

    def _is_idle(self) -> bool:
        return not any(producer.flush(0) for producer in self._producers) and self._service.is_idle()

    def _is_committed(self, record: Record) -> bool:
        return all(self._service.is_committed(group, record) for group in self._service.groups_of(record.topic))

    def _outcome(self, record: Record) -> EventOutcome:
        decided = {failure.outcome for failure in self._service.failures_of(record)}
        if not self._is_committed(record):
            return "stopped" if "stopped" in decided else "retried" if "retried" in decided else "pending"
        if any(letter.origin == record[:3] for letter in self.dead_letters()):
            return "dead-lettered"
        return "skipped" if "skipped" in decided or self._service.is_skipped(record) else "done"

    def _unexpected(self, problem: str, record: Record, error: Exception | None) -> EventNotHandledError:
        failures = self._service.failures_of(record)
        lines = [_describe_failure(failure) for failure in failures] or (
            [str(_stopped_error(error))] if error is not None else []
        )
        hint = [_RETRIED] if any(failure.outcome == "retried" for failure in failures) else []
        failure = EventNotHandledError("\n  ".join([*lines, problem, *hint]))
        failure.__cause__ = failures[0].cause if failures else error and _cause(error)
        return failure

    def _published_events(self) -> list[CloudEvent[Any]]:
        for producer in self._producers:
            producer.flush(0)
        dead = {dead_letter_topic(definition.group_id) for definition in self._service.definitions}
        topics = [topic for topic in self.broker.topics if topic not in dead]
        records = [record for topic in topics for record in self.broker.records(topic)]
        return [
            event
            for record in records
            if record[:3] not in self._emitted and (event := _decode_event(record)) is not None
        ]

    def _identity_of(self, record: Record) -> EventIdentity | None:
        return self._emitted[record[:3]] if record[:3] in self._emitted else identity_of(decode(record, sources="any"))


def _decode_event(record: Record) -> CloudEvent[Any] | None:
    """Decode an event; None for a record that is not an event."""
    try:
        return decode(record, sources="any")  # by whomever the code under test publishes it
    except DecodeError:
        return None


def _kind_name(wanted: type[Any] | str | None, where: object) -> str:
    name = wanted.__qualname__ if isinstance(wanted, type) else wanted or "event"
    return f"{name} that fits `where`" if where is not None else name


def _cause(error: Exception) -> BaseException:
    return error.error if isinstance(error, EventStoppedError) else error


def _describe_failure(failure: EventFailed) -> str:
    """Describe a failure: handler, error with its text, and attempt."""
    return f"{failure.handler}: {failure.error}: {_text(failure.cause)}; attempt {failure.attempt}"


def _stopped_error(error: Exception) -> EventNotHandledError:
    text = _text(error.error) if isinstance(error, EventStoppedError) else ""
    suffix = f": {text}" if text else ""
    return EventNotHandledError(f"the consumer stopped: {getattr(error, 'found', repr(error))}{suffix}")


def _text(error: BaseException | None) -> str:
    """The error's own text, which may quote a payload."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001 -- a foreign class may raise anything
        return f"(its __str__ raised {error_location(fault)})"
