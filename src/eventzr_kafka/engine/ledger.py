"""`Ledger`: the received offsets of one partition, those that have an outcome, and the committable offset.

1. Offsets are received in rising order. Gaps are legal: compaction and markers of transactions make them. Offsets
   behind the last record, which belong to no record, are *passed*.
2. The position, which is the committable offset, is the lowest received offset without an outcome; if all have one, it
   is the offset after the last received or passed. It never passes an offset without an outcome, and never goes back.
3. The finished offsets above the position go into the commit's metadata (see commit_metadata), so that their events
   do not run again after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise

from eventzr_kafka.engine.commit_metadata import ranges_of

__all__ = ["FEW", "MANY", "Ledger"]

FEW, MANY = 2048, 65_536  # unfinished offsets that `finished` looks at: twice a second, and at the end of an epoch


class Ledger:
    """Received and finished offsets of one partition, from its assignment to its revocation."""

    __slots__ = ("_known", "_next", "_open")

    def __init__(self, position: int | None = None, finished: Iterable[int] = ()) -> None:
        """Start at the committed offset.

        Args:
            position: The committed offset, or None if the group has not committed yet.
            finished: Offsets above it that an earlier epoch has finished, see `commit_metadata`.
        """
        self._open: dict[int, None] = {}  # inserted in rising order, so that the first key is the lowest
        self._next = -1 if position is None else position
        self._known = {offset for offset in finished if offset >= self._next}

    def receive(self, offsets: Sequence[int]) -> set[int]:
        """Note records, in rising order; returns those that must not run, since an earlier epoch has finished them."""
        if not offsets:
            return set()
        self._next = offsets[-1] + 1
        self._open.update(dict.fromkeys(offsets))
        if not self._known:
            return set()
        done = self._known.intersection(offsets)
        for offset in done:
            del self._open[offset]
        self._known = {offset for offset in self._known if offset >= self._next}
        return done

    def finish(self, offset: int) -> None:
        """Note the outcome of a record; a second time changes nothing."""
        self._open.pop(offset, None)

    def pass_to(self, offset: int) -> None:
        """Note that every record below this offset was received; other offsets have no record, or a deleted one."""
        if offset > self._next:
            self._next = offset
            self._known = {known for known in self._known if known >= offset}

    @property
    def next_offset(self) -> int:
        """The offset after the last received or passed one; -1 before the first."""
        return self._next

    @property
    def unfinished(self) -> int:
        """The number of received records without an outcome."""
        return len(self._open)

    def open_offsets(self) -> list[int]:
        """Return the received offsets without an outcome, in rising order."""
        return list(self._open)

    def position(self) -> int | None:
        """Return the committable offset: the first one that the group must read again. None before any is known."""
        position = next(iter(self._open), self._next)
        return None if position < 0 else position

    def finished(self, most: int = MANY) -> list[tuple[int, int]]:
        """Return the finished ranges above the position, rising; gaps between received offsets count as finished.

        Args:
            most: The number of unfinished offsets to look at.
        """
        unfinished = list(islice(self._open, most))
        whole = len(unfinished) < most
        edges = [*unfinished, self._next] if whole else unfinished
        ranges = [(before + 1, after) for before, after in pairwise(edges) if after > before + 1]
        return ranges + ranges_of(sorted(self._known)) if whole else ranges
