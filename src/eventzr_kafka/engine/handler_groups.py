"""`HandlerGroup`: the handler objects of one consumer group, which share its membership."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventzr_kafka.errors import RoutingError
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of
from eventzr_kafka.handlers.options import ConsumerOptions

__all__ = ["HandlerGroup", "group_handlers"]

_Member: TypeAlias = tuple[object, ConsumerDefinition]


@dataclass(frozen=True, slots=True)
class HandlerGroup:
    """One consumer group.

    Attributes:
        options: Those of each of its handlers' classes.
        members: The handler objects, each with the definition of its class.
    """

    group_id: str
    options: ConsumerOptions
    members: list[_Member]

    def methods(self) -> Iterator[tuple[str, Any]]:
        """Yield each method that handles a topic, after its ``Class.method``."""
        for handler, definition in self.members:
            yield from ((route.label, getattr(handler, route.method)) for route in definition.routes)

    def add(self, handler: object, definition: ConsumerDefinition) -> None:
        """Add a handler object.

        Raises:
            RoutingError: Another one handles the same topic, or has other options.
        """
        labels = {route.topic: route.label for _, other in self.members for route in other.routes}
        for route in definition.routes:
            if route.topic in labels:
                problem = (
                    f"{route.topic!r} is handled by {labels[route.topic]} already: "
                    f"one method a topic in group {self.group_id!r}"
                )
                raise RoutingError(definition.location, route.label, problem)
        if definition.options != self.options:
            name, other = type(handler).__qualname__, type(self.members[0][0]).__qualname__
            problem = f"its options differ from those of {other} in group {self.group_id!r}"
            raise RoutingError(definition.location, name, problem)
        self.members.append((handler, definition))


def group_handlers(handlers: Iterable[object]) -> dict[str, HandlerGroup]:
    """Sort handler objects by their group.

    Raises:
        RoutingError: An object is not of a consumer class, or two of one group do not fit together.
    """
    groups: dict[str, HandlerGroup] = {}
    for handler in handlers:
        definition = definition_of(handler)
        group_id = definition.group_id
        group = groups.setdefault(group_id, HandlerGroup(group_id, definition.options, []))
        group.add(handler, definition)
    return groups
