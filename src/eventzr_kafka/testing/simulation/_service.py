"""The processes of a simulation: services with handlers, relays of an outbox, and an operator who replays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.dead_letters.journal import DeadLetterJournal
from eventzr_kafka.dead_letters.letter import dead_letter_topic, read_letter
from eventzr_kafka.dead_letters.order import sort_letters
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.replay import BeforeReplay, Replay, ReplayResult
from eventzr_kafka.errors import EventzrKafkaError
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.deduplication import make_deduplicator
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.record import Record, TopicPartition
from eventzr_kafka.producing.delivery import PublishResult
from eventzr_kafka.producing.many import Publishable, PublishManyError
from eventzr_kafka.producing.producer import EventProducer
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.testing.memory_broker import MemoryBroker
from eventzr_kafka.testing.simulation._clients import ProcessClients
from eventzr_kafka.testing.simulation._clocks import SimulatedTime
from eventzr_kafka.testing.simulation._database import Database, SimulatedInbox, SimulatedOutbox
from eventzr_kafka.testing.simulation._handlers import HandlerWatch, Mischief, SimulatedRunner
from eventzr_kafka.testing.simulation._history import History
from eventzr_kafka.testing.simulation._loop import Process, SimulationLoop

if TYPE_CHECKING:
    from eventzr_kafka.testing.simulation._relay import LeaseTable

__all__ = [
    "HandlerFactory",
    "Operator",
    "RelayProcess",
    "ServiceProcess",
    "SimulatedProcess",
    "SimulatedService",
    "World",
    "look_at",
]

_SOURCE = "simulated-svc"
_EXPECTED = (EventzrKafkaError, OSError)  # errors that may end a process without a fault of the SDK


class SimulatedService:
    """The resources that a process has for its handlers when it starts.

    Attributes:
        producer: Started, on the simulated broker.
        inbox: In the simulated database, for ``@kafka_consumer(inbox=lambda handler: handler.inbox)``.
        uses_outbox: True once `outbox` was asked for; then relays run beside the services.
    """

    def __init__(self, producer: EventProducer, database: Database, clock: Clock) -> None:
        self.producer = producer
        self._clock = clock
        self.inbox = SimulatedInbox(database)
        self.uses_outbox = False

    @property
    def outbox(self) -> SimulatedOutbox:
        """In the simulated database; publish with the session that the inbox hands out."""
        self.uses_outbox = True
        return SimulatedOutbox(_SOURCE, self._clock)


HandlerFactory: TypeAlias = Callable[[SimulatedService], Any]
"""Makes the handler objects of one process: one, or a list of them."""


@dataclass(slots=True, eq=False)
class World:
    """The parts of a history that all its processes share."""

    loop: SimulationLoop
    time: SimulatedTime
    broker: MemoryBroker
    history: History
    database: Database
    mischief: Mischief
    network: Process
    handlers: HandlerFactory
    runs: count[int]
    on_end: Callable[[SimulatedProcess], None]

    def started(self, service: SimulatedService) -> Sequence[object]:
        """The handlers of a process that starts."""
        return _make_handlers(self.handlers, service)


def look_at(handlers: HandlerFactory) -> tuple[Sequence[object], bool]:
    """Make handlers to see of which classes they are, and if they use the outbox."""
    broker = MemoryBroker()
    producer = EventProducer(source=_SOURCE, settings=KafkaSettings(), transport=broker.producer)
    database = Database(History(broker), Random(0))  # noqa: S311 -- nothing is drawn
    service = SimulatedService(producer, database, SYSTEM_CLOCK)
    return _make_handlers(handlers, service), service.uses_outbox


def _make_handlers(handlers: HandlerFactory, service: SimulatedService) -> Sequence[object]:
    made: Any = handlers(service)
    return made if isinstance(made, list | tuple) else [made]  # pyright: ignore[reportUnknownVariableType]


class _WatchedProducer(EventProducer):
    """Notes each event whose acknowledgement its publisher has received."""

    def __init__(self, clients: ProcessClients, clock: Clock) -> None:
        super().__init__(
            source=_SOURCE, settings=KafkaSettings(), queue_timeout=1.0, transport=clients.producer, clock=clock
        )
        self._clients = clients

    async def publish(self, event: Any, /, **keywords: Any) -> PublishResult:
        """Publish an event, and note it."""
        result = await super().publish(event, **keywords)
        self._note(result)
        return result

    async def publish_many(self, events: Iterable[Publishable], /, **keywords: Any) -> list[PublishResult]:
        """Publish events, and note those that are acknowledged."""
        try:
            results = await super().publish_many(events, **keywords)
        except PublishManyError as error:
            for one in error.results:
                if isinstance(one, PublishResult):
                    self._note(one)
            raise
        for result in results:
            self._note(result)
        return results

    def _note(self, result: PublishResult) -> None:
        self._clients.history.note("published", self._clients.process.name, result.topic, result.event_id)


class SimulatedProcess(ABC):
    """One process from its start to its end.

    Attributes:
        slot: The place that the next process takes when this one has ended.
    """

    def __init__(self, world: World, name: str, slot: int) -> None:
        self.slot = slot
        self.process = Process(world.loop, name)
        self.clients = ProcessClients(world.broker, world.history, world.network, self.process)
        self.world = world
        self.ended = False
        self.crashed = False
        self.process.on_crash = self.crash
        self.process.on_failure = self._fail

    def start(self) -> None:
        """Begin."""
        self.world.history.note("starts", self.process.name)
        self.process.spawn(self._live())

    @abstractmethod
    def stop(self) -> None:
        """Have it end in an orderly way."""

    def crash(self) -> None:
        """End it at once."""
        if self.ended:
            return
        self.crashed = True
        self.world.history.note("crashes", self.process.name)
        self.process.end()
        self.clients.crash()
        self._has_ended()

    async def _live(self) -> None:
        try:
            await self.main()
        except Exception as error:  # noqa: BLE001 -- a process that fails is started again
            self._fail(error)
        self.world.history.note("ends", self.process.name)
        self._has_ended()

    def _fail(self, error: Exception) -> None:
        self.world.history.note("fails", self.process.name, type(error).__name__, isinstance(error, _EXPECTED))

    @abstractmethod
    async def main(self) -> None:
        """Do the work of the process."""

    def _has_ended(self) -> None:
        self.ended = True
        self.world.network.post(self.world.on_end, self)

    def service(self) -> SimulatedService:
        """Make the resources of its handlers."""
        clock = self.world.time.clock
        producer = _WatchedProducer(self.clients, clock)
        producer.start()
        return SimulatedService(producer, self.world.database, clock)

    def watch(self) -> HandlerWatch:
        """Make the watch that notes the calls of its handlers."""
        return HandlerWatch(self.clients, self.world.history, self.world.mischief, self.world.runs)


class ServiceProcess(SimulatedProcess):
    """Handlers in a `ConsumerRunner`."""

    _runner: SimulatedRunner | None = None

    def stop(self) -> None:
        """Stop the runner."""
        if self._runner is not None:
            self.world.history.note("is to stop", self.process.name)
            self.process.post(self._runner.stop)

    async def main(self) -> None:
        """Run until stopped."""
        watch = self.watch()
        handlers = self.world.started(self.service())
        for handler in handlers:
            watch.prepare(handler)
        self._runner = SimulatedRunner(
            *handlers,
            watch=watch,
            clients=self.clients,
            settings=KafkaSettings(),
            runtime=self.world.time.runtime,
        )
        async with self._runner as runner:
            await runner.wait()


class RelayProcess(SimulatedProcess):
    """An `OutboxRelay`."""

    def __init__(self, world: World, name: str, slot: int, table: LeaseTable) -> None:
        from eventzr_kafka.testing.simulation._relay import SimulatedRelay  # noqa: PLC0415 -- needs SQLAlchemy

        super().__init__(world, name, slot)
        self._relay = SimulatedRelay(name, world.database, table, self.clients.producer, world.time.clock)

    def stop(self) -> None:
        """Stop the relay."""
        self.process.post(self._relay.stop)

    async def main(self) -> None:
        """Publish until stopped."""
        await self._relay.run()


class Operator(SimulatedProcess):
    """Replays the open dead letters of every group once; one that crashes is followed by another."""

    def stop(self) -> None:
        """It ends by itself."""

    async def main(self) -> None:
        """Replay, group by group."""
        watch = self.watch()
        for handler in self.world.started(self.service()):
            watch.prepare(handler)
            with suppress(*_EXPECTED):
                await self._replay(handler, watch)

    async def _replay(self, handler: object, watch: HandlerWatch) -> None:
        definition = definition_of(handler)
        options, group_id = definition.options, definition.group_id
        deduplicator = await make_deduplicator(handler, definition.inbox, ConsumerHooks())
        no_pool: Any = None
        bound = bind(handler, definition.routes, options, no_pool, deduplicator)
        routes = {route.topic: watch.around(group_id, options.ordering, route) for route in bound}
        writer = DeadLetterWriter(self.clients.producer)
        committed = self._committed(group_id, routes)
        journal, records = DeadLetterJournal(), self.world.broker.records(dead_letter_topic(group_id))
        journal.add(records)
        replay = Replay(
            group_id,
            routes,
            options,
            writer.write,
            self._tell,
            before=BeforeReplay(journal.replayed_events(), committed),
            runtime=self.world.time.runtime,
        )
        letters = _letters(records)
        self.world.history.note("replays", self.process.name, group_id, len(journal.open))
        entries = sort_letters(journal.open, options.ordering)
        await replay.run([(entry, letters[entry.letter.partition, entry.letter.offset]) for entry in entries])
        self.world.history.note("has replayed", self.process.name, group_id)
        await writer.close()

    def _committed(self, group_id: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Return the commits that the command reads before it reads the letters."""
        broker = self.world.broker
        return {
            TopicPartition(topic, partition): broker.committed(group_id, topic).get(partition, 0)
            for topic in topics
            for partition in {record.partition for record in broker.records(topic)}
        }

    def _tell(self, replayed: ReplayResult) -> None:
        origin = replayed.entry.letter.origin
        self.world.history.note("letter", self.process.name, replayed.outcome, *origin)


def _letters(records: Sequence[Record]) -> dict[tuple[int, int], Record]:
    found = {(record.partition, record.offset): read_letter(record) for record in records}
    return {place: letter.record for place, letter in found.items() if letter is not None}
