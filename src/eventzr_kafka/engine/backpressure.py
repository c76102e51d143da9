"""What stands still while much is in memory.

1. A partition that alone fills half of the memory stands still until it fills a quarter: a tenant's long backlog, which
   is in one partition, does not keep the others' events out. With a single partition there is nobody to make room for.
2. When the memory is full, every partition stands still until half of it is free.
3. Stopping costs the client what it had fetched ahead: hence the distance between the two thresholds of each rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eventzr_kafka.kafka.transport import Paused

__all__ = ["Backpressure"]

_HALF, _QUARTER = 0.5, 0.25


class Backpressure:
    """Decides about the intake of one group.

    Attributes:
        paused: The epochs that stand still.
    """

    def __init__(self) -> None:
        self.paused: Paused = frozenset()

    def update(self, fullness: float, weigh: Callable[[], Mapping[int, float]]) -> bool:
        """Look at the memory; whether something else stands still from now on.

        Args:
            fullness: What is in memory, as a share of what may be.
            weigh: Gives the bytes of each epoch in memory; asked when much is.
        """
        before = self.paused
        if fullness >= 1 or (before == "all" and fullness >= _HALF):
            self.paused = "all"
        elif before or fullness >= _HALF:
            self.paused = self._large(fullness, weigh())
        return self.paused != before

    def _large(self, fullness: float, weights: Mapping[int, float]) -> frozenset[int]:
        if len(weights) == 1:
            return frozenset()
        total, paused = sum(weights.values()), () if self.paused == "all" else self.paused
        shares = {epoch: fullness * weight / total for epoch, weight in weights.items() if weight}
        return frozenset(epoch for epoch, share in shares.items() if share >= (_QUARTER if epoch in paused else _HALF))
