"""Where the money of an order goes: refunds and payouts add up to what was paid, and disputes hold it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from examples.marketplace_service.database import sessions
from examples.marketplace_service.domain import payouts
from examples.marketplace_service.domain.amounts import require_digits
from examples.marketplace_service.domain.errors import AmountDigitsError
from examples.marketplace_service.domain.models import Dispute
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from tests.example.conftest import Tenant
from tests.example.histories import play_histories

from eventzr_marketplace_events import EscrowReleased

HISTORIES = 100  # 2,000 in tests/torture/test_money_histories.py


async def test_money_adds_up_in_random_histories(tenant: Tenant) -> None:
    del tenant  # opens the database
    steps = await play_histories(HISTORIES)

    happened = {"pay", "release", "deliver", "complete", "cancel", "dispute", "buyer_refunded", "seller_paid", "split"}
    assert happened | {f"({step})" for step in happened} == steps.keys()


async def release(tenant: Tenant, order: Any, amount: float = 200) -> None:
    """Apply the effect of `EscrowReleased`, as its handler does."""
    body = {"id": uuid.uuid4().hex, "orderId": order["id"], "sellerId": "seller-1", "amount": amount, "currency": "USD"}
    async with sessions.begin() as session:
        unit = UnitOfWork(session, tenant.tenant_id)
        await payouts.apply_escrow_release(unit, EscrowReleased.model_validate(body))


async def in_dispute(tenant: Tenant, order: Any) -> str:
    dispute = await tenant.post(f"/orders/{order['id']}/disputes", {"reason": "late"})
    return f"/disputes/{dispute['id']}/resolve"


async def refusal(tenant: Tenant, path: str, body: Any = None) -> tuple[int, str, str]:
    """Status, kind and reason of a refused request."""
    response = await tenant.call("POST", path, body)
    return response.status_code, response.json()["type"].rpartition("/")[2], response.json()["detail"]


async def test_open_dispute_holds_the_payout(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    await tenant.post(f"/orders/{order['id']}/deliver")
    decision = await in_dispute(tenant, order)
    await release(tenant, order)

    held = await tenant.get(f"/payouts/{order['id']}")
    await tenant.post(decision, {"outcome": "seller_paid"})

    assert held["state"] == "pending"
    assert (await tenant.get(f"/payouts/{order['id']}"))["state"] == "complete"


@pytest.mark.parametrize(("step", "body"), [("complete", None), ("cancel", {"reason": "r"})])
async def test_open_dispute_holds_the_order(tenant: Tenant, step: str, body: Any) -> None:
    order = await tenant.order(paid=True)
    if step == "complete":
        await tenant.post(f"/orders/{order['id']}/deliver")
    decision = await in_dispute(tenant, order)

    refused = await refusal(tenant, f"/orders/{order['id']}/{step}", body)
    await tenant.post(decision, {"outcome": "seller_paid"})

    assert refused[:2] == (409, "dispute-open")
    assert refused[2].startswith(f"order {order['id']!r} is in dispute: resolve dispute ")
    assert (await tenant.call("POST", f"/orders/{order['id']}/{step}", body)).status_code == 200


async def test_order_has_one_open_dispute(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    decision = await in_dispute(tenant, order)

    again = await refusal(tenant, f"/orders/{order['id']}/disputes", {"reason": "late"})
    await tenant.post(decision, {"outcome": "seller_paid"})

    assert again[:2] == (409, "dispute-open")
    assert (await tenant.call("POST", f"/orders/{order['id']}/disputes", {"reason": "late"})).status_code == 201


async def test_database_keeps_a_second_open_dispute_out(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    await in_dispute(tenant, order)

    with pytest.raises(IntegrityError):
        async with sessions.begin() as session:
            UnitOfWork(session, tenant.tenant_id).add(Dispute, order_id=order["id"], reason="r", state="opened")


async def test_refund_ends_the_order(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    await tenant.post(f"/orders/{order['id']}/deliver")

    resolved = await tenant.post(await in_dispute(tenant, order), {"outcome": "buyer_refunded"})

    order = await tenant.get(f"/orders/{order['id']}")
    payout = await tenant.get(f"/payouts/{order['id']}")
    assert (resolved["refund"], order["paid"], order["refunded"], order["state"]) == (200, 200, 200, "refunded")
    assert (payout["amount"], payout["state"]) == (0, "void")


async def test_split_pays_both_sides(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    await tenant.post(await in_dispute(tenant, order), {"outcome": "split", "refund": 49.99})
    await tenant.post(f"/orders/{order['id']}/deliver")
    await release(tenant, order, 150.01)

    order = await tenant.post(f"/orders/{order['id']}/complete")

    payout = await tenant.get(f"/payouts/{order['id']}")
    assert (order["refunded"], payout["amount"], payout["state"]) == (49.99, 150.01, "complete")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"outcome": "split"}, "refund-mismatch"),
        ({"outcome": "split", "refund": 0}, "refund-mismatch"),
        ({"outcome": "split", "refund": 200}, "refund-mismatch"),
        ({"outcome": "split", "refund": 0.001}, "amount-digits"),
        ({"outcome": "seller_paid", "refund": 1}, "refund-mismatch"),
        ({"outcome": "buyer_refunded", "refund": 199}, "refund-mismatch"),
        ({"outcome": "whatever"}, "invalid-request"),
    ],
)
async def test_refund_must_fit_its_outcome(tenant: Tenant, body: Any, kind: str) -> None:
    order = await tenant.order(paid=True)

    refused = await refusal(tenant, await in_dispute(tenant, order), body)

    assert refused[:2] == (422, kind)
    assert (await tenant.get(f"/orders/{order['id']}"))["refunded"] == 0


async def test_dispute_comes_before_the_payout(tenant: Tenant) -> None:
    order = await tenant.order(paid=True)
    await tenant.post(f"/orders/{order['id']}/deliver")
    await release(tenant, order)

    refused = await refusal(tenant, f"/orders/{order['id']}/disputes", {"reason": "late"})

    assert refused == (409, "paid-out", f"the seller of order {order['id']!r} has been paid")


async def test_payment_of_a_cancelled_order_is_refunded(tenant: Tenant) -> None:
    order = await tenant.order()
    await tenant.post(f"/orders/{order['id']}/cancel", {"reason": "buyer_request"})

    await tenant.pay(order)

    order = await tenant.get(f"/orders/{order['id']}")
    assert (order["state"], order["paid"], order["refunded"]) == ("cancelled", 200, 200)


@given(st.decimals(0, 10**6, places=3), st.sampled_from([("JPY", 0), ("USD", 2), ("KWD", 3), ("XYZ", 2)]))
def test_amount_has_its_currencys_digits(amount: Any, currency: tuple[str, int]) -> None:
    code, digits = currency
    if amount == round(amount, digits):
        require_digits(amount, code)
    else:
        with pytest.raises(AmountDigitsError, match=f"in {code} has at most {digits} digits"):
            require_digits(amount, code)


async def test_half_a_yen_is_refused_everywhere(tenant: Tenant) -> None:
    listing = await tenant.listing(price=250, currency="JPY")
    new = {"sellerId": "s", "title": "Hall", "lane": "vendora", "price": 0.5, "currency": "JPY"}
    refusals = [await refusal(tenant, "/listings", new)]
    refusals.append(await refusal(tenant, f"/listings/{listing['id']}/quotes", {"buyerId": "b", "amount": 0.5}))
    changed = await tenant.call("PATCH", f"/listings/{listing['id']}", {"price": 0.5})

    reason = "an amount in JPY has at most 0 digits after the point"
    assert refusals == [(422, "amount-digits", reason)] * 2
    assert (changed.status_code, changed.json()["detail"]) == (422, reason)
