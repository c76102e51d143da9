"""Compares declared topics with existing ones, and plans the changes.

1. A topic that is not declared stays as it is; nothing is ever deleted.
2. Partitions are only added. A topic may have more partitions than declared.
3. ``cleanup.policy`` is set when a topic is created and never changed: MSK Serverless refuses to change it.
4. Only the configs that MSK Serverless supports can be declared.
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
    """A declared topic.

    Attributes:
        partitions: The least number of partitions.
        configs: The declared configs; the broker's defaults hold for all others.
    """

    name: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class TopicState:
    """An existing topic, with its values of `CONFIGS`.

    Attributes:
        fault: The reason why the configs, or also the partitions, are not known; None if they are.
    """

    name: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict[str, str])
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Create a missing topic."""

    spec: TopicSpec

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class GrowTopic:
    """Add partitions to a topic; most keys move to another partition."""

    topic: str
    now: int
    wanted: int


@dataclass(frozen=True, slots=True)
class ConfigureTopic:
    """Set a config of a topic to the declared value."""

    topic: str
    name: str
    now: str | None
    wanted: str


Change: TypeAlias = CreateTopic | GrowTopic | ConfigureTopic


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that make the topics as declared.

    Attributes:
        notes: Differences that stay as they are, one line each.
        as_declared: The number of topics that need no change.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    as_declared: int

    @property
    def new_partitions(self) -> int:
        """The number of leader partitions that the plan adds."""
        return sum(_added_partitions(change) for change in self.changes)


def plan_topics(specs: Collection[TopicSpec], states: Mapping[str, TopicState]) -> Plan:
    """Compare declared topics with existing ones."""
    changes = tuple(change for spec in specs for change in _changes(spec, states.get(spec.name)))
    notes = tuple(note for spec in specs if spec.name in states for note in _notes(spec, states[spec.name]))
    return Plan(changes, notes, len(specs) - len({change.topic for change in changes}))


def is_done(change: Change, state: TopicState) -> bool:
    """Return True if a topic has the state that a change leads to."""
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
        if name != _FIXED_CONFIG and now != wanted and not _deletes_events(name, now, wanted):
            yield ConfigureTopic(spec.name, name, now, wanted)


def _notes(spec: TopicSpec, state: TopicState) -> Iterator[str]:
    if state.partitions > spec.partitions:
        yield f"{spec.name} has {state.partitions} partitions, declared {spec.partitions}: partitions are never removed"
    wanted, now = spec.configs.get(_FIXED_CONFIG), state.configs.get(_FIXED_CONFIG)
    if wanted is not None and wanted != now:
        yield f"{spec.name} has {_FIXED_CONFIG}={now}, declared {wanted}: it can be set only when a topic is created"

    for name in _RETENTIONS & spec.configs.keys():
        now, declared = state.configs.get(name), spec.configs[name]
        if _deletes_events(name, now, declared):
            yield f"{spec.name} has {name}={now}, declared {declared}: a lower value deletes events; change it by hand"


def _deletes_events(name: str, now: str | None, wanted: str) -> bool:
    """Return True if a change of retention makes the broker delete events that it keeps now; -1 keeps everything."""
    if name not in _RETENTIONS or now is None or wanted == "-1":
        return False
    return now == "-1" or _number(wanted) < _number(now)


def _number(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else 0


def _added_partitions(change: Change) -> int:
    if isinstance(change, CreateTopic):
        return change.spec.partitions
    return change.wanted - change.now if isinstance(change, GrowTopic) else 0
