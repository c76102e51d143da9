"""State machines as tables: a transition that is not in the table is not allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from examples.marketplace_service.domain.errors import IllegalTransitionError

__all__ = ["DELIVERED_ORDER", "DISPUTE", "LISTING", "MACHINES", "OPEN_LISTING", "ORDER", "PAYOUT", "QUOTE", "Machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The states of one kind of row.

    Attributes:
        initial: State of a new row.
        table: (state, action) → next state.
    """

    kind: str
    initial: str
    table: Mapping[tuple[str, str], str]

    def after(self, state: str, action: str) -> str:
        """Return the state that an action leads to.

        Raises:
            IllegalTransitionError: The action is not possible in this state.
        """
        found = self.table.get((state, action))
        if found is None:
            raise IllegalTransitionError(self.kind, state, action)
        return found


LISTING: Final = Machine(
    "listing",
    "draft",
    {
        ("draft", "update"): "draft",
        ("draft", "publish"): "published",
        ("draft", "close"): "closed",
        ("published", "update"): "updated",
        ("published", "close"): "closed",
        ("updated", "update"): "updated",
        ("updated", "close"): "closed",
    },
)
OPEN_LISTING: Final = ("published", "updated")  # visible to buyers, and counted towards a seller's limit

QUOTE: Final = Machine("quote", "submitted", {("submitted", "accept"): "accepted"})

ORDER: Final = Machine(
    "order",
    "created",
    {
        ("created", "pay"): "paid",
        ("created", "cancel"): "cancelled",
        ("paid", "deliver"): "delivered",
        ("paid", "cancel"): "cancelled",
        ("paid", "dispute"): "paid",
        ("paid", "refund"): "refunded",
        ("delivered", "complete"): "completed",
        ("delivered", "dispute"): "delivered",
        ("delivered", "refund"): "refunded",
        ("cancelled", "pay"): "cancelled",  # the payment was on its way; it is refunded
    },
)
DELIVERED_ORDER: Final = ("delivered", "completed")  # the seller has earned the payout

DISPUTE: Final = Machine("dispute", "opened", {("opened", "resolve"): "resolved"})

PAYOUT: Final = Machine("payout", "pending", {("pending", "release"): "complete", ("pending", "void"): "void"})

MACHINES: Final = (LISTING, QUOTE, ORDER, DISPUTE, PAYOUT)
