"""`HistoryPlan`: the events and faults of one history; drawn from a seed, and small enough to be shortened.

1. The plan holds what can be left out one by one: events and faults. Delays and turns come from its seed.
2. Trouble ends at `CALM`. From then on nothing fails, and everything has to come to its end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from eventzr_kafka.testing._memory_cluster import MemoryBrokerOptions

__all__ = ["CALM", "Fault", "FaultKind", "HistoryPlan", "PlannedEvent", "Setting", "draw"]

CALM = 1.8  # seconds after which nothing fails any more
_EVENTS_UNTIL, _FAULTS_UNTIL = 0.9, 1.6
_TENANTS = ("amber", "birch", "coral", "dune")
_SUBJECTS = ("one", "two")

EventKind: TypeAlias = Literal["valid", "unreadable", "foreign", "again", "other source", "other tenant"]
_KINDS: Sequence[EventKind] = get_args(EventKind)
FaultKind: TypeAlias = Literal[
    "crash",  # after so many of its steps
    "crash at",  # when it does something for the nth time
    "stop",
    "join",
    "isolate",
    "brokers down",
    "database down",
    "delivery fails",
    "delivery unknown",
    "delivery late",
    "delivery doubled",
    "handler raises",
    "handler asks for later",
    "handler rejects",
    "handler is slow",
    "handler never ends",
    "replay",
]


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event that arrives.

    Attributes:
        number: Names it, also when others are left out.
        route: Number of the handlers' topic; counted on from 0, round and round.
        kind: ``again`` publishes the event once more; ``other source`` and ``other tenant`` have another event with
            its id follow.
    """

    number: int
    at: float
    tenant: str
    subject: str
    route: int
    kind: EventKind = "valid"
    source: str = "simulation"

    def twin(self) -> PlannedEvent | None:
        """The other event with its id, if there is one."""
        if self.kind == "other source":
            return replace(self, kind="valid", source="another")
        if self.kind == "other tenant":
            return replace(self, kind="valid", tenant=_TENANTS[(_TENANTS.index(self.tenant) + 1) % len(_TENANTS)])
        return None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        who: Number of the service, or of the event whose handler it is.
        amount: Seconds, steps or attempts, as the kind wants it.
        what: For ``crash at``: what it does.
    """

    kind: FaultKind
    at: float
    who: int = 0
    amount: float = 0.0
    what: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """The setting with which a history begins."""

    services: int
    relays: int
    partitions: int
    broker: MemoryBrokerOptions


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """One history to be."""

    seed: int
    setting: Setting
    events: Sequence[PlannedEvent]
    faults: Sequence[Fault]


def draw(seed: int) -> HistoryPlan:
    """Draw the plan of a seed."""
    chance = random.Random(seed)  # noqa: S311 -- to be repeated
    events = _draw_events(chance)
    setting = _draw_setting(chance)
    return HistoryPlan(seed, setting, events, _draw_faults(chance, setting, events))


def _draw_setting(chance: random.Random) -> Setting:
    slow = chance.random() < 0.7
    options = MemoryBrokerOptions(
        batch=(1, chance.choice((2, 6, 50))),
        fetch_delay=(0, 0.05),
        append_delay=(0, 0.05 if slow else 0.0),
        acknowledgement_delay=(0, chance.choice((0.05, 0.3)) if slow else 0.0),
        rebalance_delay=(0, 0.2),
        commit_interval=(0.1, 0.4),
        session_timeout=0.6,
        lost_delay=(0, 0.3),
        delivery_timeout=1.0,
        queue_size=chance.choice((1, 2, 100, 100)),
    )
    return Setting(chance.choice((1, 2, 2, 3)), chance.choice((1, 2)), chance.choice((1, 2, 3)), options)


def _draw_events(chance: random.Random) -> list[PlannedEvent]:
    tenants = _TENANTS[: chance.randint(1, len(_TENANTS))]
    burst = chance.random() < 0.4
    times = sorted(chance.uniform(0, 0.05 if burst else _EVENTS_UNTIL) for _ in range(chance.randint(3, 12)))
    return [
        PlannedEvent(
            number,
            round(at, 3),
            chance.choice(tenants),
            chance.choice(_SUBJECTS),
            chance.randrange(60),
            chance.choices(_KINDS, (84, 4, 2, 4, 3, 3))[0],
        )
        for number, at in enumerate(times)
    ]


_COMMON: Sequence[FaultKind] = ("crash", "crash", "crash at", "crash at", "stop", "join", "isolate", "brokers down")
_RARE: Sequence[FaultKind] = (
    "database down",
    "delivery fails",
    "delivery unknown",
    "delivery late",
    "delivery doubled",
    "replay",
)
_HANDLERS: Sequence[FaultKind] = (
    "handler raises",
    "handler raises",
    "handler asks for later",
    "handler rejects",
    "handler rejects",
    "handler is slow",
    "handler never ends",
)
_MOMENTS = ("begins", "effect", "hears of", "gives up", "reads rows", "database commit", "stores", "breaks off")


def _draw_faults(chance: random.Random, setting: Setting, events: Sequence[PlannedEvent]) -> list[Fault]:
    common: list[FaultKind] = [chance.choice(_COMMON) for _ in range(chance.randint(0, 3))]
    rare: list[FaultKind] = [chance.choice(_RARE) for _ in range(chance.randint(0, 2))]
    handlers: list[FaultKind] = [chance.choice(_HANDLERS) for _ in range(chance.randint(0, 3))]
    faults = [_fault(chance, kind, setting.services + setting.relays) for kind in (*common, *rare)]
    faults += [_misbehaviour(chance, kind, chance.choice(events).number) for kind in handlers]
    if any(fault.kind == "replay" for fault in faults) and chance.random() < 0.5:
        faults.append(Fault("crash at", 0.0, chance.randrange(3), chance.randint(1, 2), "replays"))
    return sorted(faults, key=lambda fault: fault.at)


def _fault(chance: random.Random, kind: FaultKind, processes: int) -> Fault:
    at = round(chance.uniform(0, _FAULTS_UNTIL), 3)
    who = chance.randrange(processes)
    if kind == "crash":
        return Fault(kind, at, who, chance.randint(1, 60))
    if kind == "crash at":
        return Fault(kind, 0.0, who, chance.randint(1, 4), chance.choice(_MOMENTS))
    if kind == "isolate":
        return Fault(kind, at, who, chance.choice((0.2, 0.5, 0.9, 1.6)))
    if kind == "replay":
        return Fault(kind, round(chance.uniform(0.7, _FAULTS_UNTIL), 3))
    return Fault(kind, at, who, round(chance.uniform(0.05, 1.2), 3))


def _misbehaviour(chance: random.Random, kind: FaultKind, event: int) -> Fault:
    if kind == "handler is slow":
        return Fault(kind, 0.0, event, round(chance.uniform(0.1, 1.5), 3))
    times = 1 if kind in ("handler rejects", "handler never ends") else chance.choice((1, 1, 2, 9))
    return Fault(kind, 0.0, event, times)
