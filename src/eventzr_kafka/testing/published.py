"""`PublishedEvents`: the events that a test finds on the broker, with a helpful text for a failed assertion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.safe_text import list_some, printable

__all__ = ["PublishedEvents", "describe_event"]

T = TypeVar("T")

_WIDTH = 160  # characters of a payload that are shown
_MOST = 10  # events that are shown


class PublishedEvents(list[CloudEvent[T]]):
    """A list of events; an empty one shows in a failed assertion the events that were published instead."""

    def __init__(self, found: Iterable[CloudEvent[T]], *, wanted: str, instead: Sequence[CloudEvent[Any]]) -> None:
        """Hold the events that were found.

        Args:
            wanted: The kind of events that the test looked for.
            instead: All published events.
        """
        super().__init__(found)
        self._wanted = wanted
        self._instead = instead

    def __repr__(self) -> str:
        if self:
            return f"[{', '.join(map(describe_event, self))}]"
        return f"[] (no {self._wanted} was published; published were: {list_events(self._instead, '; ')})"


def list_events(events: Sequence[CloudEvent[Any]], separator: str) -> str:
    """List the first events in words."""
    named = [describe_event(event) for event in events[:_MOST]]
    return list_some(named, most=_MOST, separator=separator, total=len(events)) or "nothing"


def describe_event(event: CloudEvent[Any]) -> str:
    """Describe an event by payload, tenant and id; for tests only, since no log may hold payloads."""
    data = printable(repr(event.data), limit=_WIDTH)
    kind = "" if isinstance(event.data, EventData) else f"{event.type} "
    return f"{kind}{data} of tenant {event.tenantid}, id {event.id}"
