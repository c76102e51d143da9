"""Orders, their payouts and disputes."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter

from eventzr_marketplace_events import DisputeEvidence
from examples.marketplace_service.api.models import (
    Cancellation,
    DisputeView,
    NewDispute,
    OrderView,
    PayoutView,
    Resolution,
)
from examples.marketplace_service.api.transactions import Command, TransactionalRoute, Unit
from examples.marketplace_service.domain import disputes, orders
from examples.marketplace_service.domain.models import Dispute, Order, Payout

__all__ = ["router"]

router = APIRouter(route_class=TransactionalRoute)
_PAGE = 200


@router.get("/orders", response_model=list[OrderView])
async def list_orders(unit: Unit) -> list[Order]:
    return list(await unit.all(unit.select(Order).order_by(Order.created_at.desc()).limit(_PAGE)))


@router.get("/orders/{order_id}", response_model=OrderView)
async def show_order(unit: Unit, order_id: str) -> Order:
    return await unit.get(Order, order_id)


@router.post("/orders/{order_id}/deliver", response_model=OrderView)
async def deliver_order(unit: Command, order_id: str) -> Order:
    """Record the delivery of a paid order. If its escrow is released already, its payout is complete."""
    return await orders.deliver(unit, order_id)


@router.post("/orders/{order_id}/complete", response_model=OrderView)
async def complete_order(unit: Command, order_id: str) -> Order:
    """Complete a delivered order. Refused while a dispute is open."""
    return await orders.complete(unit, order_id)


@router.post("/orders/{order_id}/cancel", response_model=OrderView)
async def cancel_order(unit: Command, order_id: str, body: Cancellation) -> Order:
    """Cancel an order that is not delivered; a payment is refunded. Refused while a dispute is open."""
    return await orders.cancel(unit, order_id, **body.model_dump())


@router.get("/payouts", response_model=list[PayoutView])
async def list_payouts(unit: Unit) -> list[Payout]:
    of_order = (Order.tenant_id == Payout.tenant_id) & (Order.id == Payout.id)
    newest = unit.select(Payout).join(Order, of_order).order_by(Order.created_at.desc())
    return list(await unit.all(newest.limit(_PAGE)))


@router.get("/payouts/{order_id}", response_model=PayoutView)
async def show_payout(unit: Unit, order_id: str) -> Payout:
    return await unit.get(Payout, order_id)


@router.post("/orders/{order_id}/disputes", status_code=HTTPStatus.CREATED, response_model=DisputeView)
async def open_dispute(unit: Command, order_id: str, body: NewDispute) -> Dispute:
    """Open a dispute about a paid or delivered order: one at a time, and only until the seller is paid."""
    evidence = [DisputeEvidence(**found.model_dump()) for found in body.evidence]
    return await disputes.open_dispute(unit, order_id, reason=body.reason, opened_by=body.opened_by, evidence=evidence)


@router.get("/disputes", response_model=list[DisputeView])
async def list_disputes(unit: Unit) -> list[Dispute]:
    return list(await unit.all(unit.select(Dispute).order_by(Dispute.id).limit(_PAGE)))


@router.get("/disputes/{dispute_id}", response_model=DisputeView)
async def show_dispute(unit: Unit, dispute_id: str) -> Dispute:
    return await unit.get(Dispute, dispute_id)


@router.post("/disputes/{dispute_id}/resolve", response_model=DisputeView)
async def resolve_dispute(unit: Command, dispute_id: str, body: Resolution) -> Dispute:
    """Decide a dispute: the refund goes back to the buyer, the rest is due to the seller.

    `buyer_refunded` refunds all that is held and ends the order; `seller_paid` refunds nothing; `split` needs `refund`.
    """
    return await disputes.resolve(unit, dispute_id, **body.model_dump())
