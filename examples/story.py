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

    async def order_is_paid(self, order: Any) -> None:
        await self.shop.neighbour("wallet.payment.completed", **price_of(order))
        await self.shop.until(f"/orders/{order['id']}", lambda found: found["state"] == "paid")

    async def escrow_is_released(self, order: Any, **changes: Any) -> None:
        await self.shop.neighbour(
            "wallet.escrow.released", sellerId=order["sellerId"], **{**price_of(order), **changes}
        )

    async def order_is_fulfilled(self, order: Any) -> None:
        await self.order_is_paid(order)
        await self.shop.post(f"/orders/{order['id']}/deliver")
        await self.escrow_is_released(order)
        payout = await self.shop.until(f"/payouts/{order['id']}", lambda found: found["state"] == "complete")
        await self.shop.post(f"/orders/{order['id']}/complete")
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
        await self.order_is_paid(order)
        dispute = await self.shop.post(f"/orders/{order['id']}/disputes", reason="not_as_described")
        dispute = await self.shop.post(
            f"/disputes/{dispute['id']}/resolve", outcome="split", refund=650.75, notes="photos were clear"
        )
        self.narrate(f"the buyer disputes the next order, and an admin refunds {dispute['refund']} of it")
        await self.shop.post(f"/orders/{order['id']}/cancel", reason="seller_unavailable")
        order = await self.shop.get(f"/orders/{order['id']}")
        self.narrate(f"then it is cancelled: {order['refunded']} of {order['paid']} are refunded")

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

    async def money_comes_early_or_wrong(self) -> None:
        """Play an event that waits for what comes before it, and one that can never be right."""
        order = await self.order_is_made(await self.listing_opens())
        await self.escrow_is_released(order)
        path = f"/payouts/{order['id']}"
        await self.shop.until(path, lambda found: found["state"] == "pending")
        self.narrate("escrow is released before the payment and the delivery: the payout waits for both")
        await self.order_is_paid(order)
        await self.shop.post(f"/orders/{order['id']}/deliver")
        payout = await self.shop.get(path)
        self.narrate(f"after the delivery the payout is {payout['state']}: {payout['amount']} {payout['currency']}")
        await self.shop.neighbour("wallet.payment.completed", orderId="nope", amount=1, currency="USD")
        (letter,) = await self.shop.until("/dead-letters", lambda found: len(found) == 1)
        self.narrate(f"a payment of an unknown order becomes a dead letter at once: {letter['reason']}")


def price_of(order: Any) -> dict[str, Any]:
    """Name the order and its whole amount, as the wallet's events do."""
    return {"orderId": order["id"], "amount": order["amount"], "currency": order["currency"]}
