"""A day in a marketplace, played through the service's HTTP API; all 18 events flow on the way."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE = 20.0  # seconds that the effect of an event may take


@dataclass(frozen=True)
class Shop:
    """The service as one tenant sees it."""

    http: httpx.AsyncClient
    tenant: str
    published: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Topic and id of each event that a neighbour has published."""

    async def get(self, path: str) -> Any:
        return self._body(await self.http.get(path, headers={"X-Tenant-Id": self.tenant}))

    async def post(self, path: str, **body: Any) -> Any:
        headers = {"X-Tenant-Id": self.tenant, "Idempotency-Key": uuid.uuid4().hex}
        return self._body(await self.http.post(path, json=body, headers=headers))

    async def patch(self, path: str, **body: Any) -> Any:
        return self._body(await self.http.patch(path, json=body, headers={"X-Tenant-Id": self.tenant}))

    async def neighbour(self, topic: str, **payload: Any) -> None:
        """Publish an event as another service would."""
        event = {"id": uuid.uuid4().hex, **payload}
        result = await self.post(f"/playground/eventzr.{topic}.v1", **event)
        self.published.append((result["topic"], result["eventId"]))

    async def until(self, path: str, seen: Callable[[Any], bool]) -> Any:
        """Poll a path until an event has had its effect."""
        async with asyncio.timeout(PATIENCE):
            while True:
                response = await self.http.get(path, headers={"X-Tenant-Id": self.tenant})
                if response.is_success and seen(response.json()):
                    return response.json()
                await asyncio.sleep(0.05)

    @staticmethod
    def _body(response: httpx.Response) -> Any:
        if not response.is_success:
            raise RuntimeError(f"{response.request.method} {response.request.url.path}: {response.text}")
        return response.json()


class Story:
    """One tenant's day."""

    def __init__(self, shop: Shop, narrate: Callable[[str], None]) -> None:
        self.shop = shop
        self.narrate = narrate
        self.seller = f"seller-of-{shop.tenant}"

    async def play(self) -> None:
        await self.seller_joins()
        listing = await self.listing_opens()
        order = await self.order_is_made(listing)
        await self.order_is_fulfilled(order)
        await self.order_is_reviewed(order)
        await self.second_order_goes_wrong(listing)
        await self.listing_closes(listing)
        await self.buyer_requests_proposals()
        await self.fair_is_announced()

    async def seller_joins(self) -> None:
        await self.shop.neighbour(
            "subscriptions.subscription.changed",
            sellerId=self.seller,
            tier="pro",
            entitlements=["featured_listings"],
            listingLimit=20,
        )
        await self.shop.neighbour("user.profile.updated", id=self.seller, displayName="Sara's Kitchen")
        path = f"/sellers/{self.seller}"
        seller = await self.shop.until(path, lambda found: found["tier"] == "pro" and found["displayName"] is not None)
        self.narrate(
            f"{seller['displayName']} subscribes: tier {seller['tier']}, {seller['listingLimit']} open listings"
        )

    async def listing_opens(self) -> Any:
        listing = await self.shop.post(
            "/listings",
            sellerId=self.seller,
            title="Premium Catering Service",
            lane="vendora",
            price=5000,
            currency="USD",
        )
        await self.shop.post(f"/listings/{listing['id']}/publish")
        listing = await self.shop.patch(f"/listings/{listing['id']}", price=4800.5)
        self.narrate(f"{listing['title']} by {listing['sellerName']} is published; its price is now {listing['price']}")
        return listing

    async def order_is_made(self, listing: Any) -> Any:
        path = f"/listings/{listing['id']}/quotes"
        quote = await self.shop.post(path, buyerId="buyer-bo", amount=4650.75, message="120 guests")
        order = await self.shop.post(f"/quotes/{quote['id']}/accept")
        self.narrate(f"a quote of {order['amount']} is accepted, and an order created")
        return order

    async def order_is_fulfilled(self, order: Any) -> None:
        money = {"orderId": order["id"], "amount": order["amount"], "currency": order["currency"]}
        path = f"/orders/{order['id']}"
        await self.shop.neighbour("wallet.payment.completed", **money)
        await self.shop.until(path, lambda found: found["state"] == "paid")
        await self.shop.post(f"{path}/deliver")
        await self.shop.neighbour("wallet.escrow.released", sellerId=order["sellerId"], **money)
        payout = await self.shop.until(f"/payouts/{order['id']}", lambda found: found["state"] == "complete")
        await self.shop.post(f"{path}/complete")
        self.narrate(
            f"the order is paid, delivered and completed; the seller gets {payout['amount']} {payout['currency']}"
        )

    async def order_is_reviewed(self, order: Any) -> None:
        await self.shop.neighbour(
            "reviews.review.created", sellerId=order["sellerId"], listingId=order["listingId"], rating=4.5
        )
        seller = await self.shop.until(f"/sellers/{self.seller}", lambda found: found["ratingCount"] == 1)
        listing = await self.shop.get(f"/listings/{order['listingId']}")
        stars, quality = seller["rating"], listing["qualityScore"]
        self.narrate(f"after a review the seller has {stars} stars, and the listing a quality of {quality}")

    async def second_order_goes_wrong(self, listing: Any) -> None:
        order = await self.order_is_made(listing)
        dispute = await self.shop.post(f"/orders/{order['id']}/disputes", reason="not_as_described")
        await self.shop.post(f"/disputes/{dispute['id']}/resolve", outcome="buyer_refunded", notes="photos were clear")
        await self.shop.post(f"/orders/{order['id']}/cancel", reason="buyer_request")
        self.narrate("the buyer disputes the order, an admin decides, the order is cancelled")

    async def listing_closes(self, listing: Any) -> None:
        await self.listing_opens()
        await self.shop.post(f"/listings/{listing['id']}/close", reason="sold_out")
        self.narrate("the listing is sold out; a second one replaces it")

    async def buyer_requests_proposals(self) -> None:
        rfp = await self.shop.post(
            "/rfps",
            buyerId="buyer-bo",
            title="Breakfast for 80",
            requirements=["vegetarian", "on site by 7"],
            targetLanes=["vendora"],
            deadline="2030-03-01T12:00:00Z",
        )
        self.narrate(f"a request for proposals goes to {len(rfp['sellers'])} matching seller")

    async def fair_is_announced(self) -> None:
        event = f"fair-of-{self.shop.tenant}"
        gold = {"title": "Gold", "price": 2500, "currency": "USD"}
        await self.shop.neighbour(
            "event.created",
            id=event,
            title="Spring Fair",
            exhibitorSlots=12,
            sponsorshipOpportunities=[gold],
        )
        made = await self.shop.until(f"/event-contexts/{event}", lambda found: found["exhibitorSlots"] == 12)
        self.narrate(f"{made['title']} is announced: {made['exhibitorSlots']} exhibitor slots, 1 sponsorship")

    async def money_comes_too_early(self) -> None:
        """Play retries, a dead letter, and its replay."""
        order = await self.order_is_made(await self.listing_opens())
        money = {"orderId": order["id"], "amount": order["amount"], "currency": order["currency"]}
        await self.shop.neighbour("wallet.payment.completed", **money)
        await self.shop.neighbour("wallet.escrow.released", sellerId=self.seller, **money)
        letters = await self.shop.until("/dead-letters", lambda found: len(found) == 1)
        self.narrate(f"escrow is released before the delivery: a dead letter after {letters[0]['attempts']} attempts")
        await self.shop.post(f"/orders/{order['id']}/deliver")
        await self.shop.post(f"/dead-letters/{letters[0]['position']}/replay")
        payout = await self.shop.until(f"/payouts/{order['id']}", lambda found: found["state"] == "complete")
        self.narrate(
            f"after the delivery the dead letter is replayed: the seller gets {payout['amount']} {payout['currency']}"
        )
