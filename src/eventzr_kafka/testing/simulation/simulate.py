"""`simulate`: a service's handlers through thousands of histories of crashes, each decided by its seed alone.

::

    simulate(lambda service: Ledger(service.producer), seed=1, histories=1_000)

The handlers run in real `ConsumerRunner` objects on a `MemoryBroker`, with a virtual clock. Services crash between any
steps, join and leave; brokers and the database go down and come back; acknowledgements are late or doubled; handlers
raise, wait, and never end. Then everything calms down, and what must hold of every history is checked.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.errors import ConfigurationError
from eventzr_kafka.events.event_data import EventData, declared_events
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of
from eventzr_kafka.handlers.deduplication import make_inbox
from eventzr_kafka.handlers.signature import Route
from eventzr_kafka.testing.factories import event_factory
from eventzr_kafka.testing.simulation._checker import check
from eventzr_kafka.testing.simulation._clocks import SimulatedTime
from eventzr_kafka.testing.simulation._loop import SimulationLoop
from eventzr_kafka.testing.simulation._plan import HistoryPlan, draw
from eventzr_kafka.testing.simulation._run import Evidence, Subject, run_history
from eventzr_kafka.testing.simulation._service import HandlerFactory, look_at
from eventzr_kafka.testing.simulation._shrink import shrink
from eventzr_kafka.testing.simulation._tracking import Violation
from eventzr_kafka.testing.simulation._words import history_in_words, plan_in_words

__all__ = ["SimulationFailedError", "SimulationReport", "history_of", "simulate"]

_PAYLOADS = 4  # of each topic


@dataclass(slots=True)
class SimulationReport:
    """The numbers of a simulation.

    Attributes:
        coverage: How often a crash found a process in each state.
        digest: Of all histories, fact by fact; the same for the same seed, whatever the process.
    """

    histories: int = 0
    steps: int = 0
    facts: int = 0
    coverage: Counter[str] = field(default_factory=Counter[str])
    digest: str = ""

    def add(self, other: SimulationReport) -> None:
        """Count what another one has counted."""
        self.histories += other.histories
        self.steps += other.steps
        self.facts += other.facts
        self.coverage.update(other.coverage)
        self.digest = _digest(self.digest, other.digest)


class SimulationFailedError(AssertionError):
    """An invariant does not hold.

    Attributes:
        seed: Of the history: ``simulate(handlers, seed=error.seed, histories=1)`` finds it again.
        rule: The invariant, in few words.
        history: The shortened history, in words.
    """

    def __init__(self, seed: int, rule: str, detail: str, history: Sequence[str]) -> None:
        self.seed = seed
        self.rule = rule
        self.detail = detail
        self.history = history
        again = f"to see it again: simulate(handlers, seed={seed}, histories=1)"
        super().__init__("\n".join([f"{rule}: {detail}", again, *history, f"▲ {rule}: {detail}"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return SimulationFailedError, (self.seed, self.rule, self.detail, self.history)


def simulate(
    handlers: HandlerFactory, *, seed: int = 0, histories: int = 1_000, processes: int = 1
) -> SimulationReport:
    """Run handlers through histories, and check each of them.

    Args:
        handlers: Makes the handler objects of a process that starts, one or a list, from a `SimulatedService`. Their
            classes must not have `__slots__`.
        seed: Of the first history; the next one has the next number.
        histories: The number of histories.
        processes: Operating-system processes to share them; with more than one, `handlers` is a function or a class at
            the top of its module.

    Raises:
        SimulationFailedError: In one of them an invariant does not hold; it was shortened.
    """
    if processes == 1:
        return _simulate(handlers, range(seed, seed + histories))
    share = -(-histories // (4 * processes))
    ends = seed + histories
    parts = [range(first, min(first + share, ends)) for first in range(seed, ends, share)]
    report = SimulationReport()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in pool.map(partial(_simulate, handlers), parts):
            report.add(part)
    return report


def history_of(handlers: HandlerFactory, seed: int) -> str:
    """One history in words; it need not fail."""
    with _prepared(handlers) as run:
        plan = draw(seed)
        evidence = run(plan)
    return "\n".join(
        [*plan_in_words(plan), *history_in_words(evidence.facts, until=len(evidence.facts), most=len(evidence.facts))]
    )


def _simulate(handlers: HandlerFactory, seeds: Iterable[int]) -> SimulationReport:
    report = SimulationReport()
    with _prepared(handlers) as run:
        for seed in seeds:
            plan = draw(seed)
            evidence = run(plan)
            verdict = check(evidence)
            if verdict.violation is not None:
                raise _failed(plan, verdict.violation, run)
            report.add(_report(evidence, verdict.coverage))
    return report


def _report(evidence: Evidence, coverage: Counter[str]) -> SimulationReport:
    digest = _digest(repr(evidence.facts))
    return SimulationReport(1, evidence.steps, len(evidence.facts), coverage, digest)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _failed(plan: HistoryPlan, violation: Violation, run: Callable[[HistoryPlan], Evidence]) -> SimulationFailedError:
    short, found = shrink(plan, violation, lambda candidate: check(run(candidate)).violation)
    history = [*plan_in_words(short), *history_in_words(run(short).facts, until=found.at)]
    return SimulationFailedError(plan.seed, found.rule, found.detail, history)


@contextmanager
def _prepared(handlers: HandlerFactory) -> Generator[Callable[[HistoryPlan], Evidence]]:
    """Make what every history needs once: a loop, payloads, clocks. Logs and the collector are silent meanwhile."""
    subject = _subject(handlers)
    loop = SimulationLoop()
    enabled, silent, drawn = gc.isenabled(), logging.root.manager.disable, random.getstate()
    gc.disable()
    gc.freeze()  # what there is by now needs no looking through
    logging.disable(logging.CRITICAL)
    try:
        yield partial(run_history, loop, subject, time=SimulatedTime(loop))
    finally:
        random.setstate(drawn)
        logging.disable(silent)
        gc.unfreeze()
        if enabled:
            gc.enable()
        loop.close()


def _subject(handlers: HandlerFactory) -> Subject:
    objects, uses_outbox = look_at(handlers)
    definitions = [definition_of(handler) for handler in objects]
    pairs = zip(definitions, objects, strict=True)
    inboxes = {each.group_id: make_inbox(handler, each.inbox) for each, handler in pairs if each.inbox is not None}
    routes = [route for definition in definitions for route in definition.routes]
    return Subject(
        handlers,
        definitions,
        [_payloads(route) for route in routes],
        _topics(definitions),
        inboxes,
        uses_outbox=uses_outbox,
    )


def _topics(definitions: Sequence[ConsumerDefinition]) -> list[str]:
    handled = [route.topic for definition in definitions for route in definition.routes]
    dead = [dead_letter_topic(definition.group_id) for definition in definitions]
    return list(dict.fromkeys([*handled, *dead, *declared_events()]))


def _payloads(route: Route) -> list[Any]:
    if not (isinstance(route.data_type, type) and issubclass(route.data_type, EventData)):
        raise ConfigurationError(
            f"{route.label}: a simulation needs a payload class, to make events of {route.topic!r}"
        )
    return list(event_factory(route.data_type, seed=1).batch(_PAYLOADS))
