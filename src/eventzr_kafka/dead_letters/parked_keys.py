"""The ordering keys with an open dead letter: with ``park_key`` their later events become dead letters too.

1. A key is parked while one of its dead letters is open, see `state`.
2. The dead-letter topic is the only memory. It is read from its beginning after each assignment, before a record of
   the new partitions is admitted, and followed from then on. Restarts and rebalances change nothing.
3. A dead letter counts from its acknowledgement, not only once it has been read back from the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from eventzr_kafka.dead_letters.letter import (
    DeadLetterFacts,
    Note,
    RecordIdentity,
    dead_letter_topic,
    read_letter,
    read_note,
)
from eventzr_kafka.dead_letters.state import LetterMark, Place, is_closed, mark_of
from eventzr_kafka.handlers.options import Ordering
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.kafka.transport import LogReader

__all__ = ["ParkedKeys"]

_CLOSE_TIMEOUT = 5.0  # seconds that a reader may take to close


class ParkedKeys:
    """The parked ordering keys of one group.

    Attributes:
        loading: True until the dead-letter topic has been read; no record may be admitted meanwhile.
    """

    def __init__(self, group_id: str, ordering: Ordering, make_reader: Callable[[], LogReader]) -> None:
        """Begin without a parked key; see `load`.

        Args:
            make_reader: Makes the reader of the dead-letter topic.
        """
        self.loading = False
        self._topic = dead_letter_topic(group_id)
        self._ordering: Ordering = ordering
        self._make_reader = make_reader
        self._reader: LogReader | None = None
        self._open: dict[Hashable, set[RecordIdentity]] = {}
        self._records: dict[RecordIdentity, _RecordLetters] = {}
        self._stale: list[LogReader] = []

    def reload(self) -> None:
        """Hold everything back until `load` has read the topic again: other members may have written to it."""
        self.loading = True
        if self._reader is not None:
            self._stale.append(self._reader)
            self._reader = None

    async def load(self, on_loaded: Callable[[], None], on_failure: Callable[[Exception], None]) -> None:
        """Read the topic once more from its beginning, and follow it.

        Args:
            on_loaded: Called once everything that the topic held has been read.
            on_failure: Called if the topic cannot be read on.
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

    def contains(self, tenant: bytes | None, ordering_key: str) -> bool:
        """True if events of this tenant and ordering key have to become dead letters.

        Args:
            tenant: Key of the record.
            ordering_key: As in `DeadLetterFacts`.
        """
        return bool(self._open) and self._key(tenant, ordering_key) in self._open

    def park(self, record: Record, facts: DeadLetterFacts, place: Place) -> None:
        """Park the key of a record whose dead letter the broker has acknowledged at a place of the topic."""
        identity = (record.topic, record.partition, record.offset, record.timestamp)
        mark = LetterMark(place, facts.position, facts.last_failure)
        self._add(identity, self._key(record.key, facts.ordering_key), mark)

    def _read(self, records: Sequence[Record]) -> None:
        for record in records:
            note = read_note(record)
            if note is not None:
                found = self._records.setdefault(note.identity, _RecordLetters())
                found.notes.append(note)
                self._update(note.identity, found)
            elif (letter := read_letter(record)) is not None:
                self._add(letter.identity, self._key(letter.record.key, letter.facts.ordering_key), mark_of(letter))

    def _add(self, identity: RecordIdentity, key: Hashable, mark: LetterMark) -> None:
        found = self._records.setdefault(identity, _RecordLetters())
        if not found.marks:
            found.key = key
        found.marks[mark.place] = mark
        self._update(identity, found)

    def _update(self, identity: RecordIdentity, found: _RecordLetters) -> None:
        """Park the key of a record with an open letter, and free a key whose last letter is closed."""
        if not all(is_closed(mark, found.notes) for mark in found.marks.values()):
            self._open.setdefault(found.key, set()).add(identity)
            return
        letters = self._open.get(found.key)
        if letters is not None:
            letters.discard(identity)
            if not letters:
                del self._open[found.key]

    def _key(self, tenant: bytes | None, ordering_key: str) -> Hashable:
        if self._ordering == "tenant":
            return tenant
        return ordering_key if self._ordering == "partition" else (tenant, ordering_key)


@dataclass(slots=True)
class _RecordLetters:
    """The letters and notes of one record, and the ordering key of its first letter."""

    key: Hashable = None
    marks: dict[Place, LetterMark] = field(default_factory=dict[Place, LetterMark])
    notes: list[Note] = field(default_factory=list[Note])
