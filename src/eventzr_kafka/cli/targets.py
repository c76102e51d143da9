"""Targets of a command, as ``module:Class``: the topics, groups and events that they declare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventzr_kafka.cli.loading import find_target, import_module, load_consumer
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.event_data import declared_events, topic_of
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of, is_consumer
from eventzr_kafka.safe_text import printable

__all__ = ["Targets", "read_targets", "require_declared", "topics_of_source"]


@dataclass(frozen=True, slots=True)
class Targets:
    """The declarations that the targets of a command name.

    Attributes:
        consumers: Each consumer once.
        events: Topics of the event classes, named by themselves or with their module.
    """

    consumers: tuple[ConsumerDefinition, ...]
    events: tuple[str, ...]

    @property
    def consumed(self) -> list[str]:
        """Topics that a consumer handles, sorted."""
        return sorted({route.topic for consumer in self.consumers for route in consumer.routes})

    @property
    def groups(self) -> list[str]:
        """Consumer groups, sorted."""
        return sorted({consumer.group_id for consumer in self.consumers})

    def consumed_in(self, group: str) -> set[str]:
        """Topics that the consumers of a group handle."""
        return {route.topic for one in self.consumers if one.group_id == group for route in one.routes}

    @property
    def dead_letters(self) -> list[str]:
        """Dead-letter topics of the groups, sorted."""
        return [dead_letter_topic(group) for group in self.groups]

    @property
    def read_dead_letters(self) -> list[str]:
        """Dead-letter topics that a consumer reads to know its parked lanes, sorted."""
        parking = (one for one in self.consumers if one.options.after_dead_letter == "park_key")
        return sorted({dead_letter_topic(consumer.group_id) for consumer in parking})

    @property
    def topics(self) -> list[str]:
        """All topics but the dead-letter ones, sorted."""
        return sorted({*self.consumed, *self.events})


def read_targets(targets: Sequence[str]) -> Targets:
    """Import targets and collect their declarations; no consumer is constructed.

    Args:
        targets: ``module:Class`` of a consumer or of an event, or a module for every event that it declares.

    Raises:
        UsageError: A target does not exist, or declares nothing.
        RoutingError: A consumer is declared wrongly.
    """
    consumers: list[ConsumerDefinition] = []
    events: list[str] = []
    for target in targets:
        if ":" not in target:
            events += _events_of(target)
            continue
        found = find_target(target)
        topic = topic_of(found)
        if topic is not None:
            events.append(topic)
        elif is_consumer(found):
            # Not constructed: its constructor may need what only the running service has.
            consumers.append(definition_of(object.__new__(found)))
        else:
            consumers.append(definition_of(load_consumer(target)))
    return Targets(tuple(consumers), tuple(events))


def topics_of_source(source: str) -> list[str]:
    """Topics of the events that are declared with this source, which are those that its service publishes.

    Raises:
        UsageError: No event is declared with it.
    """
    declared = catalogue.known_events()
    topics = sorted(topic for topic, kind in declared.items() if kind.__source__ == source)
    if not topics:
        known = ", ".join(sorted({kind.__source__ for kind in declared.values() if kind.__source__}))
        raise UsageError(f"no event is declared with source {printable(source)!r}; known sources: {known}")
    return topics


def require_declared(topic: str) -> str:
    """Return a topic for which an event class is declared.

    Raises:
        UsageError: None is.
    """
    if catalogue.lookup(topic) is None:
        raise UsageError(catalogue.describe_undeclared(topic, "name the module that declares it as a target"))
    return topic


def _events_of(module: str) -> list[str]:
    import_module(module)
    topics = [topic for topic, kind in declared_events().items() if f"{kind.__module__}.".startswith(f"{module}.")]
    if not topics:
        raise UsageError(f"module {module!r} declares no event; for a consumer write {module}:Class")
    return topics
