"""Backpressure: which partitions are paused while much is in memory.

1. A partition that alone fills half of the memory is paused until it fills a quarter. So one tenant's long backlog,
   which is in one partition, leaves room for the events of the others. A single partition is not paused by this rule.
2. When the memory is full, all partitions are paused until half of it is free.
3. Pausing discards what the client has prefetched, so the thresholds for pausing and for resuming are far apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eventzr_kafka.kafka.transport import Paused

__all__ = ["Backpressure"]

_HALF, _QUARTER = 0.5, 0.25


class Backpressure:
    """The decision about the intake of one group.

    Attributes:
        paused: The epochs that are paused, or ``all``.
    """

    def __init__(self) -> None:
        self.paused: Paused = frozenset()

    def update(self, fullness: float, measure: Callable[[], Mapping[int, float]]) -> bool:
        """Decide again; returns True if `paused` has changed.

        Args:
            fullness: The share of the memory that is used.
            measure: Returns the buffered bytes of each epoch; called only if they matter.
        """
        before = self.paused
        if fullness >= 1 or (before == "all" and fullness >= _HALF):
            self.paused = "all"
        elif before or fullness >= _HALF:
            self.paused = self._overfull_partitions(fullness, measure())
        return self.paused != before

    def _overfull_partitions(self, fullness: float, sizes: Mapping[int, float]) -> frozenset[int]:
        if len(sizes) == 1:
            return frozenset()
        total, paused = sum(sizes.values()), () if self.paused == "all" else self.paused
        shares = {epoch: fullness * size / total for epoch, size in sizes.items() if size}
        return frozenset(epoch for epoch, share in shares.items() if share >= (_QUARTER if epoch in paused else _HALF))
