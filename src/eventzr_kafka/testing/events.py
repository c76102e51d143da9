r"""`Events`: publish an event in a test and have real handlers process it, in milliseconds.

::

    async def test_a_new_listing_is_announced(events, capsys):
        events.subscribe(MarketplaceEventHandler())
        await events.emit(example(ListingCreated), tenant_id="t1")
        assert capsys.readouterr().out == "New listing in lane vendora: Premium Catering Service\n"

The handlers run in a real `ConsumerRunner` on a `MemoryBroker`; nothing between the broker and the handler is replaced.

They run on the test's own event loop, so that they can use what its fixtures made. Its clock is real, so `emit` does
not wait for retries there: the first failure fails the test. With `in_virtual_time` the same test runs on a clock that
jumps, and retries, back-offs and time-outs come to their end at once. That is a choice of the test, since a jumping
clock makes the time-outs of real sockets expire, too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar, overload

from eventzr_kafka.codec.decoder import decode
from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.dead_letters.letter import Letter, dead_letter_topic, read_letter
from eventzr_kafka.errors import DecodeError, EventStoppedError, ProducerError
from eventzr_kafka.events.event import CloudEvent, EventData, topic_of
from eventzr_kafka.events.identity import EventIdentity, identity_of
from eventzr_kafka.hooks import EventFailed
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.kafka.transport import ProducerTransport
from eventzr_kafka.producing.envelope import Enveloper
from eventzr_kafka.producing.producer import EventProducer
from eventzr_kafka.safe_text import error_location
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.testing._lazy_producer import LazyProducer
from eventzr_kafka.testing._memory_cluster import AT_ONCE, MemoryBrokerOptions
from eventzr_kafka.testing._memory_service import MemoryService, ensure_topics
from eventzr_kafka.testing.memory_broker import MemoryBroker
from eventzr_kafka.testing.published import PublishedEvents, in_words, listed
from eventzr_kafka.testing.virtual_time import virtual_loop

__all__ = ["EventNotHandledError", "EventOutcome", "Events"]

T = TypeVar("T", bound=EventData)
EventT = TypeVar("EventT", bound=CloudEvent[Any])
EventOutcome: TypeAlias = Literal["done", "skipped", "dead-lettered", "stopped", "retried", "pending"]
"""What became of an event, the worst in any group that handles it; ``pending``: nothing yet."""

_RETRIED = "it would be tried again; @in_virtual_time runs a test with its retries at once"


class EventNotHandledError(AssertionError):
    """An event did not end as the test expects; its cause is what the handler raised."""


class Events:
    """A broker in memory with handlers on it; the fixture ``events``, or a ``with`` block of your own.

    Attributes:
        broker: The `MemoryBroker` behind it, for trouble of every kind.
        timeout: Seconds that `emit` and `drain` wait at most; on a virtual clock they wait a day.
    """

    def __init__(self, *, seed: int = 0) -> None:
        """Make an empty broker.

        Args:
            seed: Makes the broker's choices.
        """
        self.broker = MemoryBroker(seed=seed, options=MemoryBrokerOptions(commit_interval=AT_ONCE))
        self.timeout = 5.0
        self._service = MemoryService(self.broker)
        self._emitted: dict[tuple[str, int, int], EventIdentity | None] = {}
        self._told: set[tuple[Any, ...]] = set()  # records whose end a test has heard of
        self._producers: list[LazyProducer] = []
        self._producer: EventProducer | None = None

    # Handlers

    def subscribe(self, *handlers: object) -> None:
        """Have these objects of `@kafka_consumer` classes handle what is emitted or published from the start on.

        Raises:
            RoutingError: One is no consumer, or two of one group take the same topic.
        """
        self._service.subscribe(*handlers)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Have the handlers run for the whole block; without it they run during each `emit` and `drain`.

        Raises:
            EventNotHandledError: They were stopped by an error that no `emit` has raised.
        """
        async with self._service.running():
            yield
        if self._service.untold is not None:
            raise _stopped(self._service.untold)

    @overload
    async def emit(
        self, event: T, /, *, tenant_id: str, expect: EventOutcome | None = "done", **envelope: Any
    ) -> CloudEvent[T]: ...
    @overload
    async def emit(self, event: EventT, /, *, expect: EventOutcome | None = "done") -> EventT: ...
    @overload
    async def emit(self, event: Record, /, *, expect: EventOutcome | None = "done") -> Record: ...
    async def emit(self, event: Any, /, *, expect: EventOutcome | None = "done", **envelope: Any) -> Any:
        """Publish an event, as another service would, and wait until it is processed and committed.

        Args:
            event: A payload, which gets its envelope here; a whole `CloudEvent`; or a `Record`, for what no producer
                of this SDK would write. Of a record the topic, key, value and headers count.
            tenant_id: Owner of the event; further arguments are those of `EventProducer.publish`.
            expect: What must become of it; None for whatever does. On a real clock ``done`` means at the first attempt.

        Returns:
            The event with its envelope, or the record with its offset.

        Raises:
            EventNotHandledError: It ended in another way, or not within `timeout`, or nobody handles its topic.
        """
        __tracebackhide__ = True
        if not issubclass(type(event), (EventData, CloudEvent, Record)):
            raise TypeError(f"emit() takes a payload, a CloudEvent or a Record, not {type(event).__name__}")
        whole = self._enveloped(event, **envelope)
        record = self._append(whole)
        name = record.position if isinstance(whole, Record) else in_words(whole)
        waits = expect != "done" or virtual_loop() is not None
        error = await self._wait_until(
            lambda: self._is_committed(record) or self._is_told(record, expect, waits=waits),
            f"not committed: {name}",
        )
        outcome = self._outcome(record)
        if expect is not None and outcome != expect:
            raise self._unexpected(f"{outcome}, not {expect}: {name}", record, error)
        if not waits and self._service.failures_of(record):
            raise self._unexpected(f"done, but not at the first attempt: {name}", record, error)
        self._told.add(record[:3])
        if outcome != "stopped":
            self._service.untold = error  # it is about another event, and still to be told
        return record if isinstance(whole, Record) else whole

    async def drain(self) -> None:
        """Wait until the handlers have processed everything in their topics, whoever published it.

        Raises:
            EventNotHandledError: An error stopped them, an event that no `emit` has told of became a dead letter or
                was skipped, or it took longer than `timeout`.
        """
        __tracebackhide__ = True
        error = await self._wait_until(self._is_idle, "not everything was processed")
        if error is not None:
            raise _stopped(error) from _cause(error)
        untold = [
            (place, each) for (_, *place), each in self._service.failures.items() if tuple(place) not in self._told
        ]
        bad = [(tuple(place), each) for place, each in untold if each.outcome != "retried"]
        if bad:
            self._told.update(place for place, _ in bad)
            told = [f"{_failed(each)}; {each.outcome}" for _, each in bad]
            raise EventNotHandledError("\n  ".join(told)) from bad[0][1].cause

    def outcome(self, event: CloudEvent[Any] | Record) -> EventOutcome:
        """What became of an event that was emitted or published; the last record of its tenant, source and id counts.

        Raises:
            LookupError: There is no such event.
        """
        if isinstance(event, Record):
            return self._outcome(event)
        records = self.broker.records(event.type) if event.type in self.broker.topics else []
        found = [record for record in records if self._identity_of(record) == identity_of(event)]
        if not found:
            raise LookupError(f"{in_words(event)}: is not on the broker")
        return self._outcome(found[-1])

    def dead_letters(self) -> list[Letter]:
        """The dead letters of all subscribed groups: `record` as it was, and in `facts` error, reason and attempts."""
        topics = dict.fromkeys(dead_letter_topic(definition.group_id) for definition in self._service.definitions)
        letters = [read_letter(record) for topic in topics for record in self.broker.records(topic)]
        return [letter for letter in letters if letter is not None]

    # What the code under test publishes

    @property
    def producer(self) -> EventProducer:
        """A started producer on the broker, for the code under test."""
        if self._producer is None:
            self._producer = EventProducer(settings=KafkaSettings(), transport=self.transport)
            self._producer.start()
        return self._producer

    def transport(self, _settings: KafkaSettings) -> ProducerTransport:
        """For a producer of your own: ``EventProducer(source="my-svc", transport=events.transport)``."""
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
        """Events that producers have published, by topic and offset, without those that the test emitted.

        Args:
            wanted: A payload class or a topic; left out, all.
            where: Which of them count.
        """
        everything = self._published_events()
        topic = topic_of(wanted) if isinstance(wanted, type) else wanted
        if isinstance(wanted, type) and topic is None:
            raise TypeError(f"{wanted.__qualname__} declares no topic: name the topic, or another class")
        found = [event for event in everything if topic in (None, event.type) and (where is None or where(event))]
        return PublishedEvents(found, wanted=_named(wanted, where), instead=everything)

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
        """The one event of that kind that was published.

        Raises:
            AssertionError: There is none, or more than one; it lists what was published.
        """
        __tracebackhide__ = True
        found = self.published(wanted, where=where)
        if len(found) != 1:
            shown = listed(self._published_events(), "\n  ")
            raise AssertionError(f"{len(found)} {_named(wanted, where)} published, not 1; published were:\n  {shown}")
        return found[0]

    # Ending

    def close(self) -> None:
        """Give the producers up.

        Raises:
            ProducerError: The broker has refused events that nobody awaited.
        """
        lost = self._producer.unreported_failures if self._producer is not None else 0
        for producer in self._producers:
            producer.close()
        if lost:
            raise ProducerError(f"{lost} events were not acknowledged, and nobody awaited them; the log names each one")

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

    def _enveloped(self, event: EventData | CloudEvent[Any] | Record, **envelope: Any) -> CloudEvent[Any] | Record:
        if isinstance(event, EventData):
            return Enveloper(type(event).__source__ or "test")(event, **envelope)
        if envelope:
            raise TypeError(f"{next(iter(envelope))}= belongs to a payload, not to a {type(event).__name__}")
        return event

    def _append(self, event: CloudEvent[Any] | Record) -> Record:
        given = encode(event) if isinstance(event, CloudEvent) else event
        if not self._service.groups_of(given.topic):
            subscribed = ", ".join(self._service.labels) or "nothing"
            raise EventNotHandledError(f"nobody handles {given.topic}; subscribed: {subscribed}")
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
                hint = "for handlers that wait there is @in_virtual_time, or a larger events.timeout"
                failures = list(self._service.failures.values())
                told = "".join(f"\n  {_failed(failure)}" for failure in failures)
                cause = failures[-1].cause if failures else None
                raise EventNotHandledError(f"{error} have passed; {hint}\n  {otherwise}{told}") from cause

    def _is_told(self, record: Record, expect: EventOutcome | None, *, waits: bool) -> bool:
        """Whether enough is known of a record before it is committed."""
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
        return "skipped" if "skipped" in decided else "done"

    def _unexpected(self, problem: str, record: Record, error: Exception | None) -> EventNotHandledError:
        failures = self._service.failures_of(record)
        told = [_failed(failure) for failure in failures] or ([str(_stopped(error))] if error is not None else [])
        hint = [_RETRIED] if any(failure.outcome == "retried" for failure in failures) else []
        failure = EventNotHandledError("\n  ".join([*told, problem, *hint]))
        failure.__cause__ = failures[0].cause if failures else error and _cause(error)
        return failure

    def _published_events(self) -> list[CloudEvent[Any]]:
        for producer in self._producers:
            producer.flush(0)
        dead = {dead_letter_topic(definition.group_id) for definition in self._service.definitions}
        topics = [topic for topic in self.broker.topics if topic not in dead]
        records = [record for topic in topics for record in self.broker.records(topic)]
        return [event for record in records if record[:3] not in self._emitted and (event := _read(record)) is not None]

    def _identity_of(self, record: Record) -> EventIdentity | None:
        return self._emitted[record[:3]] if record[:3] in self._emitted else identity_of(decode(record))


def _read(record: Record) -> CloudEvent[Any] | None:
    """The event, or None for what no producer of this SDK has written."""
    try:
        return decode(record)
    except DecodeError:
        return None


def _named(wanted: type[Any] | str | None, where: object) -> str:
    name = wanted.__qualname__ if isinstance(wanted, type) else wanted or "event"
    return f"{name} that fits `where`" if where is not None else name


def _cause(error: Exception) -> BaseException:
    return error.error if isinstance(error, EventStoppedError) else error


def _failed(failure: EventFailed) -> str:
    """A failure in a test's words: which handler, what it raised, with its text."""
    return f"{failure.handler}: {failure.error}: {_text(failure.cause)}; attempt {failure.attempt}"


def _stopped(error: Exception) -> EventNotHandledError:
    text = _text(error.error) if isinstance(error, EventStoppedError) else ""
    said = f": {text}" if text else ""
    return EventNotHandledError(f"the consumer stopped: {getattr(error, 'found', repr(error))}{said}")


def _text(error: BaseException | None) -> str:
    """The error's own words, which may quote a payload and may be missing."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001 -- of a foreign class
        return f"(its __str__ raised {error_location(fault)})"
