"""The order of dead letters: letters of one ordering key are replayed one after another, as their events ran.

1. Letters of one ordering key are replayed in the order in which their events failed. That is the order of their
   partition of the dead-letter topic. Where the topic was given more partitions, it is also the order of their records.
   Clocks decide only between letters that neither of the two orders.
2. A letter is not replayed while an earlier one of its key is open and not selected: it is left out.
3. A discard leaves nothing out. It runs nothing, and the open letters keep their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop
from typing import TypeAlias

from eventzr_kafka.dead_letters.journal import Entry, Selection
from eventzr_kafka.handlers.options import Ordering

__all__ = ["LetterChoice", "choose_letters", "ordering_key", "sort_letters"]

_Origin: TypeAlias = tuple[str, int]  # topic and partition of a record


@dataclass(frozen=True, slots=True)
class LetterChoice:
    """The letters that a replay takes, in order, and those that it leaves out.

    Attributes:
        letters: In the order in which they are to run.
        left_out: An open letter that was not selected, and how many selected ones have to wait for it.
    """

    letters: Sequence[Entry]
    left_out: Sequence[tuple[Entry, int]] = ()


def choose_letters(entries: Iterable[Entry], selection: Selection, ordering: Ordering) -> LetterChoice:
    """Choose the selected letters, except those behind an open letter of their key that is not selected.

    Args:
        entries: Every open letter of the group.
    """
    heads: dict[Hashable, Entry] = {}
    behind: Counter[Entry] = Counter()
    letters: list[Entry] = []
    for entry in sort_letters(entries, ordering):
        key = ordering_key(entry, ordering)
        if not selection.matches(entry):
            heads.setdefault(key, entry)
        elif key in heads:
            behind[heads[key]] += 1
        else:
            letters.append(entry)
    return LetterChoice(letters[: selection.limit], behind.most_common())


def ordering_key(entry: Entry, ordering: Ordering) -> Hashable:
    """Key of the letters that are replayed one after another with this one; the event itself with ``none``."""
    record, event = entry.letter.record, entry.event
    if ordering == "tenant":
        return record.key
    if ordering == "subject":
        return record.key, entry.letter.facts.ordering_key
    if ordering == "partition":
        return entry.letter.facts.ordering_key or f"{record.topic}[{record.partition}]"
    return event or entry.letter.identity  # two letters of one event do not run side by side


def sort_letters(entries: Iterable[Entry], ordering: Ordering) -> list[Entry]:
    """Sort letters by rule 1; those of different keys keep their order."""
    given = list(entries)
    by_key: dict[Hashable, list[Entry]] = {}
    for entry in given:
        by_key.setdefault(ordering_key(entry, ordering), []).append(entry)
    rest = {key: iter(_merge_partitions(letters)) for key, letters in by_key.items()}
    return [next(rest[ordering_key(entry, ordering)]) for entry in given]


def _merge_partitions(letters: Sequence[Entry]) -> Sequence[Entry]:
    """Order the letters of one key: each partition keeps its order, and so do the records of each partition."""
    queues: dict[int, deque[Entry]] = {}
    for entry in letters:
        queues.setdefault(entry.letter.partition, deque()).append(entry)
    if len(queues) == 1:
        return letters
    rank = {entry: number for number, entry in enumerate(letters)}
    records = _WaitingRecords(letters)
    merged: list[Entry] = []
    while queues:
        fronts = [queue[0] for queue in queues.values()]
        free = [entry for entry in fronts if records.is_first(entry)] or fronts
        entry = min(free, key=rank.__getitem__)
        queue = queues[entry.letter.partition]
        records.remove(queue.popleft())
        if not queue:
            del queues[entry.letter.partition]
        merged.append(entry)
    return merged


class _WaitingRecords:
    """The records of letters that are not merged yet, by the partition of the record."""

    def __init__(self, letters: Iterable[Entry]) -> None:
        self._offsets: defaultdict[_Origin, list[int]] = defaultdict(list)
        self._taken: Counter[tuple[_Origin, int]] = Counter()
        for entry in letters:
            topic, partition, offset = entry.letter.origin
            self._offsets[topic, partition].append(offset)
        for offsets in self._offsets.values():
            heapify(offsets)

    def is_first(self, entry: Entry) -> bool:
        """True if all earlier records of the partition have been merged."""
        topic, partition, offset = entry.letter.origin
        offsets = self._offsets[topic, partition]
        while self._taken[(topic, partition), offsets[0]]:
            self._taken[(topic, partition), heappop(offsets)] -= 1
        return offsets[0] == offset

    def remove(self, entry: Entry) -> None:
        topic, partition, offset = entry.letter.origin
        self._taken[(topic, partition), offset] += 1
