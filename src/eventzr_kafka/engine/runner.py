"""`ConsumerRunner`: a running service from handler objects."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

from eventzr_kafka.dead_letters.writer import DeadLetterWriter, make_letter_writer
from eventzr_kafka.engine.clients import Clients, RealClients
from eventzr_kafka.engine.group_consumer import GroupClients, GroupConsumer
from eventzr_kafka.engine.handler_groups import HandlerGroup, group_handlers
from eventzr_kafka.engine.handler_threads import HandlerThreads
from eventzr_kafka.engine.runtime import SYSTEM_RUNTIME, Runtime
from eventzr_kafka.engine.started_groups import StartedGroups
from eventzr_kafka.engine.watchdog import codes_of
from eventzr_kafka.errors import ConsumerStateError
from eventzr_kafka.handlers.binding import BoundRoute, bind
from eventzr_kafka.handlers.deduplication import Deduplicator, InboxCleaner, make_deduplicator
from eventzr_kafka.hooks import ConsumerHooks, RunnerStopping, notify
from eventzr_kafka.lifecycle.asyncio_only import running_loop
from eventzr_kafka.lifecycle.shutdown import complete
from eventzr_kafka.lifecycle.signals import stopped_by_signals
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConsumerRunner"]

log = logging.getLogger("eventzr_kafka.consumer")


class ConsumerRunner:
    """Runs consumer objects until it is stopped, or until an event cannot be given an outcome.

    ``await ConsumerRunner(handler).run()`` is a whole service. In a service that has its own event loop::

        async with ConsumerRunner(handler) as runner:
            await runner.ready()
            ...                       # the error of an event that stops the runner is raised by runner.wait()

    An event is delivered at least once, and a tenant's events one at a time: a handler must bear a repeated event.
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
            settings: The connection to Kafka; from the environment if left out.
            clients: Makes the Kafka clients; in tests a `MemoryBroker`.
            hooks: Optional callbacks.
            runtime: The clock and the tasks; for simulations.

        Raises:
            RoutingError: An object is not of a consumer class, or two handlers of one group take the same topic or
                differ in their options.
        """
        if not handlers:
            raise ConsumerStateError("ConsumerRunner() has nothing to run: pass at least one handler object")
        self.settings = settings or KafkaSettings.from_env()
        self._handler_groups = group_handlers(handlers)
        self._clients: Clients = clients or RealClients()
        self._hooks = hooks or ConsumerHooks()
        self._runtime = runtime
        self._deduplicators: dict[int, Deduplicator] = {}  # by id of the handler object
        self._entered = asyncio.Event()
        self._started: StartedGroups | None = None
        self._stop_requested = False
        self._error: Exception | None = None

    async def run(self, *, handle_signals: bool = True) -> None:
        """Consume until `stop`, SIGTERM or SIGINT; then drain, commit and leave the groups.

        A cancellation stops it in the same way, and is raised afterwards.

        Args:
            handle_signals: True to let SIGTERM and SIGINT stop it, together with everything else on this event loop
                that handles signals; a second signal interrupts at once.

        Raises:
            EventStoppedError: An event could not be given an outcome; it is not committed.
            TransportError: The client cannot go on.
        """
        running_loop("ConsumerRunner")
        gc.collect()
        gc.freeze()  # collections skip what is loaded by now: looking through it costs a busy consumer a tenth
        with stopped_by_signals(self.stop) if handle_signals else nullcontext():
            async with self:
                await self.wait()

    async def ready(self) -> None:
        """Wait until every group has joined, or the runner has stopped.

        A group has joined with its first assignment, which may be empty: other members may own all partitions. `ready`
        waits as long as none of the group's topics exists, and for a runner that is not started yet.
        """
        await self._entered.wait()
        if self._started is None:
            return
        stopped: asyncio.Future[Any] = asyncio.ensure_future(self._started.stopped.wait())
        joined: asyncio.Future[Any] = asyncio.gather(*(group.ready.wait() for group in self._started.joined))
        try:
            await asyncio.wait({joined, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also if the caller stops waiting
            joined.cancel()
            stopped.cancel()

    async def wait(self) -> None:
        """Wait until the runner has stopped, for whatever reason, and has committed everything.

        Raises:
            ConsumerError: The error that has stopped it; nothing is raised after `stop`.
        """
        if self._started is None:
            return
        await self._started.end()
        if self._error is not None:
            raise self._error

    def checkpoint(self) -> None:
        """Give the client the committable offsets now, not within half a second; it commits them on its interval.

        To be called on the event loop.
        """
        if self._started is not None and not self._started.stopped.is_set():
            for group in self._started.joined:
                group.store()

    def stop(self) -> None:
        """Begin to stop: start no handler, drain, commit, leave. `wait` and `run` return when that is done.

        A runner that has not started yet will not start. To be called on the event loop; from another thread use
        ``loop.call_soon_threadsafe(runner.stop)``.
        """
        self._stop_requested = True
        if self._started is not None and not self._started.stopped.is_set():
            self._started.stop()
            notify(self._hooks.on_runner_stopping, RunnerStopping(self._error))

    @property
    def error(self) -> Exception | None:
        """The error that has stopped the runner, or None; a service can report it as its health."""
        return self._error

    @property
    def problems(self) -> list[str]:
        """Reasons why something cannot go on now, such as dead letters that cannot be written; empty if all is well.

        No event is lost meanwhile. A service can report them as its readiness. A source that is refused is one of them
        until ten minutes after its last event.
        """
        groups = self._started.joined if self._started is not None else []
        return [problem for group in groups for problem in group.problems]

    @property
    def skipped(self) -> dict[str, int]:
        """The number of events that each handler's `when` did not want since the start, by ``Class.method``."""
        groups = self._started.joined if self._started is not None else []
        return {label: count for group in groups for label, count in group.skipped.items()}

    async def __aenter__(self) -> Self:
        if self._started is not None:
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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()
        if self._error is not None and error is None:
            raise self._error

    async def _start(self) -> None:
        if not self.settings.enabled:
            log.warning("Kafka is disabled (KAFKA_ENABLED): nothing is consumed")
            return
        if not self._stop_requested:
            await self._prepare_inboxes()
        if self._stop_requested:  # perhaps meanwhile
            log.info("stopped before it was started: nothing is consumed")
            return
        groups = self._handler_groups.values()
        pool = HandlerThreads(sum(group.options.max_concurrency for group in groups))
        dead_letters = make_letter_writer(self._clients.producer, self.settings, clock=self._runtime.clock)
        self._started = StartedGroups(
            [self._make_consumer(group, pool, dead_letters) for group in groups],
            pool=pool,
            dead_letters=dead_letters,
            inbox_cleaner=InboxCleaner(deduplicator.inbox for deduplicator in self._deduplicators.values()),
            watchdog=self._runtime.make_watchdog(codes_of(method for group in groups for method in group.methods())),
        )
        self._started.join()

    async def _leave(self) -> None:
        if self._started is not None:
            self.stop()
            await complete(self._started.end())

    async def _prepare_inboxes(self) -> None:
        for group in self._handler_groups.values():
            for handler, definition in group.members:
                deduplicator = await make_deduplicator(handler, definition.inbox, self._hooks)
                if deduplicator is not None:
                    self._deduplicators[id(handler)] = deduplicator

    def _make_consumer(self, group: HandlerGroup, pool: Executor, dead_letters: DeadLetterWriter) -> GroupConsumer:
        clients = GroupClients(
            self._clients.consumer(group.group_id, group.options, self.settings),
            dead_letters,
            lambda: self._clients.log_reader(group.group_id, self.settings),
        )
        routes = {route.topic: route for route in self._bind_routes(group, pool)}
        return GroupConsumer(
            group.group_id, routes, group.options, clients, self._fail, self._hooks, runtime=self._runtime
        )

    def _bind_routes(self, group: HandlerGroup, pool: Executor) -> Iterator[BoundRoute]:
        for handler, definition in group.members:
            yield from bind(handler, definition.routes, group.options, pool, self._deduplicators.get(id(handler)))

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            log.error("%s", error)
        self.stop()
