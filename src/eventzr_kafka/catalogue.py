"""Topic → payload class, for topics that are named by a string.

A class is known once its module is imported. A package that declares events can name its module in the entry point
group ``eventzr_kafka.events``; it is imported the first time that a topic is looked up in vain.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import entry_points

from eventzr_kafka.event import EventData, declared_events

__all__ = ["lookup", "suggest"]

_GROUP = "eventzr_kafka.events"


@cache
def _load_installed_packages() -> None:
    for entry_point in entry_points(group=_GROUP):
        entry_point.load()


def lookup(topic: str) -> type[EventData] | None:
    """The payload class declared for a topic, or None."""
    if topic not in declared_events():
        _load_installed_packages()
    return declared_events().get(topic)


def suggest(topic: str) -> str | None:
    """The declared topic that this one looks like a misspelling of, or None."""
    close = difflib.get_close_matches(topic, declared_events(), n=1, cutoff=0.85)
    return close[0] if close else None
