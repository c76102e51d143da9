"""Records that are lost before a group has read them.

1. ``retention``: the log begins above the group's offset.
2. ``recreated``: the topic was deleted and created again, and the group's offset belongs to the old one. The new topic
   is read from its beginning.
3. ``truncated``: the log ends below the group's offset, because brokers have lost its end. It is read again from its
   beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Loss", "LossReason", "OnOffsetLost", "find_loss"]

LossReason: TypeAlias = Literal["retention", "recreated", "truncated"]
OnOffsetLost: TypeAlias = Literal["continue", "stop"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Records of one partition that are lost before the group has read them.

    Attributes:
        first: The group's offset.
        after: The offset after the last lost record; None if the number of lost records is not known.
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
                f"the topic was deleted and created again: offset {self.first} is of the old topic, whose unread "
                "records are lost"
            )
        return f"the log ends below offset {self.first}, the group's: the brokers have lost its end"


def find_loss(position: int, low: int, high: int) -> Loss | None:
    """Compare a group's offset with the first and the next offset of the log."""
    if position < low:
        return Loss(position, low, "retention")
    return Loss(position, None, "truncated") if position > high else None
