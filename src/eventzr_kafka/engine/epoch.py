"""One partition, from its assignment to its revocation."""

from __future__ import annotations

import re
from collections.abc import Iterable

from eventzr_kafka.engine.commit_metadata import MAX_METADATA_BYTES, read_metadata, write_metadata
from eventzr_kafka.engine.ledger import FEW, MANY, Ledger
from eventzr_kafka.kafka.transport import Assignment, Position

__all__ = ["Epoch"]

_EXITS = re.compile(r"(?:^| )x:([0-9]{1,19}(?:,[0-9]{1,19})*)$")
_MAX_EXITS = 10  # offsets that a commit names, the first ones


class Epoch:
    """A ledger, how many handlers run for it, whether it has ended, and what was stored last.

    The loop knows an epoch by this object: when the partition goes, the object leaves the table, and whatever still
    runs can reach that object alone.

    Attributes:
        exits: Offsets of events that have stopped a runner of the group with `SystemExit`. The commit's metadata ends
            in them, until the position has passed them.
    """

    __slots__ = (
        "_admitted",
        "_bytes",
        "_seen",
        "_stored",
        "_topic_id",
        "ended",
        "exits",
        "ledger",
        "number",
        "partition",
        "running",
    )

    def __init__(self, assignment: Assignment) -> None:
        position = assignment.position
        self.exits, metadata = _read_exits(assignment.metadata)
        finished = read_metadata(position, metadata) if position is not None else ()
        self.partition = assignment.partition
        self.number = assignment.epoch
        self.ledger = Ledger(position, finished)
        self.running = 0
        self.ended = False
        self._topic_id = assignment.topic_id
        self._stored = (position, assignment.metadata)
        self._seen: tuple[int, ...] | None = None
        self._admitted = self._bytes = 0

    def note_buffered(self, events: int, size: int) -> None:
        """Take note of events that went into lanes, and of their bytes."""
        self._admitted += events
        self._bytes += size

    @property
    def buffered_bytes(self) -> float:
        """The bytes in memory: the events that have no outcome yet, each taken for one of mean size."""
        return self.ledger.unfinished * self._bytes / max(self._admitted, 1)

    def take_committable(self, *, last: bool = False) -> Position | None:
        """What may be committed, if that is more than the last time.

        Args:
            last: Whether the epoch ends here, so that its metadata is worth more time.
        """
        offset, most = self.ledger.position(), MANY if last else FEW
        seen = (self.ledger.next_offset, self.ledger.unfinished, len(self.exits), most)
        if offset is None or seen == self._seen:
            return None
        self._seen = seen  # it changes with each record and each outcome, and costs less than the metadata
        exits = _write_exits(each for each in self.exits if each >= offset) if self.exits else ""
        room = MAX_METADATA_BYTES - len(exits)
        metadata = write_metadata(offset, self.ledger.finished(most), self._topic_id, limit=room) + exits
        if (offset, metadata) == self._stored:
            return None
        self._stored = (offset, metadata)
        return Position(self.partition, self.number, offset, metadata)


def _write_exits(offsets: Iterable[int]) -> str:
    first = sorted(offsets)[:_MAX_EXITS]
    return f" x:{','.join(map(str, first))}" if first else ""


def _read_exits(metadata: str | None) -> tuple[set[int], str | None]:
    """The offsets at the end, and what stands before them."""
    found = _EXITS.search(metadata or "")
    if found is None:
        return set(), metadata
    return set(map(int, found[1].split(","))), found.string[: found.start()]
