"""`Epoch`: one partition, from its assignment to its revocation."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from eventzr_kafka.engine.commit_metadata import MAX_METADATA_BYTES, read_metadata, write_metadata
from eventzr_kafka.engine.ledger import FEW, MANY, Ledger
from eventzr_kafka.kafka.transport import Assignment, Position

__all__ = ["Epoch"]

_EXITS = re.compile(r"(?:^| )x:([0-9]{1,19}(?:,[0-9]{1,19})*)$")
_MAX_EXITS = 10  # offsets that a commit names, the first ones


class Epoch:
    """The ledger of a partition, the number of its running handlers, and what was stored last.

    The event loop knows an epoch by this object. When the partition is revoked, the object leaves the group's table,
    and whatever still runs for it can reach that object alone.

    Attributes:
        running: Handlers, and dead letters under way, for which a revocation waits. The dispatcher counts the calls of
            handlers in place, since a method would cost a call for each record; everything else uses the methods.
        ended: True from the revocation on.
        exits: Offsets of events that have stopped a runner of the group with `SystemExit`. They stand at the end of
            the commit's metadata until the committable offset has passed them.
    """

    __slots__ = (
        "_buffered_bytes",
        "_buffered_events",
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
        self._buffered_events = self._buffered_bytes = 0

    def begin_running(self) -> None:
        """Count something for which a revocation waits."""
        self.running += 1

    def end_running(self) -> None:
        """Count it down again."""
        self.running -= 1

    @contextmanager
    def not_running(self) -> Generator[None]:
        """Let a revocation go on during the block, as during a pause between two attempts."""
        self.running -= 1
        try:
            yield
        finally:
            self.running += 1

    def end(self) -> None:
        """Note that the partition was revoked or lost."""
        self.ended = True

    def note_buffered(self, events: int, size: int) -> None:
        """Note events that went into lanes, and their bytes."""
        self._buffered_events += events
        self._buffered_bytes += size

    @property
    def buffered_bytes(self) -> float:
        """Bytes in memory: the events without an outcome, each taken for one of mean size."""
        return self.ledger.unfinished * self._buffered_bytes / max(self._buffered_events, 1)

    def take_committable(self, *, last: bool = False) -> Position | None:
        """Return the committable offset with its metadata; None if both are the same as the last time.

        Args:
            last: True if the epoch ends here, so that its metadata is worth more time.
        """
        offset, most = self.ledger.position(), MANY if last else FEW
        seen = (self.ledger.next_offset, self.ledger.unfinished, len(self.exits), most)
        if offset is None or seen == self._seen:
            return None
        self._seen = seen  # changes with each record and each outcome, and costs less than writing the metadata
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
    """Return the offsets at the end of the metadata, and the metadata before them."""
    found = _EXITS.search(metadata or "")
    if found is None:
        return set(), metadata
    return set(map(int, found[1].split(","))), found.string[: found.start()]
