"""Which lanes have an open dead letter, so that what follows in them goes the same way (``park_lane``).

1. A lane is parked while one of its letters is open, see dead_letter_state.
2. The dead-letter topic itself says so. It is read from its beginning after each assignment, before any record of the
   new partitions is admitted, and followed from then on: restarts and rebalances change nothing.
3. A letter counts from its acknowledgement, not only when it comes back from the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Identity, Note, dead_letter_topic, read_letter, read_note
from eventzr_kafka.dead_letters.state import Mark, Place, is_closed, mark_of
from eventzr_kafka.handlers.options import Ordering
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.kafka.transport import LogReader

__all__ = ["Parking"]

_CLOSE_TIMEOUT = 5.0  # seconds that a reader may take to close


class Parking:
    """The parked lanes of one group."""

    def __init__(self, group_id: str, ordering: Ordering, make_reader: Callable[[], LogReader]) -> None:
        """Begin without knowing any; see `load`.

        Args:
            make_reader: Makes what reads the dead-letter topic.
        """
        self.loading = False
        self._topic = dead_letter_topic(group_id)
        self._ordering: Ordering = ordering
        self._make_reader = make_reader
        self._reader: LogReader | None = None
        self._open: dict[Hashable, set[Identity]] = {}
        self._records: dict[Identity, _Known] = {}
        self._stale: list[LogReader] = []

    def reload(self) -> None:
        """What is known may have become old: hold everything back until `load` has read the topic again."""
        self.loading = True
        if self._reader is not None:
            self._stale.append(self._reader)
            self._reader = None

    async def load(self, on_loaded: Callable[[], None], on_failure: Callable[[Exception], None]) -> None:
        """Read the topic once more from its beginning, and follow it.

        Args:
            on_loaded: Called when everything that was there has been read.
        """
        self.reload()
        await self.close()
        reader = self._reader = self._make_reader()

        def loaded() -> None:
            if reader is self._reader:
                self.loading = False
                on_loaded()

        reader.start(self._topic, self._read, loaded, on_failure)

    async def close(self) -> None:
        """Stop following the topic."""
        if self._reader is not None:
            self._stale.append(self._reader)
            self._reader = None
        while self._stale:
            await self._stale.pop().close(_CLOSE_TIMEOUT)

    def holds(self, key: bytes | None, lane: str) -> bool:
        """Whether the lane of a tenant is parked."""
        return bool(self._open) and self._name(key, lane) in self._open

    def park(self, record: Record, facts: DeadLetterFacts, place: Place) -> None:
        """A dead letter of this record has been acknowledged, at a place in the topic."""
        identity = (record.topic, record.partition, record.offset, record.timestamp)
        self._add(identity, self._name(record.key, facts.lane), Mark(place, facts.position, facts.last_failure))

    def _read(self, records: Sequence[Record]) -> None:
        for record in records:
            note = read_note(record)
            if note is not None:
                known = self._records.setdefault(note.identity, _Known())
                known.notes.append(note)
                self._judge(note.identity, known)
            elif (letter := read_letter(record)) is not None:
                self._add(letter.identity, self._name(letter.record.key, letter.facts.lane), mark_of(letter))

    def _add(self, identity: Identity, name: Hashable, mark: Mark) -> None:
        known = self._records.setdefault(identity, _Known())
        if not known.marks:
            known.name = name
        known.marks[mark.place] = mark
        self._judge(identity, known)

    def _judge(self, identity: Identity, known: _Known) -> None:
        """Take note of whether a record has an open letter."""
        if not all(is_closed(mark, known.notes) for mark in known.marks.values()):
            self._open.setdefault(known.name, set()).add(identity)
            return
        letters = self._open.get(known.name)
        if letters is not None:
            letters.discard(identity)
            if not letters:
                del self._open[known.name]

    def _name(self, key: bytes | None, lane: str) -> Hashable:
        if self._ordering == "tenant":
            return key
        return lane if self._ordering == "partition" else (key, lane)


@dataclass(slots=True)
class _Known:
    """The letters and notes of one record, and the lane of the first letter."""

    name: Hashable = None
    marks: dict[Place, Mark] = field(default_factory=dict[Place, Mark])
    notes: list[Note] = field(default_factory=list[Note])
