"""Events that a test finds on the broker, in words that help when they are not the ones it looked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from eventzr_kafka.events.event import CloudEvent, EventData
from eventzr_kafka.safe_text import printable

__all__ = ["PublishedEvents", "in_words"]

T = TypeVar("T")

_WIDTH = 160  # characters of a payload that are shown
_MOST = 10  # events that are shown


class PublishedEvents(list[CloudEvent[T]]):
    """A list of events; an empty one knows what was published instead, and shows it when an assertion fails."""

    def __init__(self, found: Iterable[CloudEvent[T]], *, wanted: str, instead: Sequence[CloudEvent[Any]]) -> None:
        """Take what was found.

        Args:
            wanted: What was looked for.
            instead: Everything that was published.
        """
        super().__init__(found)
        self._wanted = wanted
        self._instead = instead

    def __repr__(self) -> str:
        if self:
            return f"[{', '.join(map(in_words, self))}]"
        return f"[] (no {self._wanted} was published; published were: {listed(self._instead, '; ')})"


def listed(events: Sequence[CloudEvent[Any]], separator: str) -> str:
    """The first of some events in words."""
    more = [f"and {len(events) - _MOST} more"] if len(events) > _MOST else []
    return separator.join([*map(in_words, events[:_MOST]), *more]) or "nothing"


def in_words(event: CloudEvent[Any]) -> str:
    """Payload, tenant and id of an event; for tests alone, since no log may hold payloads."""
    data = printable(repr(event.data), limit=_WIDTH)
    kind = "" if isinstance(event.data, EventData) else f"{event.type} "
    return f"{kind}{data} of tenant {event.tenantid}, id {event.id}"
