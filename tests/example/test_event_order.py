"""The six consumed events in any order, repeated and late: what they leave behind is the same."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from examples.marketplace_service.domain import sellers
from examples.marketplace_service.events.consumer import NeighbourEvents
from examples.marketplace_service.schema import migrate
from examples.marketplace_service.settings import Settings
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.example.conftest import Tenant, service
from tests.postgres import Databases

from eventzr_kafka import EventData, KafkaSettings
from eventzr_kafka.testing import Events
from eventzr_marketplace_events import (
    EscrowReleased,
    EventCreated,
    PaymentCompleted,
    ReviewCreated,
    SubscriptionChanged,
    UserProfileUpdated,
)

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
LAST_DAY = 60
EXAMPLES = {"sqlite": 25, "postgresql": 8}
NAMED = ["payment", "release", "review 1", "review 2", "profile 1", "profile 2", "profile 3", "fair"]


def day(number: float) -> datetime:
    return MONDAY + timedelta(days=number)


@dataclass(frozen=True)
class Change:
    """A change of the subscription.

    Attributes:
        announced, effective: Days after Monday; effective is None for a change without a time of its own.
        named: The values that it names, ``tier`` or ``listingLimit`` or both; the others stay as they were.
    """

    announced: int
    effective: int | None
    named: frozenset[str]

    @property
    def order(self) -> tuple[int, int]:
        return self.announced if self.effective is None else self.effective, self.announced

    @property
    def values(self) -> dict[str, str | int]:
        every: dict[str, str | int] = {"tier": f"tier-{self.announced}", "listingLimit": 10 + self.announced}
        return {name: every[name] for name in self.named}


@dataclass(frozen=True)
class Plan:
    """What happens.

    Attributes:
        steps: Names of events, each once or more; numbers are days that pass; ``end`` delivers or cancels the order.
        again: How a repeated event is sent: True for another event of the same fact, False for the same event.
        last: The day on which the result is looked at.
    """

    changes: Sequence[Change]
    steps: Sequence[str | int]
    end: str
    last: int
    again: bool


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    days, moments = st.integers(0, LAST_DAY), st.none() | st.integers(-10, LAST_DAY + 30)
    announced = draw(st.lists(days, min_size=1, max_size=4, unique=True))
    named = st.sets(st.sampled_from(["tier", "listingLimit"]), min_size=1).map(frozenset)
    changes = [Change(each, draw(moments), draw(named)) for each in announced]
    names = [*NAMED, *(f"change {number}" for number in range(len(changes)))]
    repeated = draw(st.lists(st.sampled_from(names), max_size=5))
    waits = draw(st.lists(st.integers(1, LAST_DAY // 4), max_size=4))
    steps: list[str | int] = draw(st.permutations([*names, *repeated, *waits, "end"]))
    return Plan(
        changes, steps, draw(st.sampled_from(["deliver", "cancel"])), sum(waits) + draw(days), draw(st.booleans())
    )


@dataclass
class Day:
    """The service's clock, which stands still between the steps."""

    number: int = 0

    def now(self) -> datetime:
        return day(self.number)


@dataclass
class Play:
    """One plan for a new tenant."""

    plan: Plan
    events: Events
    tenant: Tenant
    today: Day
    order: Any = None
    sent: set[str] = field(default_factory=set[str])

    async def run(self) -> dict[str, Any]:
        self.today.number = 0
        self.order = await self.tenant.order()
        facts = self._facts()
        for step in self.plan.steps:
            if isinstance(step, int):
                self.today.number += step
                await sellers.apply_due_changes()
            elif step == "end":
                await self._end()
            else:
                await self._emit(step, *facts[step])
        self.today.number = self.plan.last
        await sellers.apply_due_changes()
        await self._end()
        return await self._found()

    async def _end(self) -> None:
        await self.tenant.call("POST", f"/orders/{self.order['id']}/{self.plan.end}", {"reason": "r"})

    async def _emit(self, name: str, fact: EventData, time: datetime) -> None:
        number = len(self.sent) if self.plan.again else 0
        self.sent.add(f"{name} {number}")
        cancelled = self.plan.end == "cancel" and name == "release"  # a letter, once the order is cancelled
        await self.events.emit(
            fact,
            tenant_id=self.tenant.tenant_id,
            time=time,
            event_id=f"{name} {number}",
            expect=None if cancelled else "done",
        )

    def _facts(self) -> dict[str, tuple[EventData, datetime]]:
        seller, listing, order = "seller-1", self.order["listingId"], self.order["id"]
        money = {"orderId": order, "amount": 200, "currency": "USD"}
        review = {"sellerId": seller, "listingId": listing}
        bodies: dict[str, tuple[type[EventData], dict[str, Any], float]] = {
            "payment": (PaymentCompleted, {"id": "p", **money}, 0),
            "release": (EscrowReleased, {"id": "e", "sellerId": seller, **money}, 0),
            "review 1": (ReviewCreated, {"id": "r1", "rating": 4, **review}, 0),
            "review 2": (ReviewCreated, {"id": "r2", "rating": 7, "ratingScale": 10, **review}, 0),
            "profile 1": (UserProfileUpdated, {"id": seller, "displayName": "Old", "avatarUrl": "https://a/1"}, 1),
            "profile 2": (UserProfileUpdated, {"id": seller, "displayName": "New"}, 2),
            "profile 3": (UserProfileUpdated, {"id": seller, "avatarUrl": None}, 0.5),
            "fair": (EventCreated, {"id": "f", "exhibitorSlots": 3, "sponsorshipOpportunities": []}, 0),
        }
        for number, change in enumerate(self.plan.changes):
            body: dict[str, Any] = {"id": "s", "sellerId": seller, **change.values}
            if change.effective is not None:
                body["effectiveAt"] = day(change.effective)
            bodies[f"change {number}"] = (SubscriptionChanged, body, change.announced)
        return {name: (kind.model_validate(body), day(at)) for name, (kind, body, at) in bodies.items()}

    async def _found(self) -> dict[str, Any]:
        order = await self.tenant.get(f"/orders/{self.order['id']}")
        payouts = [(found["state"], found["amount"], found["escrowId"]) for found in await self.tenant.get("/payouts")]
        seller = await self.tenant.get("/sellers/seller-1")
        listing = await self.tenant.get(f"/listings/{self.order['listingId']}")
        return {
            "order": (order["state"], order["paid"], order["refunded"], order["paymentId"]),
            "payouts": payouts if self.plan.end == "deliver" else [],
            "subscription": {name: seller[name] for name in ("tier", "listingLimit")},
            "rating": (seller["rating"], seller["ratingCount"], listing["qualityScore"]),
            "profile": (seller["displayName"], seller["avatarUrl"], listing["sellerName"], listing["sellerAvatarUrl"]),
            "slots": (await self.tenant.get("/event-contexts/f"))["exhibitorSlots"],
        }


def expected(plan: Plan) -> dict[str, Any]:
    due = sorted((change for change in plan.changes if change.order[0] <= plan.last), key=lambda change: change.order)
    subscription: dict[str, str | int] = {"tier": "free", "listingLimit": 5}
    for change in due:
        subscription |= change.values
    delivered = plan.end == "deliver"
    return {
        "order": ("delivered", 200, 0, "p") if delivered else ("cancelled", 200, 200, "p"),
        "payouts": [("complete", 200, "e")] if delivered else [],
        "subscription": subscription,
        "rating": (3.75, 2, 75),
        "profile": ("New", "https://a/1", "New", "https://a/1"),
        "slots": 3,
    }


@pytest.fixture(params=EXAMPLES)
def database(request: pytest.FixtureRequest) -> tuple[str, int]:
    """A database and how many plans it sees."""
    if request.param == "sqlite":
        return request.getfixturevalue("database_url"), EXAMPLES["sqlite"]
    server: Databases = request.getfixturevalue("postgres")
    url = server.create_database(uuid.uuid4().hex)
    migrate(url)
    return url, EXAMPLES["postgresql"]


def test_any_order_of_events_ends_the_same(
    database: tuple[str, int], events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, examples = database
    today = Day()
    monkeypatch.setattr(sellers, "now", today.now)
    events.subscribe(NeighbourEvents())

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> httpx.AsyncClient:
            client = await stack.enter_async_context(service(Settings(database_url=url), KafkaSettings(enabled=False)))
            await stack.enter_async_context(events.running())
            return client

        client = runner.run(start())

        @settings(max_examples=examples, phases=set(Phase) - {Phase.shrink})  # which would take minutes
        @given(plans())
        def one(plan: Plan) -> None:
            play = Play(plan, events, Tenant(client, uuid.uuid4().hex), today)
            assert runner.run(play.run()) == expected(plan)

        try:
            one()
        finally:
            runner.run(stack.aclose())
