"""Which lanes have an open dead letter, so that what follows in them goes the same way (``park_lane``).

1. A lane is parked while one of its letters is open: no later note says that it was replayed or discarded.
2. The dead-letter topic itself says so. It is read from its beginning after each assignment, before any record of the
   new partitions is admitted, and followed from then on: restarts and rebalances change nothing.
3. A letter counts from its acknowledgement, not only when it comes back from the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from eventzr_kafka.dead_letter import DeadLetterFacts, Identity, dead_letter_topic, read_letter, read_note
from eventzr_kafka.options import Ordering
from eventzr_kafka.record import Record
from eventzr_kafka.transport import LogReader

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
        self._by_partition = ordering == "partition"
        self._make_reader = make_reader
        self._reader: LogReader | None = None
        self._open: dict[Hashable, set[Identity]] = {}
        self._lane_of: dict[Identity, Hashable] = {}
        self._closed: dict[Identity, float] = {}
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

    def park(self, record: Record, facts: DeadLetterFacts) -> None:
        """A dead letter of this record has been acknowledged."""
        identity = (record.topic, record.partition, record.offset, record.timestamp)
        self._add(identity, self._name(record.key, facts.lane), facts.last_failure)

    def _read(self, records: Sequence[Record]) -> None:
        for record in records:
            note = read_note(record)
            if note is not None:
                if note.kind != "failed":
                    self._close_letter(note.identity, note.at)
            elif (letter := read_letter(record)) is not None:
                self._add(letter.identity, self._name(letter.record.key, letter.facts.lane), letter.facts.last_failure)

    def _add(self, identity: Identity, name: Hashable, failed: float) -> None:
        if failed > self._closed.get(identity, -1.0):
            name = self._lane_of.setdefault(identity, name)
            self._open.setdefault(name, set()).add(identity)

    def _close_letter(self, identity: Identity, at: float) -> None:
        self._closed[identity] = max(at, self._closed.get(identity, at))
        name = self._lane_of.pop(identity, None)
        letters = self._open.get(name)
        if letters is not None:
            letters.discard(identity)
            if not letters:
                del self._open[name]

    def _name(self, key: bytes | None, lane: str) -> Hashable:
        return lane if self._by_partition else (key, lane)
