"""What services declare: which topics they consume in which group, and which events they publish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eventzr_kafka.cli.loading import UsageError, find, import_module, load
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.event import declared_events, topic_of
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of, is_consumer
from eventzr_kafka.safe_text import printable

__all__ = ["Declared", "declared", "published_by", "published_topic"]


@dataclass(frozen=True, slots=True)
class Declared:
    """What the targets of a command name.

    Attributes:
        consumers: Each consumer once.
        events: Topics of event classes that were named, by themselves or with their module.
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


def declared(targets: Sequence[str]) -> Declared:
    """Import targets and gather what they declare; no consumer is constructed.

    Args:
        targets: ``module:Class`` of a consumer or of an event, or a module for every event that it declares.

    Raises:
        UsageError: There is no such thing, or it declares nothing.
        RoutingError: A consumer is declared wrongly.
    """
    found = [part for target in targets for part in _parts(target)]
    consumers = tuple(part for part in found if isinstance(part, ConsumerDefinition))
    return Declared(consumers, tuple(part for part in found if isinstance(part, str)))


def published_by(source: str) -> list[str]:
    """Topics of the events that are declared with this source; those of a service that publishes as it.

    Raises:
        UsageError: There are none.
    """
    catalogue.lookup("")  # has the installed packages declare their events
    sources = {kind.__source__ for kind in declared_events().values()}
    if source not in sources:
        known = ", ".join(sorted(filter(None, sources)))
        raise UsageError(f"no event is declared with source {printable(source)!r}; there are: {known}")
    return sorted(topic for topic, kind in declared_events().items() if kind.__source__ == source)


def published_topic(topic: str) -> str:
    """A topic that is declared.

    Raises:
        UsageError: It is not.
    """
    if catalogue.lookup(topic) is None:
        near = catalogue.suggest(topic)
        hint = f"did you mean {near!r}?" if near else "name the module that declares it as a target"
        raise UsageError(f"topic {printable(topic)!r} is declared nowhere; {hint}")
    return topic


def _parts(target: str) -> Iterator[ConsumerDefinition | str]:
    if ":" not in target:
        yield from _events_of(target)
        return
    found = find(target)
    topic = topic_of(found)
    yield topic if topic is not None else _definition(target, found)


def _events_of(module: str) -> list[str]:
    import_module(module)
    topics = [topic for topic, kind in declared_events().items() if _lies_in(kind, module)]
    if not topics:
        raise UsageError(f"module {module!r} declares no event; for a consumer write {module}:Class")
    return topics


def _lies_in(kind: type, module: str) -> bool:
    return f"{kind.__module__}.".startswith(f"{module}.")


def _definition(target: str, found: Any) -> ConsumerDefinition:
    if is_consumer(found):
        return definition_of(object.__new__(found))  # its constructor may need what only the service has
    return definition_of(load(target))
