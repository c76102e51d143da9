"""Every row of the table of neighbours' events, through the service's own consumer on a broker in memory."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from examples.marketplace_service.database import now, open_engine, sessions
from examples.marketplace_service.domain.models import (
    EventContext,
    ExhibitorSlot,
    Listing,
    Member,
    Order,
    Payout,
    Quote,
    Sponsorship,
    SubscriptionChange,
)
from examples.marketplace_service.domain.unit_of_work import UnitOfWork
from examples.marketplace_service.events.consumer import NeighbourEvents
from tests.example.neighbours import PAGE, ROWS, Row, render

from eventzr_kafka.kafka.record import Record
from eventzr_kafka.testing import EventOutcome, Events

SELLER_OF = {"listing-1": "seller-1", "12": "7"}
ORDERS = {  # listing, amount, currency, state
    "order-1": ("listing-1", "200", "USD", "created"),
    "order-2": ("listing-1", "200", "USD", "delivered"),
    "order-js": ("listing-1", "3.30", "USD", "created"),
    "order-yen": ("listing-1", "1500", "JPY", "created"),
    "4711": ("12", "200", "USD", "created"),
    "4712": ("12", "200", "USD", "delivered"),
}


class Result(NamedTuple):
    outcome: EventOutcome
    effect: str
    reason: str = ""


async def prepare(unit: UnitOfWork) -> None:
    """Give the tenant two listings and six orders."""
    for listing, seller in SELLER_OF.items():
        unit.add(Member, id=seller, sells=True)
        unit.add(
            Listing,
            id=listing,
            seller_id=seller,
            title="Hall",
            lane="vendora",
            price=Decimal(250),
            currency="USD",
            state="published",
            views=0,
            created_at=now(),
        )
    await unit.session.flush()
    for key, (listing, amount, currency, _) in ORDERS.items():
        unit.add(
            Quote,
            id=f"quote-{key}",
            listing_id=listing,
            buyer_id="buyer",
            amount=Decimal(amount),
            currency=currency,
            message="",
            state="accepted",
            created_at=now(),
        )
    await unit.session.flush()
    for key, (listing, amount, currency, state) in ORDERS.items():
        paid = Decimal(amount) if state == "delivered" else Decimal(0)
        unit.add(
            Order,
            id=key,
            quote_id=f"quote-{key}",
            listing_id=listing,
            buyer_id="buyer",
            seller_id=SELLER_OF[listing],
            amount=Decimal(amount),
            currency=currency,
            state=state,
            paid=paid,
            refunded=Decimal(0),
            payment_id="earlier" if paid else None,
            created_at=now(),
        )
    await unit.session.flush()
    for key in ("order-2", "4712"):
        unit.add(
            Payout, id=key, seller_id=SELLER_OF[ORDERS[key][0]], amount=Decimal(200), currency="USD", state="pending"
        )


async def effects(unit: UnitOfWork) -> str:
    """What is not as `prepare` has left it, in words."""
    kinds = (money, sellers, fairs)
    return "; ".join([words for kind in kinds async for words in kind(unit)])


async def money(unit: UnitOfWork) -> AsyncGenerator[str]:
    for order in await unit.all(unit.select(Order)):
        if order.state != ORDERS[order.id][3]:
            yield f"{order.id} is {order.state}"
    for payout in await unit.all(unit.select(Payout)):
        if payout.state != "pending":
            yield f"the payout of {payout.id} is {payout.state}"
        elif payout.escrow_id is not None:
            yield f"the escrow of {payout.id} is kept"


async def sellers(unit: UnitOfWork) -> AsyncGenerator[str]:
    for member in await unit.all(unit.select(Member)):
        if member.rating is not None:
            yield f"{member.id} has {member.rating:f} stars"
        if member.display_name is not None:
            yield f"{member.id} is shown as {member.display_name}, {member.avatar_url or '-'}"
        if member.subscribed_at is not None:
            limit = "any" if member.listing_limit is None else member.listing_limit
            yield f"{member.id}: {member.tier}, {' '.join(member.entitlements or []) or '-'}, {limit} listings"
    for listing in await unit.all(unit.select(Listing)):
        if listing.quality_score is not None:
            yield f"{listing.id} has quality {listing.quality_score:f}"
    for change in await unit.all(unit.select(SubscriptionChange)):
        if not change.applied:
            yield f"{change.seller_id}: a change for later"


async def fairs(unit: UnitOfWork) -> AsyncGenerator[str]:
    for context in await unit.all(unit.select(EventContext)):
        yield f"{context.id}: {await unit.count(unit.select(ExhibitorSlot))} slots"
    for offer in await unit.all(unit.select(Sponsorship)):
        yield f"{offer.title} {'on request' if offer.price is None else f'{offer.price:f} {offer.currency}'}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def results(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[str, Result]]:
    """Outcome and result of every row, each sent for a tenant of its own."""
    path = shutil.copy(migrated, tmp_path_factory.mktemp("neighbours"))
    engine = open_engine(f"sqlite+aiosqlite:///{path}")
    found: dict[str, Result] = {}
    with Events() as events:
        events.subscribe(NeighbourEvents())
        async with events.running():
            for number, row in enumerate(ROWS):
                tenant = f"tenant-{number}"
                async with sessions.begin() as session:
                    await prepare(UnitOfWork(session, tenant))
                key, value, headers = row.wire(tenant, f"event-{number}")
                record = await events.emit(Record(row.topic, 0, 0, key, value, headers), expect=None)
                async with sessions() as session:
                    effect = await effects(UnitOfWork(session, tenant))
                reasons = [letter.facts.reason for letter in events.dead_letters() if letter.origin == record[:3]]
                found[row.title] = Result(events.outcome(record), effect, *reasons)
    yield found
    await engine.dispose()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
async def test_event_of_a_neighbour(row: Row, results: dict[str, Result]) -> None:
    result = results[row.title]

    assert result.outcome == row.outcome, result.reason
    assert result.effect == (row.result if row.outcome == "done" else "")
    assert row.result in result.reason if row.outcome == "dead-lettered" else result.reason == ""


def test_the_page_is_what_the_table_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == render()
    assert len({row.title for row in ROWS}) == len(ROWS) >= 60
