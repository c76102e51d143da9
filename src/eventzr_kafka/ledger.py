"""The ledger of one partition in one epoch: which offsets were received, which have an outcome, what may be committed.

1. Offsets are received in rising order; gaps (compaction, transaction markers) are legal.
2. The position is the lowest received offset without an outcome; if all have one, the offset after the last received.
   It never passes an offset without an outcome, and never goes back.
3. Offsets finished beyond the position go into the commit's metadata, so that a restart does not run them again.
4. Metadata is ``e1:`` and base64 of zlib-compressed numbers: how many offsets to skip, how many are finished, and so on
   from the position. It is at most 4,096 bytes, the broker's default; what does not fit at the far end runs again.
   Unknown or damaged metadata means that nothing is known to be finished: a replay, never a crash.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise

__all__ = ["MAX_METADATA_BYTES", "Ledger", "read_metadata", "write_metadata"]

MAX_METADATA_BYTES = 4096  # offset.metadata.max.bytes of a Kafka broker
_PREFIX = "e1:"
_MAX_RANGES = 2048
_MAX_TEXT = 1_000_000  # bytes that damaged metadata may unpack to
_MAX_SPAN = 1_000_000  # offsets that one commit's metadata may speak of


class Ledger:
    """Received and finished offsets of one partition, from its assignment to its revocation."""

    __slots__ = ("_known", "_next", "_open")

    def __init__(self, position: int | None = None, finished: Iterable[int] = ()) -> None:
        """Start at what the group has committed.

        Args:
            position: The committed offset, or None where the group has none yet.
            finished: Offsets beyond it that an earlier epoch finished, see `read_metadata`.
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

    @property
    def next_offset(self) -> int:
        """The offset after the last received; -1 before any is known."""
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

    def metadata(self) -> str:
        """What is finished beyond the position, for the commit's metadata; empty if nothing is."""
        position = self.position()
        if position is None or (position == self._next and not self._known):
            return ""
        unfinished = list(islice(self._open, _MAX_RANGES))
        whole = len(unfinished) < _MAX_RANGES
        edges = [*unfinished, self._next] if whole else unfinished
        ranges = [(before + 1, after) for before, after in pairwise(edges) if after > before + 1]
        return write_metadata(position, ranges + _ranges(sorted(self._known)) if whole else ranges)


def _ranges(offsets: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return ranges


def write_metadata(position: int, ranges: Sequence[tuple[int, int]]) -> str:
    """Write finished ranges as commit metadata of at most 4,096 bytes; ranges that do not fit are left out at the end.

    Args:
        position: The committed offset.
        ranges: Rising, disjoint ``(first, after the last)``, all beyond the position.
    """
    kept = list(ranges)
    while kept:
        steps: list[int] = []
        at = position
        for first, after in kept:
            steps += [first - at, after - first]
            at = after
        packed = zlib.compress(" ".join(map(str, steps)).encode(), 9)
        text = _PREFIX + base64.b64encode(packed).decode()
        if len(text) <= MAX_METADATA_BYTES:
            return text
        del kept[len(kept) * 3 // 4 :]
    return ""


def read_metadata(position: int, metadata: str | None) -> set[int]:
    """The offsets beyond the position that the metadata calls finished; none if it is unknown or damaged."""
    if not metadata or not metadata.startswith(_PREFIX) or len(metadata) > MAX_METADATA_BYTES:
        return set()
    try:
        packed = base64.b64decode(metadata[len(_PREFIX) :], validate=True)
        steps = [int(step) for step in zlib.decompressobj().decompress(packed, _MAX_TEXT).split()]
    except (binascii.Error, zlib.error, ValueError):
        return set()
    if len(steps) % 2 or any(step < 0 for step in steps) or sum(steps) > _MAX_SPAN:
        return set()
    finished: set[int] = set()
    at = position
    for gap, length in zip(steps[::2], steps[1::2], strict=True):
        finished.update(range(at + gap, at + gap + length))
        at += gap + length
    return finished
