"""The order of dead letters: which of them run one after another in a replay, as their events did in the consumer.

1. Letters of one ordering key are replayed in the order in which their events failed: the order of their partition of
   the dead-letter topic and, where the topic was given more partitions, that of their records. Clocks decide only
   between letters of which neither says anything.
2. A letter is not replayed while one before it is open and not selected, whatever the selection: it is left out.
3. For a discard that does not matter. It runs nothing, and what stays open keeps its order.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop
from typing import TypeAlias

from eventzr_kafka.dead_letters.journal import Entry, Selection
from eventzr_kafka.handlers.options import Ordering

__all__ = ["Chosen", "choose", "in_order", "ordering_key"]

_Origin: TypeAlias = tuple[str, int]  # topic and partition of a record


@dataclass(frozen=True, slots=True)
class Chosen:
    """The letters that a replay takes.

    Attributes:
        letters: In the order in which they are to run.
        left_out: Letters that were selected and have to wait, by the open letter before them that was not.
    """

    letters: Sequence[Entry]
    left_out: Sequence[tuple[Entry, int]] = ()


def choose(entries: Iterable[Entry], selection: Selection, ordering: Ordering) -> Chosen:
    """The letters that are selected, but for those with an open one before them that is not.

    Args:
        entries: Every open letter of the group.
    """
    heads: dict[Hashable, Entry] = {}
    behind: Counter[Entry] = Counter()
    letters: list[Entry] = []
    for entry in in_order(entries, ordering):
        key = ordering_key(entry, ordering)
        if not selection.means(entry):
            heads.setdefault(key, entry)
        elif key in heads:
            behind[heads[key]] += 1
        else:
            letters.append(entry)
    return Chosen(letters[: selection.limit], behind.most_common())


def ordering_key(entry: Entry, ordering: Ordering) -> Hashable:
    """What names the events among which a letter's event has its place; of its own with ``none``."""
    record, event = entry.letter.record, entry.event
    if ordering == "tenant":
        return record.key
    if ordering == "subject":
        return record.key, entry.letter.facts.ordering_key
    if ordering == "partition":
        return entry.letter.facts.ordering_key or f"{record.topic}[{record.partition}]"
    return event or entry.letter.identity  # two letters of one event do not run side by side


def in_order(entries: Iterable[Entry], ordering: Ordering) -> list[Entry]:
    """Letters in the order of rule 1; those of different keys stay as they are given."""
    given = list(entries)
    by_key: dict[Hashable, list[Entry]] = {}
    for entry in given:
        by_key.setdefault(ordering_key(entry, ordering), []).append(entry)
    rest = {key: iter(_merged(letters)) for key, letters in by_key.items()}
    return [next(rest[ordering_key(entry, ordering)]) for entry in given]


def _merged(letters: Sequence[Entry]) -> Sequence[Entry]:
    """Letters of one key: each partition in its order, and none before a letter of an earlier record."""
    queues: dict[int, deque[Entry]] = {}
    for entry in letters:
        queues.setdefault(entry.letter.partition, deque()).append(entry)
    if len(queues) == 1:
        return letters
    rank = {entry: number for number, entry in enumerate(letters)}
    records = _Records(letters)
    merged: list[Entry] = []
    while queues:
        fronts = [queue[0] for queue in queues.values()]
        free = [entry for entry in fronts if records.is_first(entry)] or fronts
        entry = min(free, key=rank.__getitem__)
        queue = queues[entry.letter.partition]
        records.take(queue.popleft())
        if not queue:
            del queues[entry.letter.partition]
        merged.append(entry)
    return merged


class _Records:
    """The records of letters that are not merged yet, by the partition that they come from."""

    def __init__(self, letters: Iterable[Entry]) -> None:
        self._offsets: defaultdict[_Origin, list[int]] = defaultdict(list)
        self._taken: Counter[tuple[_Origin, int]] = Counter()
        for entry in letters:
            topic, partition, offset = entry.letter.origin
            self._offsets[topic, partition].append(offset)
        for offsets in self._offsets.values():
            heapify(offsets)

    def is_first(self, entry: Entry) -> bool:
        """Whether no record before that of this letter is left."""
        topic, partition, offset = entry.letter.origin
        offsets = self._offsets[topic, partition]
        while self._taken[(topic, partition), offsets[0]]:
            self._taken[(topic, partition), heappop(offsets)] -= 1
        return offsets[0] == offset

    def take(self, entry: Entry) -> None:
        topic, partition, offset = entry.letter.origin
        self._taken[(topic, partition), offset] += 1
