"""Orders: created → paid → delivered → completed, or cancelled. A delivered order has a payout."""

from __future__ import annotations

from eventzr_marketplace_events import EscrowReleased, OrderCancelled, OrderCompleted, PaymentCompleted
from examples.marketplace_service.database import now
from examples.marketplace_service.domain.errors import AmountMismatchError, ContradictionError, TooEarlyError, required
from examples.marketplace_service.domain.models import Order, Payout
from examples.marketplace_service.domain.states import ORDER, PAYOUT
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["apply_escrow_release", "apply_payment", "cancel", "complete", "deliver"]


async def deliver(unit: UnitOfWork, order_id: str) -> Order:
    """Record the delivery; the seller is owed a payout from now on."""
    order = await unit.lock(Order, order_id)
    order.state = ORDER.after(order.state, "deliver")
    unit.add(
        Payout,
        id=order.id,
        seller_id=order.seller_id,
        amount=order.amount,
        currency=order.currency,
        state=PAYOUT.initial,
    )
    return order


async def complete(unit: UnitOfWork, order_id: str) -> Order:
    """Complete a delivered order."""
    order = await unit.lock(Order, order_id)
    order.state = ORDER.after(order.state, "complete")
    unit.publish(OrderCompleted(id=order.id, completed_at=now(), final_amount=order.amount, currency=order.currency))
    return order


async def cancel(unit: UnitOfWork, order_id: str, reason: str) -> Order:
    """Cancel an order that is not delivered; a payment is refunded."""
    order = await unit.lock(Order, order_id)
    refund = "pending" if order.state == "paid" else "not_required"
    order.state = ORDER.after(order.state, "cancel")
    unit.publish(OrderCancelled(id=order.id, reason=reason, refund_status=refund))
    return order


async def apply_payment(unit: UnitOfWork, payment: PaymentCompleted) -> None:
    """Record a payment, once for each payment id.

    Raises:
        AmountMismatchError: The payment differs from the order's amount.
    """
    order = await unit.lock(Order, required(payment.order_id, "payment", payment.id, "order"))
    _require_same_amount(order, payment)
    if order.payment_id != payment.id:
        order.state = ORDER.after(order.state, "pay")
        order.payment_id = payment.id


async def apply_escrow_release(unit: UnitOfWork, release: EscrowReleased) -> None:
    """Complete the seller's payout, once for each release.

    Raises:
        TooEarlyError: The order is not delivered yet.
        ContradictionError: The release names another seller than the order.
        AmountMismatchError: The release differs from the payout's amount.
    """
    order = await unit.lock(Order, required(release.order_id, "escrow", release.id, "order"))
    if release.seller_id != order.seller_id:
        raise ContradictionError(release.id, "seller", "order")
    payout = await unit.find(Payout, order.id, lock=True)
    if payout is None:
        raise TooEarlyError("order", order.id, order.state)
    _require_same_amount(payout, release)
    if payout.escrow_id != release.id:
        payout.state = PAYOUT.after(payout.state, "release")
        payout.escrow_id = release.id


def _require_same_amount(due: Order | Payout, paid: PaymentCompleted | EscrowReleased) -> None:
    if (paid.amount, paid.currency) != (due.amount, due.currency):
        raise AmountMismatchError(paid.id)
