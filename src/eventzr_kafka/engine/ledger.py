"""The ledger of one partition in one epoch: which offsets were received, which have an outcome, what may be committed.

1. Offsets are received in rising order; gaps (compaction, transaction markers) are legal. Those behind the last record
   are passed.
2. The position is the lowest received offset without an outcome; if all have one, the offset after the last received
   or passed.
   It never passes an offset without an outcome, and never goes back.
3. What is finished above the position goes into the commit's metadata (see commit_metadata), so that a restart does not
   run it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise

from eventzr_kafka.engine.commit_metadata import ranges_of

__all__ = ["FEW", "MANY", "Ledger"]

FEW, MANY = 2048, 65_536  # offsets without an outcome beyond which nothing is remembered, in passing and at the end


class Ledger:
    """Received and finished offsets of one partition, from its assignment to its revocation."""

    __slots__ = ("_known", "_next", "_open")

    def __init__(self, position: int | None = None, finished: Iterable[int] = ()) -> None:
        """Start at what the group has committed.

        Args:
            position: The committed offset, or None where the group has none yet.
            finished: Offsets beyond it that an earlier epoch finished, see `commit_metadata`.
        """
        self._open: dict[int, None] = {}  # inserted in rising order, so that the first key is the lowest
        self._next = -1 if position is None else position
        self._known = {offset for offset in finished if offset >= self._next}

    def receive(self, offsets: Sequence[int]) -> set[int]:
        """Take note of records, in rising order; returns those that need not run: an earlier epoch finished them."""
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
        """Take note that no other record is to come below this offset: the rest are marks of transactions, or gone."""
        if offset > self._next:
            self._next = offset
            self._known = {known for known in self._known if known >= offset}

    @property
    def next_offset(self) -> int:
        """The offset after the last that was received or passed; -1 before any is known."""
        return self._next

    @property
    def unfinished(self) -> int:
        """How many received records have no outcome yet."""
        return len(self._open)

    def open_offsets(self) -> list[int]:
        """The received offsets that have no outcome yet, in rising order."""
        return list(self._open)

    def position(self) -> int | None:
        """The offset that may be committed: the first that the group needs to see again. None before any is known."""
        position = next(iter(self._open), self._next)
        return None if position < 0 else position

    def finished(self, most: int = MANY) -> list[tuple[int, int]]:
        """The ranges that are finished above the position, rising; gaps between received offsets count as finished.

        Args:
            most: Offsets without an outcome that are looked at.
        """
        unfinished = list(islice(self._open, most))
        whole = len(unfinished) < most
        edges = [*unfinished, self._next] if whole else unfinished
        ranges = [(before + 1, after) for before, after in pairwise(edges) if after > before + 1]
        return ranges + ranges_of(sorted(self._known)) if whole else ranges
