"""Disputes: opened → resolved."""

from __future__ import annotations

from collections.abc import Sequence

from eventzr_marketplace_events import DisputeEvidence, DisputeOpened, DisputeResolved
from examples.marketplace_service.domain.models import Dispute, Order
from examples.marketplace_service.domain.states import DISPUTE, ORDER
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["open_dispute", "resolve"]


async def open_dispute(unit: UnitOfWork, order_id: str, reason: str, evidence: Sequence[DisputeEvidence]) -> Dispute:
    """Open a dispute about an order, unless it is cancelled."""
    order = await unit.lock(Order, order_id)
    order.state = ORDER.after(order.state, "dispute")
    dispute = unit.add(Dispute, order_id=order.id, reason=reason, state=DISPUTE.initial)
    unit.publish(DisputeOpened(id=dispute.id, order_id=order.id, reason=reason, evidence=list(evidence)))
    return dispute


async def resolve(unit: UnitOfWork, dispute_id: str, outcome: str, notes: str) -> Dispute:
    """Record an admin's decision about a dispute."""
    dispute = await unit.lock(Dispute, dispute_id)
    dispute.state = DISPUTE.after(dispute.state, "resolve")
    dispute.outcome = outcome
    dispute.notes = notes
    unit.publish(DisputeResolved(id=dispute.id, outcome=outcome, notes=notes, order_id=dispute.order_id))
    return dispute
