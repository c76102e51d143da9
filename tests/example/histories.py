"""Random histories of orders: what people and the wallet do, in any order, each step in a transaction of its own.

After each step the money must add up: what was paid is refunded, or the seller's; nothing reaches the seller while a
dispute is open; and what the service has announced is what its tables hold.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, get_args

from examples.marketplace_service.database import sessions
from examples.marketplace_service.domain import disputes, listings, orders, payouts, quotes
from examples.marketplace_service.domain.errors import DomainError
from examples.marketplace_service.domain.models import Dispute, Order, Payout
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

from eventzr_marketplace_events import EscrowReleased, PaymentCompleted

STEPS = 12
CURRENCIES = {"USD": Decimal("0.01"), "JPY": Decimal(1), "KWD": Decimal("0.001")}
ACTIONS = ("pay", "pay", "pay", "release", "deliver", "deliver", "complete", "cancel", "dispute", "dispute", "dispute")
NO_SALE = {"cancelled", "refunded"}
ENDED = {"completed", *NO_SALE}


@dataclass(frozen=True)
class Announcing(UnitOfWork):
    """A unit of work that keeps what it publishes, instead of rows in the outbox."""

    published: list[Any] = field(default_factory=list[Any])

    def publish(self, event: Any) -> None:
        self.published.append(event)


class History:
    """One order, from its creation on."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311 -- to be repeated
        self.tenant_id = uuid.uuid4().hex
        self.steps: list[str] = []
        self.announced: list[Any] = []
        self._paid_out = Decimal(0)

    async def play(self) -> None:
        currency, unit = self.chance.choice(list(CURRENCIES.items()))
        amount = unit * self.chance.randint(1, 500_000)
        async with self._unit() as work:
            listing = await listings.create(
                work, seller_id="s", title="Hall", lane="vendora", price=amount, currency=currency
            )
            await work.session.flush()
            await listings.publish(work, listing.id)
            quote = await quotes.submit(work, listing.id, buyer_id="b", amount=amount, message="")
            await work.session.flush()
            self.order_id = (await quotes.accept(work, quote.id)).id
        for _ in range(STEPS):
            action = self.chance.choice((*ACTIONS, *get_args(disputes.Outcome)))
            self.steps.append(action)
            try:
                async with self._unit() as work:
                    await self._act(work, action, currency, unit)
            except DomainError:
                self.steps[-1] = f"({action})"
            await self._check()

    async def _act(self, work: UnitOfWork, action: str, currency: str, unit: Decimal) -> None:
        order = await work.get(Order, self.order_id)
        if action == "pay":
            payment_id = self.chance.choice(["p", "p", "p", "another"])
            body = {"id": payment_id, "orderId": order.id, "amount": order.amount, "currency": currency}
            await orders.apply_payment(work, PaymentCompleted.model_validate(body))
        elif action == "release":
            due = self.chance.choice([order.amount, order.amount - order.refunded, order.amount + unit])
            body = {"id": self.chance.choice("eee!"), "orderId": order.id, "sellerId": "s", "amount": due}
            await payouts.apply_escrow_release(work, EscrowReleased.model_validate({**body, "currency": currency}))
        elif action == "dispute":
            await disputes.open_dispute(work, order.id, reason="late", evidence=[])
        elif action == "cancel":
            await orders.cancel(work, order.id, reason="buyer_request")
        elif action in get_args(disputes.Outcome):
            await self._resolve(work, action, unit)
        else:
            await (orders.deliver if action == "deliver" else orders.complete)(work, order.id)

    async def _resolve(self, work: UnitOfWork, outcome: Any, unit: Decimal) -> None:
        found = sorted(await work.all(work.select(Dispute)), key=lambda dispute: dispute.state)
        dispute_id = found[0].id if found else "none"  # the open one, or one that is resolved already
        part = unit * self.chance.randint(1, 400_000)
        refund = part if outcome == "split" else None
        await disputes.resolve(work, dispute_id, outcome=outcome, refund=refund, notes="")

    async def _check(self) -> None:
        async with sessions() as session:
            work = UnitOfWork(session, self.tenant_id)
            order = await work.get(Order, self.order_id)
            payout = await work.find(Payout, self.order_id)
            found = await work.all(work.select(Dispute))
        wrong = self._faults(order, payout, found)
        assert not wrong, f"{wrong[0]}, after {' '.join(self.steps)}"

    def _faults(self, order: Order, payout: Payout | None, found: Sequence[Dispute]) -> list[str]:
        due = Decimal(0) if payout is None else payout.amount
        out = due if payout is not None and payout.state == "complete" else Decimal(0)
        opened = [dispute for dispute in found if dispute.state == "opened"]
        decided = sum((dispute.refund or Decimal(0) for dispute in found), Decimal(0))
        cancelled = order.refunded - decided
        rules = {
            "paid is refunded plus due": order.paid == order.refunded + due,
            "no amount is negative": min(order.paid, order.refunded, due, cancelled) >= 0,
            "all or nothing is paid": order.paid in (0, order.amount),
            "a dispute's refund is what it says": order.state == "cancelled" or not cancelled,
            "one dispute is open": len(opened) <= 1,
            "an order in dispute goes on": not opened or order.state not in ENDED,
            "nothing is paid out in dispute": not opened or not out,
            "a payout needs a delivery": not out or order.state in {"delivered", "completed"},
            "a payout does not change": self._paid_out in (0, out),
            "an order without a sale is refunded": order.state not in NO_SALE or order.refunded == order.paid,
            "final amounts are announced": self._said("final_amount") in (0, order.paid - order.refunded),
            "refunds are announced": self._said("refund_amount") + self._said("buyer_refund_amount") == order.refunded,
        }
        self._paid_out = out
        return [rule for rule, holds in rules.items() if not holds]

    def _said(self, name: str) -> Decimal:
        """Sum of an amount in all events that were published."""
        return sum((getattr(event, name, None) or Decimal(0) for event in self.announced), Decimal(0))

    @asynccontextmanager
    async def _unit(self) -> AsyncGenerator[UnitOfWork]:
        async with sessions.begin() as session:
            work = Announcing(session, self.tenant_id)
            yield work
        self.announced += work.published


async def play_histories(count: int) -> dict[str, int]:
    """Play histories of the seeds from 0 on; returns how often each step succeeded, and each was (refused)."""
    steps: dict[str, int] = {}
    for seed in range(count):
        history = History(seed)
        try:
            await history.play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from None
        for step in history.steps:
            steps[step] = steps.get(step, 0) + 1
    return steps
