"""Records that are gone before a group has read them, and what is known of them.

1. ``retention``: the log begins above the offset at which the group stood.
2. ``recreated``: the topic was deleted and made anew, and the offset belongs to the former one. The new one is read
   from its beginning.
3. ``truncated``: the log ends below the offset, since brokers lost its end. It is read again from its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Loss", "LossReason", "OnOffsetLost", "find_loss"]

LossReason: TypeAlias = Literal["retention", "recreated", "truncated"]
OnOffsetLost: TypeAlias = Literal["continue", "stop"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Records of one partition that a group was to read and cannot.

    Attributes:
        first: The offset at which the group stood.
        after: The offset after the last that is gone; None where the number is not known.
    """

    first: int
    after: int | None
    reason: LossReason

    def __str__(self) -> str:
        if self.after is not None:
            count = self.after - self.first
            return f"offsets {self.first} to {self.after - 1} ({count} at most) were deleted before the group read them"
        if self.reason == "recreated":
            return (
                f"the topic was deleted and made anew: offset {self.first} is of the former one; what the group had "
                "not read of that is gone"
            )
        return f"the log ends below offset {self.first}, at which the group stood: the brokers have lost its end"


def find_loss(position: int, low: int, high: int) -> Loss | None:
    """Compare the offset at which a group stands with the first and the next one of the log."""
    if position < low:
        return Loss(position, low, "retention")
    return Loss(position, None, "truncated") if position > high else None
