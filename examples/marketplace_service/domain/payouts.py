"""Payouts: what the seller of an order gets. Everything about one order's money runs while its row is locked.

1. An order's payment is either due to the seller, or refunded: ``paid == refunded + amount of the payout``, always.
2. The first event about the money makes the payout, a payment or a release of the escrow; either may come first.
3. It is complete as soon as the order is paid and delivered, the escrow is released, and no dispute is open. So an
   escrow that is released before the delivery, or during a dispute, is kept, and the delivery or decision finishes it.
4. A cancelled or refunded order has nothing to pay out: its payout is void.
5. A complete or void payout never changes: a dispute must be opened before.
"""

from __future__ import annotations

from decimal import Decimal

from eventzr_marketplace_events import EscrowReleased, PaymentCompleted
from examples.marketplace_service.domain.errors import (
    AlreadyDoneError,
    AmountMismatchError,
    ContradictionError,
    DisputeOpenError,
    NothingDueError,
    required,
)
from examples.marketplace_service.domain.models import Dispute, Order, Payout
from examples.marketplace_service.domain.states import DELIVERED_ORDER, DISPUTE, PAYOUT
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["apply_escrow_release", "held_amount", "names_amount", "require_no_dispute", "settle"]

_NOTHING_DUE = ("cancelled", "refunded")


async def apply_escrow_release(unit: UnitOfWork, release: EscrowReleased) -> None:
    """Record that the wallet releases the money of an order, once for each release.

    Its amount is the whole price, or what a dispute has left for the seller.

    Raises:
        NotFoundError: There is no such order.
        ContradictionError: The release names another seller than the order.
        AmountMismatchError: The release differs from the amount due.
        AlreadyDoneError: Another release was for this order.
        NothingDueError: The order is cancelled or refunded.
        MissingFieldError: It names no order.
    """
    order = await unit.lock(Order, required(release.order_id, "escrow", release.id, "order"))
    payout = await unit.find(Payout, order.id, lock=True)
    known = None if payout is None else payout.escrow_id
    if known == release.id:
        return
    if release.seller_id not in (None, order.seller_id):
        raise ContradictionError(release.id, "seller", "order")
    if not names_amount(release, order, order.amount, order.amount - order.refunded):
        raise AmountMismatchError(release.id, order.id)
    if known is not None:
        raise AlreadyDoneError(order.id, "released", known)
    if order.state in _NOTHING_DUE:
        raise NothingDueError(order.id, order.state)
    await settle(unit, order, escrow_id=release.id)


async def settle(unit: UnitOfWork, order: Order, *, escrow_id: str | None = None) -> None:
    """Bring the payout up to date after its locked order has changed, see rules 1 to 4.

    Args:
        escrow_id: The release of the escrow, if that is the change.
    """
    payout = await unit.find(Payout, order.id, lock=True)
    if payout is None:
        payout = unit.add(Payout, id=order.id, seller_id=order.seller_id, currency=order.currency, state=PAYOUT.initial)
    if payout.state != PAYOUT.initial:
        return
    payout.escrow_id = escrow_id or payout.escrow_id
    payout.amount = order.paid - order.refunded
    if order.state in _NOTHING_DUE:
        payout.state = PAYOUT.after(payout.state, "void")
    elif order.state in DELIVERED_ORDER and payout.escrow_id is not None and not await _open_dispute(unit, order.id):
        payout.state = PAYOUT.after(payout.state, "release")


def names_amount(event: PaymentCompleted | EscrowReleased, order: Order, *due: Decimal) -> bool:
    """True if the event is over one of these amounts; one that is not sent along is the order's."""
    return event.amount in (None, *due) and event.currency in (None, order.currency)


async def held_amount(unit: UnitOfWork, order: Order) -> Decimal:
    """Return the amount that a dispute about the locked order can still move: nothing once the seller has it."""
    payout = await unit.find(Payout, order.id, lock=True)
    return Decimal(0) if payout is None or payout.state != PAYOUT.initial else payout.amount


async def require_no_dispute(unit: UnitOfWork, order: Order) -> None:
    """Check that a locked order is not in dispute.

    Raises:
        DisputeOpenError: It is.
    """
    found = await _open_dispute(unit, order.id)
    if found is not None:
        raise DisputeOpenError(order.id, found.id)


async def _open_dispute(unit: UnitOfWork, order_id: str) -> Dispute | None:
    theirs = unit.select(Dispute).where(Dispute.order_id == order_id, Dispute.state == DISPUTE.initial)
    return await unit.session.scalar(theirs)
