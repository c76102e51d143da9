"""What topics should be there, what is there, and the steps between the two.

1. A topic that is not declared is left alone; nothing is ever deleted.
2. Partitions are only added. A topic that has more than declared is fine.
3. ``cleanup.policy`` is set when a topic is made and never changed: MSK Serverless refuses that.
4. Only the configs that MSK Serverless lets one set can be declared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "CONFIGS",
    "Change",
    "ConfigureTopic",
    "CreateTopic",
    "GrowTopic",
    "Plan",
    "TopicSpec",
    "TopicState",
    "is_done",
    "plan_topics",
]

_RETENTIONS = {"retention.ms", "retention.bytes"}
_FIXED_CONFIG = "cleanup.policy"
CONFIGS = frozenset(
    {
        _FIXED_CONFIG,
        "compression.type",
        "max.message.bytes",
        "message.timestamp.type",
        "retention.bytes",
        "retention.ms",
    }
)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be.

    Attributes:
        partitions: At least so many.
        configs: Only what is declared; the broker's defaults hold for the rest.
    """

    name: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is, with the values of `CONFIGS` that hold for it.

    Attributes:
        fault: Why the configs, or the partitions too, are not known; None if they are.
    """

    name: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict[str, str])
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """A topic is missing."""

    spec: TopicSpec

    @property
    def topic(self) -> str:
        """Its name."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class GrowTopic:
    """A topic needs more partitions; most keys move to another one."""

    topic: str
    now: int
    wanted: int


@dataclass(frozen=True, slots=True)
class ConfigureTopic:
    """A topic's config has another value than declared."""

    topic: str
    name: str
    now: str | None
    wanted: str


Change: TypeAlias = CreateTopic | GrowTopic | ConfigureTopic


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to what is declared.

    Attributes:
        notes: What differs and stays as it is, one line each.
        as_declared: How many topics need no change.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    as_declared: int

    @property
    def new_partitions(self) -> int:
        """How many leader partitions it adds."""
        return sum(_added(change) for change in self.changes)


def plan_topics(specs: Collection[TopicSpec], states: Mapping[str, TopicState]) -> Plan:
    """Compare what is declared with what is there."""
    changes = tuple(change for spec in specs for change in _changes(spec, states.get(spec.name)))
    notes = tuple(note for spec in specs if spec.name in states for note in _notes(spec, states[spec.name]))
    return Plan(changes, notes, len(specs) - len({change.topic for change in changes}))


def is_done(change: Change, state: TopicState) -> bool:
    """Whether a topic shows a change."""
    match change:
        case CreateTopic(spec):
            return state.partitions == spec.partitions
        case GrowTopic(_, _, wanted):
            return state.partitions == wanted
        case ConfigureTopic(_, name, _, wanted):
            return state.configs.get(name) == wanted


def _changes(spec: TopicSpec, state: TopicState | None) -> Iterator[Change]:
    if state is None:
        yield CreateTopic(spec)
        return
    if state.partitions < spec.partitions:
        yield GrowTopic(spec.name, state.partitions, spec.partitions)
    for name, wanted in spec.configs.items():
        now = state.configs.get(name)
        if name != _FIXED_CONFIG and now != wanted and not _deletes(name, now, wanted):
            yield ConfigureTopic(spec.name, name, now, wanted)


def _notes(spec: TopicSpec, state: TopicState) -> Iterator[str]:
    if state.partitions > spec.partitions:
        yield f"{spec.name} has {state.partitions} partitions, declared {spec.partitions}: none is ever taken away"
    wanted, now = spec.configs.get(_FIXED_CONFIG), state.configs.get(_FIXED_CONFIG)
    if wanted is not None and wanted != now:
        yield f"{spec.name} has {_FIXED_CONFIG}={now}, declared {wanted}: it can be set only when a topic is made"

    for name in _RETENTIONS & spec.configs.keys():
        now, declared = state.configs.get(name), spec.configs[name]
        if _deletes(name, now, declared):
            yield f"{spec.name} has {name}={now}, declared {declared}: less would delete events; do it by hand"


def _deletes(name: str, now: str | None, wanted: str) -> bool:
    """Whether a change of retention would have the broker delete what it keeps now; -1 keeps everything."""
    if name not in _RETENTIONS or now is None or wanted == "-1":
        return False
    return now == "-1" or _number(wanted) < _number(now)


def _number(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else 0


def _added(change: Change) -> int:
    if isinstance(change, CreateTopic):
        return change.spec.partitions
    return change.wanted - change.now if isinstance(change, GrowTopic) else 0
