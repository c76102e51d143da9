"""The state machines: as tables, and as the HTTP API lets them be walked."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from examples.marketplace_service.database import sessions
from examples.marketplace_service.domain import orders
from examples.marketplace_service.domain.errors import DomainError, IllegalTransitionError
from examples.marketplace_service.domain.states import MACHINES, Machine
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from examples.marketplace_service.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.example.conftest import TENANT, Tenant, service

from eventzr_kafka import KafkaSettings
from eventzr_marketplace_events import PaymentCompleted

# What may follow what, written down once more and by hand.
LISTING = {
    "draft": {"publish": "published", "update": "draft", "close": "closed"},
    "published": {"update": "updated", "close": "closed"},
    "updated": {"update": "updated", "close": "closed"},
    "closed": {},
}
ORDER = {  # the first word is the state
    "created": {"pay": "paid", "cancel": "cancelled unpaid"},
    "paid": {"deliver": "delivered", "cancel": "cancelled", "dispute": "paid disputed"},
    "paid disputed": {"deliver": "delivered disputed", "pay seller": "paid", "refund buyer": "refunded"},
    "delivered": {"complete": "completed", "dispute": "delivered disputed"},
    "delivered disputed": {"pay seller": "delivered", "refund buyer": "refunded"},
    "completed": {},
    "refunded": {},
    "cancelled unpaid": {"pay": "cancelled"},
    "cancelled": {},
}
DECISIONS = {"pay seller": "seller_paid", "refund buyer": "buyer_refunded"}


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.kind)
def test_every_state_is_reached(machine: Machine) -> None:
    reached = {machine.initial}
    for _ in machine.table:
        reached |= {after for (before, _), after in machine.table.items() if before in reached}

    assert reached == {machine.initial, *machine.table.values()}
    assert reached - {before for before, _ in machine.table}


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.kind)
def test_unlisted_transition_is_refused(machine: Machine) -> None:
    states = {machine.initial, *machine.table.values()}
    actions = {action for _, action in machine.table}

    for state in states:
        for action in actions:
            if (state, action) not in machine.table:
                with pytest.raises(IllegalTransitionError, match=f"cannot {action} this {machine.kind}: it is {state}"):
                    machine.after(state, action)


async def pay(order_id: str) -> int:
    """The effect of `PaymentCompleted`, as its handler has it; 200 or 409."""
    payment = PaymentCompleted.model_validate(
        {"id": uuid.uuid4().hex, "orderId": order_id, "amount": 200, "currency": "USD"}
    )
    try:
        async with sessions.begin() as session:
            await orders.apply_payment(UnitOfWork(session, TENANT), payment)
    except DomainError as error:
        return error.status
    return 200


async def act(tenant: Tenant, path: str, action: str) -> int:
    reason = {"reason": "r"} if action in {"close", "cancel"} else None
    if action == "pay":
        return await pay(path.rpartition("/")[2])
    if action == "update":
        return (await tenant.call("PATCH", path, {"title": uuid.uuid4().hex})).status_code
    if action == "dispute":
        status = (await tenant.call("POST", f"{path}/disputes", {"reason": "r"})).status_code
        return 200 if status == 201 else status
    if action in DECISIONS:
        return await resolve(tenant, path.rpartition("/")[2], DECISIONS[action])
    return (await tenant.call("POST", f"{path}/{action}", reason)).status_code


async def resolve(tenant: Tenant, order_id: str, outcome: str) -> int:
    """Decide the order's open dispute, or one that is decided already."""
    found = [dispute for dispute in await tenant.get("/disputes") if dispute["orderId"] == order_id]
    for dispute in sorted(found, key=lambda dispute: str(dispute["state"]))[:1]:  # opened comes before resolved
        return (await tenant.call("POST", f"/disputes/{dispute['id']}/resolve", {"outcome": outcome})).status_code
    return 409


async def walk(tenant: Tenant, path: str, machine: dict[str, Any], state: str, actions: list[str]) -> None:
    for action in actions:
        after = machine[state].get(action)

        assert await act(tenant, path, action) == (409 if after is None else 200), (state, action)
        state = after or state
        assert (await tenant.get(path))["state"] == state.split()[0]


WALKS = st.tuples(
    st.lists(st.sampled_from(["publish", "update", "close"]), max_size=6),
    st.lists(st.sampled_from(["pay", "deliver", "complete", "cancel", "dispute", *DECISIONS]), max_size=8),
)


def test_any_walk_answers_as_the_model(database_url: str) -> None:
    @settings(max_examples=15)
    @given(WALKS)
    def one(walks: tuple[list[str], list[str]]) -> None:
        asyncio.run(both(database_url, *walks))

    one()


async def both(url: str, listing_actions: list[str], order_actions: list[str]) -> None:
    async with service(Settings(database_url=url), KafkaSettings(enabled=False)) as client:
        tenant = Tenant(client, TENANT)
        listing = await tenant.listing(seller=uuid.uuid4().hex, publish=False)
        await walk(tenant, f"/listings/{listing['id']}", LISTING, "draft", listing_actions)
        order = await tenant.order(listing=await tenant.listing(seller=uuid.uuid4().hex))
        await walk(tenant, f"/orders/{order['id']}", ORDER, "created", order_actions)
