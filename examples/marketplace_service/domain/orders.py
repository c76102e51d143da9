"""Orders: created → paid → delivered → completed, or cancelled, or refunded by a dispute; see `payouts`."""

from __future__ import annotations

from eventzr_marketplace_events import OrderCancelled, OrderCompleted, PaymentCompleted
from examples.marketplace_service.database import now
from examples.marketplace_service.domain.errors import AlreadyDoneError, AmountMismatchError, required
from examples.marketplace_service.domain.models import Order
from examples.marketplace_service.domain.payouts import names_amount, require_no_dispute, settle
from examples.marketplace_service.domain.states import ORDER
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["apply_payment", "cancel", "complete", "deliver"]


async def deliver(unit: UnitOfWork, order_id: str) -> Order:
    """Record the delivery; the seller is paid if the escrow is released already."""
    order = await unit.lock(Order, order_id)
    order.state = ORDER.after(order.state, "deliver")
    await settle(unit, order)
    return order


async def complete(unit: UnitOfWork, order_id: str) -> Order:
    """Complete a delivered order, unless it is in dispute: the buyer is satisfied, and cannot dispute it any more."""
    order = await unit.lock(Order, order_id)
    state = ORDER.after(order.state, "complete")
    await require_no_dispute(unit, order)
    order.state = state
    unit.publish(
        OrderCompleted(
            id=order.id,
            completed_at=now(),
            final_amount=order.paid - order.refunded,
            currency=order.currency,
            buyer_id=order.buyer_id,
            seller_id=order.seller_id,
            listing_id=order.listing_id,
        )
    )
    return order


async def cancel(unit: UnitOfWork, order_id: str, *, reason: str, cancelled_by: str | None = None) -> Order:
    """Cancel an order that is neither delivered nor in dispute; what the buyer has paid is refunded.

    Args:
        cancelled_by: The buyer, seller or admin, where it is known.
    """
    order = await unit.lock(Order, order_id)
    state = ORDER.after(order.state, "cancel")
    await require_no_dispute(unit, order)
    order.state = state
    order.cancel_reason, order.cancelled_by = reason, cancelled_by
    await _refund_cancelled(unit, order)
    return order


async def apply_payment(unit: UnitOfWork, payment: PaymentCompleted) -> None:
    """Record a payment, once for each payment id. If the order was cancelled meanwhile, the payment is refunded.

    Raises:
        NotFoundError: There is no such order.
        AmountMismatchError: The payment differs from the order's amount.
        AlreadyDoneError: Another payment was for this order.
        MissingFieldError: It names no order.
    """
    order = await unit.lock(Order, required(payment.order_id, "payment", payment.id, "order"))
    if not names_amount(payment, order, order.amount):
        raise AmountMismatchError(payment.id, order.id)
    if order.payment_id == payment.id:
        return
    if order.payment_id is not None:
        raise AlreadyDoneError(order.id, "paid", order.payment_id)
    order.state = ORDER.after(order.state, "pay")
    order.payment_id = payment.id
    order.paid = order.amount
    if order.state == "cancelled":
        await _refund_cancelled(unit, order)
    else:
        await settle(unit, order)


async def _refund_cancelled(unit: UnitOfWork, order: Order) -> None:
    """Refund what is left of the payment, and announce it: a second time if the payment came after the first one."""
    refund = order.paid - order.refunded
    order.refunded = order.paid
    await settle(unit, order)
    unit.publish(
        OrderCancelled(
            id=order.id,
            reason=order.cancel_reason or "unknown",
            refund_status="pending" if refund else "not_required",
            buyer_id=order.buyer_id,
            seller_id=order.seller_id,
            listing_id=order.listing_id,
            cancelled_by=order.cancelled_by,
            refund_amount=refund,
            currency=order.currency,
            cancelled_at=now(),
        )
    )
