"""Disputes: opened → resolved. An order has at most one open dispute; nothing of its money moves meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, TypeAlias

from eventzr_marketplace_events import DisputeEvidence, DisputeOpened, DisputeResolved
from examples.marketplace_service.database import now
from examples.marketplace_service.domain.amounts import require_digits
from examples.marketplace_service.domain.errors import PaidOutError, RefundError
from examples.marketplace_service.domain.models import Dispute, Order
from examples.marketplace_service.domain.payouts import held_amount, require_no_dispute, settle
from examples.marketplace_service.domain.states import DISPUTE, ORDER
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["Outcome", "open_dispute", "resolve"]

Outcome: TypeAlias = Literal["buyer_refunded", "seller_paid", "split"]


async def open_dispute(
    unit: UnitOfWork, order_id: str, *, reason: str, evidence: Sequence[DisputeEvidence], opened_by: str | None = None
) -> Dispute:
    """Open a dispute about an order that is paid or delivered, while its money is held.

    Args:
        opened_by: The buyer or seller, where it is known.

    Raises:
        DisputeOpenError: The order is in dispute already.
        PaidOutError: The seller has been paid.
    """
    order = await unit.lock(Order, order_id)
    order.state = ORDER.after(order.state, "dispute")
    await require_no_dispute(unit, order)
    if order.paid and not await held_amount(unit, order):
        raise PaidOutError(order.id)
    dispute = unit.add(Dispute, order_id=order.id, reason=reason, state=DISPUTE.initial)
    unit.publish(
        DisputeOpened(
            id=dispute.id,
            order_id=order.id,
            reason=reason,
            evidence=list(evidence),
            opened_by=opened_by,
            opened_at=now(),
        )
    )
    return dispute


async def resolve(
    unit: UnitOfWork, dispute_id: str, *, outcome: Outcome, refund: Decimal | None, notes: str
) -> Dispute:
    """Carry out an admin's decision: the buyer gets the refund, and the seller the rest, once the order is delivered.

    Args:
        refund: What the buyer gets; None for all that is held (``buyer_refunded``), or nothing (``seller_paid``).

    Raises:
        RefundError: The refund does not fit the outcome.
    """
    order = await unit.lock(Order, await unit.fixed(Dispute.order_id, dispute_id))
    dispute = await unit.lock(Dispute, dispute_id)
    dispute.state = DISPUTE.after(dispute.state, "resolve")
    held = await held_amount(unit, order)
    refund = _refund(outcome, refund, held, order.currency)
    dispute.outcome = outcome
    dispute.refund = refund
    dispute.notes = notes
    order.refunded += refund
    if held and refund == held:
        order.state = ORDER.after(order.state, "refund")
    await settle(unit, order)
    unit.publish(
        DisputeResolved(
            id=dispute.id,
            outcome=outcome,
            notes=notes,
            order_id=order.id,
            buyer_refund_amount=refund,
            seller_payout_amount=held - refund,
            currency=order.currency,
            resolved_at=now(),
        )
    )
    return dispute


def _refund(outcome: Outcome, asked: Decimal | None, held: Decimal, currency: str) -> Decimal:
    if outcome == "split":
        if asked is None or not 0 < asked < held:
            raise RefundError(outcome, f"more than 0 and less than {held:f} {currency}")
        require_digits(asked, currency)
        return asked
    whole = held if outcome == "buyer_refunded" else Decimal(0)
    if asked not in (None, whole):
        raise RefundError(outcome, f"{whole:f} {currency}, or left out")
    return whole
