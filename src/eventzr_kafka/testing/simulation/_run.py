"""One history: the plan's events arrive, its faults happen, and then everything must come to its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.handlers.decorators import ConsumerDefinition
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.inbox.memory_inbox import MemoryInbox
from eventzr_kafka.inbox.protocol import Inbox
from eventzr_kafka.kafka.record import Header, OutgoingRecord, Record
from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.testing._memory_cluster import DeliveryFault
from eventzr_kafka.testing.memory_broker import MemoryBroker
from eventzr_kafka.testing.simulation._clients import ConsumerLink
from eventzr_kafka.testing.simulation._clocks import SimulatedTime
from eventzr_kafka.testing.simulation._database import Database, SimulatedInbox, StoredRow
from eventzr_kafka.testing.simulation._handlers import Mischief
from eventzr_kafka.testing.simulation._history import Fact, History
from eventzr_kafka.testing.simulation._loop import Process, SimulationLoop, StuckError
from eventzr_kafka.testing.simulation._plan import CALM, Fault, HistoryPlan, PlannedEvent
from eventzr_kafka.testing.simulation._service import (
    HandlerFactory,
    Operator,
    RelayProcess,
    ServiceProcess,
    SimulatedProcess,
    World,
)

__all__ = ["Evidence", "Subject", "run_history"]

_PATIENCE = 60.0  # seconds after the calm within which everything must have come to its end
_LOOK = 0.1
# Headers that an event may bring along: none, one that is not text, and names that a dead letter adds itself.
_FOREIGN_HEADERS: Sequence[Sequence[Header]] = (
    (),
    (("x-shop", b"\xff\x00"), ("x-shop", None)),
    (("eventzr-dlq-headers", b"7"), ("eventzr-dlq-topic", b"elsewhere"), ("eventzr-dlq-note", b"replayed")),
)
_MOST_SERVICES = 4
_FAULTS: dict[str, DeliveryFault] = {
    "delivery fails": DeliveryFault(failure=DeliveryFailure("NOT_ENOUGH_REPLICAS", "simulated", unknown=False)),
    "delivery unknown": DeliveryFault(
        failure=DeliveryFailure("_MSG_TIMED_OUT", "simulated", unknown=True), arrives=True
    ),
    "delivery late": DeliveryFault(late=0.4),
    "delivery doubled": DeliveryFault(copies=2, reports=2),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """The service that is simulated.

    Attributes:
        payloads: Some for each route of each definition, made beforehand.
        topics: All that are created.
        inboxes: Of each group that has one.
        uses_outbox: True if relays run.
    """

    handlers: HandlerFactory
    definitions: Sequence[ConsumerDefinition]
    payloads: Sequence[Sequence[Any]]
    topics: Sequence[str]
    inboxes: Mapping[str, Inbox]
    uses_outbox: bool

    @property
    def options(self) -> Mapping[str, ConsumerOptions]:
        """By group."""
        return {definition.group_id: definition.options for definition in self.definitions}

    @property
    def policies(self) -> Mapping[tuple[str, str], RetryPolicy]:
        """By group and topic."""
        return {
            (definition.group_id, route.topic): route.retry or definition.options.retry
            for definition in self.definitions
            for route in definition.routes
        }

    @property
    def batched(self) -> set[tuple[str, str]]:
        """Groups and topics of batch handlers."""
        return {(each.group_id, route.topic) for each in self.definitions for route in each.routes if route.batch}

    def groups_with(self, kind: type) -> list[str]:
        """The groups that have an inbox of a kind."""
        return [group for group, inbox in self.inboxes.items() if isinstance(inbox, kind)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The checker's evidence: the facts, and the brokers' and the database's contents at the end.

    Attributes:
        consumed: The topics of each group.
        policies: The retry policy, by group and topic.
        batched: The groups and topics whose handlers take batches.
        inboxes: The groups that have an inbox in the database.
        remembering: Those that have one in memory.
        fetch: Records that a member gets at once, at most.
        problem: Why the history did not come to its end, or None.
    """

    facts: Sequence[Fact]
    logs: Mapping[str, Sequence[Record]]
    committed: Mapping[tuple[str, str, int], int]
    consumed: Mapping[str, Sequence[str]]
    options: Mapping[str, ConsumerOptions]
    policies: Mapping[tuple[str, str], RetryPolicy]
    batched: Collection[tuple[str, str]]
    inboxes: Sequence[str]
    remembering: Sequence[str]
    fetch: int
    rows: Sequence[StoredRow]
    settled: frozenset[int]
    problem: str | None
    steps: int


def run_history(loop: SimulationLoop, subject: Subject, plan: HistoryPlan, time: SimulatedTime) -> Evidence:
    """Run a plan on a loop that is used for nothing else meanwhile."""
    chance = random.Random(plan.seed)  # noqa: S311 -- to be repeated
    loop.begin(chance)
    time.begin(plan.seed)
    simulation = _Simulation(loop, subject, plan, chance, time)
    problem: str | None = None
    try:
        loop.run_until_complete(simulation.main())
    except StuckError as error:
        problem = str(error)
    except TimeoutError:
        problem = "it did not come to its end"
    evidence = simulation.evidence(problem)
    simulation.history.seal()
    loop.end()
    return evidence


class _Simulation:
    """The driver of one history; it lives in the network's process, which never crashes."""

    def __init__(
        self, loop: SimulationLoop, subject: Subject, plan: HistoryPlan, chance: random.Random, time: SimulatedTime
    ) -> None:
        self._loop = loop
        self._subject = subject
        self._plan = plan
        self._chance = chance
        self._broker = MemoryBroker(seed=chance, options=plan.setting.broker)
        self.history = History(self._broker)
        self._database = Database(self.history, chance)
        network = Process(loop, "network")
        self._world = World(
            loop,
            time,
            self._broker,
            self.history,
            self._database,
            Mischief(plan.faults, chance),
            network,
            subject.handlers,
            count(1),
            self._on_end,
        )
        self._processes: list[SimulatedProcess] = []
        self._names = count(1)
        self._ending = False
        self._routes = [route for definition in subject.definitions for route in definition.routes]
        self._moments: dict[str, list[int]] = {}

    async def main(self) -> None:
        """The whole history."""
        await self._world.network.spawn(self._main())

    async def _main(self) -> None:
        self._prepare()
        await asyncio.sleep(CALM)
        self._calm()
        await self._until(self._is_settled)
        self._ending = True
        for process in self._alive():
            process.stop()
        await self._until(lambda: not self._alive())

    def _prepare(self) -> None:
        self._broker.create_topics(*self._subject.topics, partitions=self._plan.setting.partitions)
        self.history.facts.clear()  # which other topics there are depends on what else is imported
        for event in self._plan.events:
            self._loop.call_later(event.at, self._arrive, event)
        for fault in self._plan.faults:
            self._plan_fault(fault)
        self.history.watch(self._moments, self._crash_at)
        for slot in range(self._plan.setting.services):
            self._start_service(slot)
        if self._subject.uses_outbox:
            self._start_relays()

    async def _until(self, done: Callable[[], bool]) -> None:
        deadline = self._loop.time() + _PATIENCE
        while not done():
            if self._loop.time() > deadline:
                raise TimeoutError
            await asyncio.sleep(_LOOK)

    def _alive(self) -> list[SimulatedProcess]:
        return [process for process in self._processes if not process.ended]

    # Processes

    def _start_service(self, slot: int) -> None:
        self._start(ServiceProcess(self._world, f"service {slot + 1}.{next(self._names)}", slot))

    def _start_relays(self) -> None:
        from eventzr_kafka.testing.simulation._relay import LeaseTable  # noqa: PLC0415 -- needs SQLAlchemy

        self._leases = LeaseTable()
        for number in range(self._plan.setting.relays):
            self._start_relay(100 + number)

    def _start_relay(self, slot: int) -> None:
        self._start(RelayProcess(self._world, f"relay {slot - 99}.{next(self._names)}", slot, self._leases))

    def _start_operator(self) -> None:
        self._start(Operator(self._world, f"operator {next(self._names)}", -1))

    def _start(self, process: SimulatedProcess) -> None:
        if self._ending:
            return
        self._processes.append(process)
        process.start()

    def _on_end(self, process: SimulatedProcess) -> None:
        if isinstance(process, Operator):
            if process.crashed:
                self._start_operator()
        else:
            start = self._start_service if isinstance(process, ServiceProcess) else self._start_relay
            self._loop.call_later(self._chance.uniform(0.02, 0.6), start, process.slot)

    # Events

    def _arrive(self, event: PlannedEvent) -> None:
        record = self._record(event)
        key = b"another tenant" if event.kind == "foreign" else record.key
        value = b"{" if event.kind == "unreadable" else record.value
        headers = [*record.headers, *_FOREIGN_HEADERS[event.number % len(_FOREIGN_HEADERS)]]
        for _ in range(2 if event.kind == "again" else 1):
            self._broker.append(record.topic, value, key=key, headers=headers)
        if (twin := event.twin()) is not None:
            self._arrive(twin)

    def _record(self, event: PlannedEvent) -> OutgoingRecord:
        at = event.route % len(self._routes)
        payloads = self._subject.payloads[at]
        return encode(
            CloudEvent(
                id=f"event-{event.number}",
                source=event.source,
                type=self._routes[at].topic,
                tenantid=event.tenant,
                subject=event.subject,
                data=payloads[event.number % len(payloads)],
            )
        )

    # Faults

    def _plan_fault(self, fault: Fault) -> None:
        if fault.kind == "crash at":
            self._moments.setdefault(fault.what, []).append(int(fault.amount))
        elif not fault.kind.startswith("handler"):
            self._loop.call_later(fault.at, self._befall, fault)

    def _crash_at(self, name: str) -> None:
        for each in self._alive():
            if each.process.name == name:
                each.process.crash_at = each.process.steps + 1 + int(self._chance.random() * 3)

    def _befall(self, fault: Fault) -> None:
        victims = [each for each in self._alive() if not isinstance(each, Operator)]
        victim = victims[fault.who % len(victims)] if victims else None
        if fault.kind in _FAULTS:
            self._broker.inject(_FAULTS[fault.kind], times=1 + fault.who)
        elif fault.kind == "join":
            self._join()
        elif fault.kind == "replay":
            self._start_operator()
        elif fault.kind == "brokers down":
            self._broker.stop()
            self._loop.call_later(fault.amount, self._broker.start)
        elif fault.kind == "database down":
            self._switch_database(up=False)
            self._loop.call_later(fault.amount, partial(self._switch_database, up=True))
        elif victim is not None:
            self._befall_process(fault, victim)

    def _befall_process(self, fault: Fault, victim: SimulatedProcess) -> None:
        if fault.kind == "crash":
            victim.process.crash_at = victim.process.steps + int(fault.amount)
        elif fault.kind == "stop":
            victim.stop()
        elif fault.kind == "isolate":
            members = list(victim.clients.members)
            self._isolate(members)
            self._loop.call_later(fault.amount, self._heal, members)

    def _join(self) -> None:
        slots = {process.slot for process in self._processes if isinstance(process, ServiceProcess)}
        if len(slots) < _MOST_SERVICES:
            self._start_service(len(slots))

    def _isolate(self, members: Sequence[ConsumerLink]) -> None:
        for member in members:
            self._broker.isolate(member.inner)

    def _heal(self, members: Sequence[ConsumerLink]) -> None:
        for member in members:
            self._broker.heal(member.inner)

    def _switch_database(self, *, up: bool) -> None:
        self._database.up = up
        self.history.note("database", "up" if up else "down")

    # The end

    def _calm(self) -> None:
        self.history.note("calm")
        self._world.mischief.calm()
        self.history.watch({}, _ignore)
        self._database.lossy = False
        self._broker._cluster.injections.clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        for process in self._alive():
            process.process.crash_at = -1
        for process in self._alive():
            if self._hangs(process):
                process.crash()

    def _hangs(self, process: SimulatedProcess) -> bool:
        """True if one of its handlers never ends, as planned: nothing but a restart helps then."""
        name = process.process.name
        return any(name == stuck for stuck in self._world.mischief.stuck)

    def _is_settled(self) -> bool:
        done = all(
            self._broker.lag(group, topic) == 0 for group, topics in self._consumed().items() for topic in topics
        )
        published = len(self._database.settled) == len(self._database.rows)
        return done and published and not any(isinstance(process, Operator) for process in self._alive())

    def _consumed(self) -> dict[str, list[str]]:
        return {
            definition.group_id: [route.topic for route in definition.routes]
            for definition in self._subject.definitions
        }

    def evidence(self, problem: str | None) -> Evidence:
        """Return the evidence for the checker."""
        groups = self._consumed()
        committed = {
            (group, topic, partition): offset
            for group, topics in groups.items()
            for topic in topics
            for partition, offset in self._broker.committed(group, topic).items()
        }
        return Evidence(
            facts=self.history.facts,
            logs={topic: self._broker.records(topic) for topic in self._broker.topics},
            committed=committed,
            consumed=groups,
            options=self._subject.options,
            policies=self._subject.policies,
            batched=self._subject.batched,
            inboxes=self._subject.groups_with(SimulatedInbox),
            remembering=self._subject.groups_with(MemoryInbox),
            fetch=self._plan.setting.broker.batch[1],
            rows=self._database.rows,
            settled=frozenset(self._database.settled),
            problem=problem,
            steps=self._loop.steps,
        )


def _ignore(_name: str) -> None:
    """Let no process crash any more."""
