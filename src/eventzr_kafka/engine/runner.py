"""`ConsumerRunner`: handlers in, a running service out."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

from eventzr_kafka.dead_letters.writer import DeadLetterWriter, compressing
from eventzr_kafka.engine.clients import Clients, RealClients
from eventzr_kafka.engine.group_consumer import GroupClients, GroupConsumer
from eventzr_kafka.engine.handler_threads import HandlerThreads
from eventzr_kafka.engine.runtime import SYSTEM_RUNTIME, Runtime
from eventzr_kafka.engine.watchdog import codes_of
from eventzr_kafka.errors import ConsumerStateError, RoutingError
from eventzr_kafka.handlers.binding import BoundRoute, bind
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of
from eventzr_kafka.handlers.deduplication import Deduplicator, InboxCleaner, make_deduplicator
from eventzr_kafka.hooks import ConsumerHooks, RunnerStopping, notify
from eventzr_kafka.lifecycle.asyncio_only import running_loop
from eventzr_kafka.lifecycle.shutdown import complete
from eventzr_kafka.lifecycle.signals import stopped_by_signals
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConsumerRunner"]

log = logging.getLogger("eventzr_kafka.consumer")


class ConsumerRunner:
    """Runs consumer objects until it is stopped or an event cannot be given an outcome.

    ``await ConsumerRunner(handler).run()`` is a whole service. Inside one that has its own loop::

        async with ConsumerRunner(handler) as runner:
            await runner.ready()
            ...                       # an event that stops the runner ends in runner.wait(), and in leaving this block

    Delivery is at least once, one event of a tenant at a time; handlers should bear a repetition.
    """

    def __init__(
        self,
        *handlers: object,
        settings: KafkaSettings | None = None,
        clients: Clients | None = None,
        hooks: ConsumerHooks | None = None,
        runtime: Runtime = SYSTEM_RUNTIME,
    ) -> None:
        """Check the handlers; nothing connects yet.

        Args:
            handlers: Objects of classes decorated with `@kafka_consumer`. Those of one group share a membership.
            settings: How to reach Kafka; from the environment if left out.
            clients: Makes the Kafka clients; in tests a `MemoryBroker`.
            hooks: Functions that are told what happens.
            runtime: Clock and tasks; for simulations.

        Raises:
            RoutingError: Not a consumer, or two handlers of one group take the same topic or differ in options.
        """
        if not handlers:
            raise ConsumerStateError("ConsumerRunner() has nothing to run: pass at least one handler object")
        self.settings = settings or KafkaSettings.from_env()
        self._members = _by_group(handlers)
        self._clients: Clients = clients or RealClients()
        self._hooks = hooks or ConsumerHooks()
        self._runtime = runtime
        self._groups: list[GroupConsumer] = []
        self._deduplicators: dict[int, Deduplicator] = {}  # by id of the handler object
        self._entered = asyncio.Event()
        self._stopped: asyncio.Event | None = None
        self._stop_asked = False
        self._error: Exception | None = None

    async def run(self, *, handle_signals: bool = True) -> None:
        """Consume until `stop`, SIGTERM or SIGINT; then drain, commit and leave the groups.

        A cancellation does the same, and is raised when that is done.

        Args:
            handle_signals: Whether SIGTERM and SIGINT stop it, and all else that runs so on this event loop; a second
                one interrupts at once.

        Raises:
            EventStoppedError: An event could not be given an outcome; it is not committed.
            TransportError: The client cannot go on.
        """
        running_loop("ConsumerRunner")
        gc.collect()
        gc.freeze()  # what is loaded by now stays: looking through it again and again costs a busy consumer a tenth
        with stopped_by_signals(self.stop) if handle_signals else nullcontext():
            async with self:
                await self.wait()

    async def ready(self) -> None:
        """Wait until every group has joined, or the runner has stopped.

        A group has joined when it is first told its partitions, which may be none while others have them all. It waits
        as long as none of the group's topics exists, and for a runner that is not started yet.
        """
        await self._entered.wait()
        if self._stopped is None:
            return
        ended: asyncio.Future[Any] = asyncio.ensure_future(self._stopped.wait())
        joined: asyncio.Future[Any] = asyncio.gather(*(group.ready.wait() for group in self._groups))
        try:
            await asyncio.wait({joined, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also where the caller gives up waiting
            joined.cancel()
            ended.cancel()

    async def wait(self) -> None:
        """Wait until the runner has stopped, for whatever reason, and all is committed.

        Raises:
            ConsumerError: What stopped it, if that was not `stop`.
        """
        if self._stopped is None:
            return
        await self._stopped.wait()
        await asyncio.shield(self._ending)  # a caller that gives up waiting does not break it off
        if self._error is not None:
            raise self._error

    def checkpoint(self) -> None:
        """Hand what is finished to the client now, rather than within half a second; it commits on its interval.

        To be called on the event loop.
        """
        if self._stopped is not None and not self._stopped.is_set():
            for group in self._groups:
                group.store()

    def stop(self) -> None:
        """Stop: begin nothing new, drain, commit, leave. Returns at once, `wait` and `run` when that is done.

        A runner that has not started yet will not start. To be called on the event loop; from another thread use
        ``loop.call_soon_threadsafe(runner.stop)``.
        """
        self._stop_asked = True
        if self._stopped is not None and not self._stopped.is_set():
            self._ending = asyncio.create_task(self._end())
            self._stopped.set()
            notify(self._hooks.on_runner_stopping, RunnerStopping(self._error))

    async def _end(self) -> None:
        """Leave the groups, whatever fails on the way; every step is bounded in time."""
        ends = await asyncio.gather(*(group.stop() for group in self._groups), return_exceptions=True)
        try:
            await self._dead_letters.close()
            await self._inbox_cleaner.stop()
        finally:
            self._watchdog.stop()
            self._pool.shutdown()
        for fault in ends:
            if fault is not None:
                raise fault

    @property
    def error(self) -> Exception | None:
        """What stopped the runner, or None; inside ``async with`` a service can make it part of its health."""
        return self._error

    @property
    def problems(self) -> list[str]:
        """Why something cannot go on at the moment, such as dead letters that cannot be written; empty if all is well.

        Nothing is lost meanwhile; a service makes it part of its readiness.
        """
        return [group.problem for group in self._groups if group.problem is not None]

    async def __aenter__(self) -> Self:
        if self._stopped is not None:
            raise ConsumerStateError("this ConsumerRunner has run already: make a new one")
        running_loop("ConsumerRunner")
        try:
            await self._start()
        except BaseException:
            await self._leave()  # of several groups one may have joined
            raise
        finally:
            self._entered.set()
        return self

    async def _start(self) -> None:
        if not self.settings.enabled:
            log.warning("Kafka is disabled (KAFKA_ENABLED): nothing is consumed")
            return
        if not self._stop_asked:
            await self._prepare_inboxes()
        if self._stop_asked:  # perhaps meanwhile
            log.info("stopped before it was started: nothing is consumed")
            return
        members = self._members.values()
        self._pool = HandlerThreads(sum(found[0][1].options.max_concurrency for found in members))
        self._dead_letters = DeadLetterWriter(
            lambda: self._clients.producer(self.settings),
            lambda: self._clients.producer(compressing(self.settings)),
        )
        groups = [self._group(group_id, self._pool) for group_id in self._members]
        self._watchdog = self._runtime.make_watchdog(codes_of(self._calls()))
        self._watchdog.start()
        self._inbox_cleaner = InboxCleaner(deduplicator.inbox for deduplicator in self._deduplicators.values())
        self._stopped = asyncio.Event()
        for group in groups:
            group.start()
            self._groups.append(group)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()
        if self._error is not None and error is None:
            raise self._error

    async def _leave(self) -> None:
        if self._stopped is not None:
            self.stop()
            await complete(self._ending)

    async def _prepare_inboxes(self) -> None:
        for members in self._members.values():
            for handler, definition in members:
                deduplicator = await make_deduplicator(handler, definition.inbox, self._hooks)
                if deduplicator is not None:
                    self._deduplicators[id(handler)] = deduplicator

    def _calls(self) -> Iterator[tuple[str, Any]]:
        for members in self._members.values():
            for handler, definition in members:
                yield from ((route.label, getattr(handler, route.method)) for route in definition.routes)

    def _group(self, group_id: str, pool: Executor) -> GroupConsumer:
        options = self._members[group_id][0][1].options
        clients = GroupClients(
            self._clients.consumer(group_id, options, self.settings),
            self._dead_letters,
            lambda: self._clients.log_reader(group_id, self.settings),
        )
        routes = {route.topic: route for route in self._bind_routes(group_id, pool)}
        return GroupConsumer(group_id, routes, options, clients, self._fail, self._hooks, runtime=self._runtime)

    def _bind_routes(self, group_id: str, pool: Executor) -> Iterator[BoundRoute]:
        for handler, definition in self._members[group_id]:
            yield from bind(handler, definition.routes, definition.options, pool, self._deduplicators.get(id(handler)))

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            log.error("%s", error)
        self.stop()


def _by_group(handlers: tuple[object, ...]) -> dict[str, list[tuple[object, ConsumerDefinition]]]:
    groups: dict[str, list[tuple[object, ConsumerDefinition]]] = {}
    for handler in handlers:
        definition = definition_of(handler)
        members = groups.setdefault(definition.group_id, [])
        _check_fit(handler, definition, members)
        members.append((handler, definition))
    return groups


def _check_fit(
    handler: object, definition: ConsumerDefinition, others: list[tuple[object, ConsumerDefinition]]
) -> None:
    name, group_id = type(handler).__qualname__, definition.group_id
    taken = {route.topic: route.label for _, other in others for route in other.routes}
    for route in definition.routes:
        if route.topic in taken:
            problem = (
                f"{route.topic!r} is handled by {taken[route.topic]} already: one method a topic in group {group_id!r}"
            )
            raise RoutingError(definition.location, route.label, problem)
    if others and others[0][1].options != definition.options:
        other = type(others[0][0]).__qualname__
        raise RoutingError(definition.location, name, f"its options differ from those of {other} in group {group_id!r}")
