"""The order of dead letters: which of them run one after another in a replay, as their events did in the consumer."""

from __future__ import annotations

from collections.abc import Hashable

from eventzr_kafka.dead_letter_journal import Entry
from eventzr_kafka.options import Ordering

__all__ = ["ordering_key"]


def ordering_key(entry: Entry, ordering: Ordering) -> Hashable:
    """What names the events among which a letter's event has its place; of its own with ``none``."""
    record, event = entry.letter.record, entry.event
    if ordering == "tenant":
        return record.key
    if ordering == "subject":
        return record.key, entry.letter.facts.lane
    if ordering == "partition":
        return entry.letter.facts.lane or f"{record.topic}[{record.partition}]"
    return event or entry.letter.identity  # two letters of one event do not run side by side
