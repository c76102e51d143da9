"""Handlers in a simulation: each call is noted, and may be made to fail, to wait, or never to end.

1. A wrapper around the whole call, an inbox included, notes the record: where it begins, finishes or breaks off.
2. A wrapper around the handler's own method notes the event's effect, and misbehaves as planned.
3. A call waits a little before and after the method, mostly, so that a crash finds it there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from itertools import count
from typing import Any

from eventzr_kafka.engine.handler_groups import HandlerGroup
from eventzr_kafka.engine.runner import ConsumerRunner
from eventzr_kafka.errors import BatchItemError, ConfigurationError, Reject, RetryLater
from eventzr_kafka.events.context import current_event, current_tenant
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.identity import identity_of
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.options import Ordering
from eventzr_kafka.handlers.signature import Route
from eventzr_kafka.hooks import ConsumerHooks, EventSkipped
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.testing.simulation._clients import ProcessClients
from eventzr_kafka.testing.simulation._history import History
from eventzr_kafka.testing.simulation._plan import Fault

__all__ = ["HandlerWatch", "Mischief", "SimulatedHandlerError", "SimulatedRunner"]

_SHORT = 0.03  # seconds


class SimulatedHandlerError(Exception):
    """A handler failed because the simulation wanted it to."""


class Mischief:
    """The misbehaviour that is planned, by event id; each time is used up once, whichever service it meets.

    Attributes:
        stuck: Names of the processes in which a handler never ends, as planned.
    """

    def __init__(self, faults: Sequence[Fault], chance: random.Random) -> None:
        self.chance = chance
        self.stuck: list[str] = []
        self._left: dict[str, list[Fault]] = {}
        for fault in faults:
            if fault.kind.startswith("handler"):
                times = 1 if fault.kind == "handler is slow" else int(fault.amount)
                self._left.setdefault(f"event-{fault.who}", []).extend([fault] * times)

    def take(self, event_id: str) -> Fault | None:
        """The next misbehaviour with an event."""
        left = self._left.get(event_id)
        return left.pop(0) if left else None

    def calm(self) -> None:
        """Let nothing misbehave any more."""
        self._left.clear()


class HandlerWatch:
    """Notes the calls of one process."""

    def __init__(self, clients: ProcessClients, history: History, mischief: Mischief, runs: count[int]) -> None:
        self._clients = clients
        self._history = history
        self._mischief = mischief
        self._runs = runs
        self._name = clients.process.name

    # The handler's own method

    def prepare(self, handler: object) -> None:
        """Have the methods of a handler object misbehave.

        Raises:
            ConfigurationError: Its class has `__slots__`.
        """
        definition = definition_of(handler)
        for route in definition.routes:
            method = getattr(handler, route.method)
            wrap = self._misbehaving if route.is_async else self._misbehaving_def
            try:
                setattr(handler, route.method, wrap(definition.group_id, route, method))
            except AttributeError:
                problem = f"{type(handler).__qualname__} has __slots__, so that its methods cannot be watched"
                raise ConfigurationError(problem) from None

    def _misbehaving(self, group_id: str, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any) -> None:
            self._note_in_hand(route, _events(route, args))
            for event in _events(route, args):
                fault = self._mischief.take(event.id)
                if fault is not None:
                    await self._wait(fault)
                    if (error := _error(fault)) is not None:
                        failed, args = _split(route, args, event, error)
                        await method(*args)
                        self._note_effects(group_id, _events(route, args))
                        raise BatchItemError(*failed) from error
            await method(*args)
            self._note_effects(group_id, _events(route, args))

        return call

    def _misbehaving_def(self, group_id: str, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> None:
            self._note_in_hand(route, _events(route, args))
            for event in _events(route, args):
                fault = self._mischief.take(event.id)
                if fault is not None and (error := _error(fault)) is not None:
                    failed, args = _split(route, args, event, error)
                    method(*args)
                    self._note_effects(group_id, _events(route, args))
                    raise BatchItemError(*failed) from error
            method(*args)
            self._note_effects(group_id, _events(route, args))

        return call

    async def _wait(self, fault: Fault) -> None:
        if fault.kind == "handler never ends":
            self._mischief.stuck.append(self._name)
            await asyncio.get_running_loop().create_future()
        elif fault.kind == "handler is slow":
            await asyncio.sleep(fault.amount)

    def note_skipped(self, fact: EventSkipped) -> None:
        """Note an event that the `when` of its handler does not want."""
        epoch = self._clients.epochs.get((fact.group_id, TopicPartition(fact.topic, fact.partition)), 0)
        self._history.note("skips", self._name, fact.group_id, epoch, fact.topic, fact.partition, fact.offset)

    def _note_in_hand(self, route: Route, events: Sequence[CloudEvent[Any]]) -> None:
        for event in events:
            if route.when is not None and not route.when(_plain(event)):
                self._history.note("gets unwanted", self._name, event.id)
        tenants = {event.tenantid for event in events}
        wanted = tenants.pop() if len(tenants) == 1 else None
        held = current_event()
        self._history.note(
            "in hand",
            self._name,
            (wanted, events[0].id if route.batch is None else None),
            (current_tenant(), held.id if held is not None else None),
        )

    def _note_effects(self, group_id: str, events: Sequence[CloudEvent[Any]]) -> None:
        for event in events:
            self._history.note("effect", self._name, group_id, event.tenantid, event.source, event.id)

    # The whole call

    def around(self, group_id: str, ordering: Ordering, route: BoundRoute) -> BoundRoute:
        """A route whose calls are noted."""

        async def call(given: Any, contexts: Any) -> None:
            pairs = [(given, contexts)] if route.batch is None else list(zip(given, contexts, strict=True))
            run = next(self._runs)
            for event, context in pairs:
                self._begin(group_id, ordering, run, event, context)
            try:
                await self._pause()
                await route.call(*((given, contexts) if route.context else (given,)))
                await self._pause()
            except BaseException as error:
                self._note_rest(run, pairs, error)
                self._history.note("breaks off", self._name, run, type(error).__name__)
                raise
            self._history.note("finishes", self._name, run)

        return replace(route, call=call, context=True)

    def _begin(
        self, group_id: str, ordering: Ordering, run: int, event: CloudEvent[Any], context: MessageContext
    ) -> None:
        record = context.record
        epoch = self._clients.epochs.get((group_id, TopicPartition(record.topic, record.partition)), 0)
        lanes: dict[Ordering, object] = {
            "tenant": record.key,
            "subject": (record.key, event.subject),
            "partition": (record.topic, record.partition),
            "none": record[:3],
        }
        self._history.note(
            "begins", self._name, group_id, epoch, *record[:3], run, lanes[ordering], *identity_of(event)
        )

    def _note_rest(self, run: int, pairs: Sequence[tuple[Any, MessageContext]], error: BaseException) -> None:
        """Of a batch that names what failed, the rest is done."""
        if isinstance(error, BatchItemError):
            failed = {id(event) for event in error.events}
            done = tuple(context.record[:3] for event, context in pairs if id(event) not in failed)
            if len(done) < len(pairs):
                self._history.note("finishes part", self._name, run, done)

    async def _pause(self) -> None:
        chance = self._mischief.chance
        if chance.random() < 0.7:
            await asyncio.sleep(chance.random() * _SHORT)


def _plain(event: CloudEvent[Any]) -> CloudEvent[Any]:
    """The event as its `when` sees it."""
    return event.replace(data=event.data.model_dump(mode="json", by_alias=True))


def _events(route: Route, args: tuple[Any, ...]) -> list[CloudEvent[Any]]:
    return [args[0]] if route.batch is None else args[0]


def _error(fault: Fault) -> Exception | None:
    if fault.kind == "handler raises":
        return SimulatedHandlerError()
    if fault.kind == "handler asks for later":
        return RetryLater(after=0.1)
    return Reject("the simulation wants it so") if fault.kind == "handler rejects" else None


def _split(
    route: Route, args: tuple[Any, ...], event: CloudEvent[Any], error: Exception
) -> tuple[list[CloudEvent[Any]], tuple[Any, ...]]:
    """Split a batch: an event and those of its tenant behind it, which fail, and the arguments without them.

    The error is raised as it is where nothing would be left.
    """
    events = _events(route, args)
    at = next(number for number, each in enumerate(events) if each is event)
    failed = [each for number, each in enumerate(events) if number >= at and each.tenantid == event.tenantid]
    if len(failed) == len(events):
        raise error
    gone = {id(each) for each in failed}
    kept = [number for number, each in enumerate(events) if id(each) not in gone]
    return failed, tuple([each[number] for number in kept] for each in args)


class SimulatedRunner(ConsumerRunner):
    """A `ConsumerRunner` whose handlers are watched."""

    def __init__(self, *handlers: object, watch: HandlerWatch, **options: Any) -> None:
        super().__init__(*handlers, hooks=ConsumerHooks(on_event_skipped=watch.note_skipped), **options)
        self._watch = watch

    def _bind_routes(self, group: HandlerGroup, pool: Executor) -> Iterator[BoundRoute]:
        for route in super()._bind_routes(group, pool):
            yield self._watch.around(group.group_id, group.options.ordering, route)
