"""Handlers that consume from a `MemoryBroker`: the engine of the fixture ``events``.

1. The handlers run on a `ConsumerRunner` of their own while at least one caller is inside `running`.
2. After an error has stopped the runner, the next call of `wait_until` makes a new one, as a restart of a service does.
3. `wait_until` looks again after a tenth of the time that it has waited: soon on a real clock, and seldom enough on a
   virtual one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count

from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.engine.runner import ConsumerRunner
from eventzr_kafka.errors import ConsumerStateError
from eventzr_kafka.events.event_data import declared_events
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of
from eventzr_kafka.hooks import ConsumerHooks, EventFailed, EventSkipped
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.testing.memory_broker import MemoryBroker
from eventzr_kafka.testing.virtual_time import VirtualTimeLoop

__all__ = ["MemoryService", "ensure_topics"]

_TURNS = 50  # looks without a pause, enough for a handler that does not wait
_PAUSE = 0.001  # seconds between two looks, at least
_VIRTUAL_TIMEOUT = 86_400.0


def ensure_topics(broker: MemoryBroker, *names: str) -> None:
    """Create the topics that do not exist."""
    broker.create_topics(*(name for name in dict.fromkeys(names) if name not in broker.topics))


class MemoryService:
    """The handlers, their runner and their failures; see the module's rules.

    Attributes:
        definitions: The definition of each handler.
        failures: The last failure of each record in each group.
        skipped: The group and the place of each event that the `when` of its handler does not want.
        unreported: The error that stopped the handlers, if no caller has received it.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._handlers: list[object] = []
        self._runner: ConsumerRunner | None = None
        self._stack = AsyncExitStack()
        self._users = 0
        self.definitions: list[ConsumerDefinition] = []
        self.failures: dict[tuple[str, str, int, int], EventFailed] = {}
        self.skipped: set[tuple[str, str, int, int]] = set()
        self.unreported: Exception | None = None

    def subscribe(self, *handlers: object) -> None:
        """Add handlers, with their topics and the dead-letter topics of their groups.

        Raises:
            ConsumerStateError: The others are running.
            RoutingError: They cannot run together.
        """
        if self._users:
            raise ConsumerStateError("subscribe handlers before others run")
        self._new_runner(*self._handlers, *handlers)
        self._handlers.extend(handlers)
        for definition in map(definition_of, handlers):
            self.definitions.append(definition)
            ensure_topics(self._broker, dead_letter_topic(definition.group_id))
            ensure_topics(self._broker, *(route.topic for route in definition.routes))

    @property
    def labels(self) -> list[str]:
        """``Class.method (topic)`` of every handler."""
        return [f"{route.label} ({route.topic})" for each in self.definitions for route in each.routes]

    def groups_of(self, topic: str) -> list[str]:
        """The groups that have a handler for a topic."""
        found = [each.group_id for each in self.definitions if any(route.topic == topic for route in each.routes)]
        return list(dict.fromkeys(found))

    def is_committed(self, group_id: str, record: Record) -> bool:
        """True if a group has committed an offset after this record's."""
        return self._broker.committed(group_id, record.topic).get(record.partition, 0) > record.offset

    def failures_of(self, record: Record) -> list[EventFailed]:
        """The last failure of a record in each group in which it failed."""
        found = [self.failures.get((group_id, *record[:3])) for group_id in self.groups_of(record.topic)]
        return [failure for failure in found if failure is not None]

    def is_skipped(self, record: Record) -> bool:
        """True if the `when` of a handler does not want the event."""
        return any((group_id, *record[:3]) in self.skipped for group_id in self.groups_of(record.topic))

    def is_idle(self) -> bool:
        """True if every record in the topics of the handlers is committed."""
        return not any(
            self._broker.lag(each.group_id, route.topic) for each in self.definitions for route in each.routes
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the handlers inside the block."""
        self._users += 1
        try:
            await self._start()
            yield
        finally:
            self._users -= 1
            if not self._users:
                await self._stop()

    async def wait_until(self, done: Callable[[], bool], timeout: float) -> Exception | None:
        """Wait, inside `running`, until `done` returns True or an error has stopped the handlers.

        Args:
            timeout: Seconds on a real clock; on a virtual one it is a day.

        Returns:
            The error that has stopped the handlers.

        Raises:
            TimeoutError: Neither happened in time; the handlers are given up.
        """
        runner, loop = await self._start(), asyncio.get_running_loop()
        started = loop.time()
        limit = _VIRTUAL_TIMEOUT if isinstance(loop, VirtualTimeLoop) else timeout
        for turn in count():
            runner.checkpoint()
            if runner.error is not None or done():
                break
            waited = loop.time() - started
            if waited > limit:
                self._give_up()
                raise TimeoutError(f"{limit:g} s")
            await asyncio.sleep(0 if turn < _TURNS else max(_PAUSE, waited / 10))
        error = runner.error
        if error is not None:
            await self._stop()
        self.unreported = None
        return error

    def _new_runner(self, *handlers: object) -> ConsumerRunner:
        return ConsumerRunner(
            *handlers,
            settings=KafkaSettings(),
            clients=self._broker,
            hooks=ConsumerHooks(on_event_failed=self._note_failure, on_event_skipped=self._note_skipped),
        )

    def _note_failure(self, fact: EventFailed) -> None:
        self.failures[fact.group_id, fact.topic, fact.partition, fact.offset] = fact

    def _note_skipped(self, fact: EventSkipped) -> None:
        self.skipped.add((fact.group_id, fact.topic, fact.partition, fact.offset))

    async def _start(self) -> ConsumerRunner:
        if self._runner is not None and self._runner.error is not None:
            await self._stop()
        if self._runner is None:
            ensure_topics(self._broker, *declared_events())
            self._runner = self._new_runner(*self._handlers)
            await self._stack.enter_async_context(self._runner)
        return self._runner

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        stack, self._stack = self._stack, AsyncExitStack()
        with suppress(Exception):  # the same as runner.error
            await stack.aclose()
        self.unreported = runner.error

    def _give_up(self) -> None:
        """Leave the handlers to finish by themselves: the caller has waited long enough."""
        if self._runner is not None:
            self._runner.stop()
        self._runner, self._stack = None, AsyncExitStack()
