"""Events that the marketplace's neighbours may plausibly send, and what the example service makes of each.

::

    python -m tests.example.neighbours

writes ``docs/reference/neighbours.md``; `test_neighbours` sends each row to the service's own handlers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

__all__ = ["PAGE", "ROWS", "Row", "render"]

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "neighbours.md"

Outcome: TypeAlias = Literal["done", "skipped", "dead-lettered"]
Headers: TypeAlias = tuple[tuple[str, str], ...]

EVENT: Final = "eventzr.event.created.v1"
REVIEW: Final = "eventzr.reviews.review.created.v1"
PAYMENT: Final = "eventzr.wallet.payment.completed.v1"
ESCROW: Final = "eventzr.wallet.escrow.released.v1"
SUBSCRIPTION: Final = "eventzr.subscriptions.subscription.changed.v1"
PROFILE: Final = "eventzr.user.profile.updated.v1"
_SOURCES: Final = {
    EVENT: "event-svc",
    REVIEW: "reviews-svc",
    PAYMENT: "wallet-svc",
    ESCROW: "wallet-svc",
    SUBSCRIPTION: "subscriptions-svc",
    PROFILE: "user-svc",
}
_WORDS: Final[Mapping[Outcome, str]] = {"done": "handled", "skipped": "skipped", "dead-lettered": "poison"}


@dataclass(frozen=True, slots=True)
class Row:
    """One event.

    Attributes:
        title: What is special about it; unique.
        data: The payload's JSON text as it is on the wire.
        result: What the tenant's rows show afterwards, or why it is a dead letter; empty if it is skipped.
        envelope: Attributes besides the usual ones, or in their place; None leaves one out.
        headers: Headers of the record.
        binary: True sends the attributes as ``ce_`` headers.
        key: Key of the record; empty for the tenant.
    """

    title: str
    topic: str
    data: str
    outcome: Outcome
    result: str = ""
    envelope: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Headers = ()
    binary: bool = False
    key: str | None = ""

    def wire(self, tenant_id: str, event_id: str) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
        """Return key, value and headers of the record."""
        usual = {
            "specversion": "1.0",
            "id": event_id,
            "type": self.topic,
            "source": _SOURCES[self.topic],
            "time": "2026-03-02T12:00:00.000Z",
            "tenantid": tenant_id,
        }
        attributes = {name: value for name, value in {**usual, **self.envelope}.items() if value is not None}
        headers = [(name, value.encode()) for name, value in self.headers]
        if self.binary:
            headers += [(f"ce_{name}", str(value).encode()) for name, value in attributes.items()]
            value = self.data
        else:
            value = json.dumps(attributes)[:-1] + f', "data": {self.data}}}'
        key = tenant_id if self.key == "" else self.key
        return None if key is None else key.encode(), value.encode(), headers


_ORDER: Final = '"orderId": "order-1", "amount": 200, "currency": "USD"'
_PAY: Final = f'{{"id": "p", {_ORDER}}}'
_PAID: Final = "order-1 is paid"
_RELEASE: Final = '{"id": "e", "orderId": "order-2", "sellerId": "seller-1", "amount": 200, "currency": "USD"}'
_RELEASED: Final = "the payout of order-2 is complete"
_STARS: Final = '{"id": "r", "sellerId": "seller-1", "listingId": "listing-1", "rating": 4.5}'
_RATED: Final = "seller-1 has 4.5 stars; listing-1 has quality 90"
_PRO: Final = '"id": "s", "sellerId": "seller-1", "tier": "pro"'
_CE: Final = "content-type"

_PAYMENTS: Final = (
    Row("payment of an order", PAYMENT, _PAY, "done", _PAID),
    Row(
        "payment in another order of fields",
        PAYMENT,
        '{"currency": "USD", "amount": 200, "orderId": "order-1", "id": "p"}',
        "done",
        _PAID,
    ),
    Row(
        "payment with unknown fields",
        PAYMENT,
        f'{{"id": "p", {_ORDER}, "method": "card", "fees": [{{"kind": "vat", "amount": 1}}]}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with ids as integers",
        PAYMENT,
        '{"id": 981, "orderId": 4711, "amount": 200, "currency": "USD"}',
        "done",
        "4711 is paid",
    ),
    Row(
        "payment of an amount with two digits after the point",
        PAYMENT,
        f'{{"id": "p", {_ORDER.replace("200", "200.00")}}}',
        "done",
        _PAID,
    ),
    Row(
        "payment of an amount with an exponent",
        PAYMENT,
        f'{{"id": "p", {_ORDER.replace("200", "2e2")}}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with an amount as a string",
        PAYMENT,
        f'{{"id": "p", {_ORDER.replace("200", chr(34) + "200.00" + chr(34))}}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with 1.1 * 3 of JavaScript",
        PAYMENT,
        '{"id": "p", "orderId": "order-js", "amount": 3.3000000000000003, "currency": "USD"}',
        "done",
        "order-js is paid",
    ),
    Row(
        "payment with 0.1 + 3.2 of JavaScript",
        PAYMENT,
        '{"id": "p", "orderId": "order-js", "amount": 3.3000000000000007, "currency": "USD"}',
        "done",
        "order-js is paid",
    ),
    Row(
        "payment in yen, with a fraction of zeros",
        PAYMENT,
        '{"id": "p", "orderId": "order-yen", "amount": 1500.0, "currency": "JPY"}',
        "done",
        "order-yen is paid",
    ),
    Row(
        "payment with a currency in small letters",
        PAYMENT,
        f'{{"id": "p", {_ORDER.replace("USD", "usd")}}}',
        "done",
        _PAID,
    ),
    Row("payment without an amount and a currency", PAYMENT, '{"id": "p", "orderId": "order-1"}', "done", _PAID),
    Row(
        "payment with null in optional fields",
        PAYMENT,
        '{"id": "p", "orderId": "order-1", "amount": null, "currency": null, "completedAt": null}',
        "done",
        _PAID,
    ),
    Row(
        "payment with its time without a fraction",
        PAYMENT,
        f'{{"id": "p", {_ORDER}, "completedAt": "2026-03-02T12:00:00Z"}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with its time in nanoseconds",
        PAYMENT,
        f'{{"id": "p", {_ORDER}, "completedAt": "2026-03-02T12:00:00.123456789Z"}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with its time in another zone",
        PAYMENT,
        f'{{"id": "p", {_ORDER}, "completedAt": "2026-03-02T13:00:00+01:00"}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with its time as Date.now()",
        PAYMENT,
        f'{{"id": "p", {_ORDER}, "completedAt": 1772452800000}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with its time as seconds since 1970",
        PAYMENT,
        f'{{"id": "p", {_ORDER}, "completedAt": 1772452800}}',
        "done",
        _PAID,
    ),
    Row(
        "payment with its time without a zone",
        PAYMENT,
        f'{{"id": "p", {_ORDER}, "completedAt": "2026-03-02T12:00:00"}}',
        "dead-lettered",
        "a date-time with a zone",
    ),
    Row(
        "payment of a ticket: no order",
        PAYMENT,
        '{"id": "p", "ticketId": "t-9", "amount": 25, "currency": "EUR"}',
        "skipped",
    ),
    Row(
        "payment of a ticket: the order is null",
        PAYMENT,
        '{"id": "p", "orderId": null, "ticketId": "t-9", "amount": 25, "currency": "EUR"}',
        "skipped",
    ),
    Row(
        "payment of a ticket: an object as the amount",
        PAYMENT,
        '{"id": "p", "ticketId": "t-9", "amount": {"value": 25, "currency": "EUR"}}',
        "skipped",
    ),
    Row(
        "payment of a ticket: the order is empty",
        PAYMENT,
        '{"id": "p", "orderId": "", "ticketId": "t-9", "amount": 25, "currency": "EUR"}',
        "skipped",
    ),
    Row(
        "payment with the order's name misspelled",
        PAYMENT,
        '{"id": "p", "order_id": "order-1", "amount": 200, "currency": "USD"}',
        "dead-lettered",
        "payment 'p' has no order",
    ),
    Row("payment without its own id", PAYMENT, f"{{{_ORDER}}}", "dead-lettered", "id: Field required"),
    Row(
        "payment of an order that does not exist",
        PAYMENT,
        '{"id": "p", "orderId": "nope"}',
        "dead-lettered",
        "there is no order 'nope'",
    ),
    Row(
        "payment of another amount",
        PAYMENT,
        f'{{"id": "p", {_ORDER.replace("200", "199.99")}}}',
        "dead-lettered",
        "differs",
    ),
    Row(
        "payment of a negative amount",
        PAYMENT,
        f'{{"id": "p", {_ORDER.replace("200", "-200")}}}',
        "dead-lettered",
        "amount",
    ),
    Row(
        "payment of 10^15 as a number",
        PAYMENT,
        f'{{"id": "p", {_ORDER.replace("200", "1e15")}}}',
        "dead-lettered",
        "amount",
    ),
    Row(
        "payment with an object as the amount",
        PAYMENT,
        '{"id": "p", "orderId": "order-1", "amount": {"value": 200, "currency": "USD"}}',
        "dead-lettered",
        "amount",
    ),
)
_ENVELOPES: Final = (
    *(
        Row(f"source `{name}`", PAYMENT, _PAY, "done", _PAID, {"source": name})
        for name in (
            "/wallet-svc",
            "//wallet-svc",
            "eventzr/wallet-svc",
            "/eventzr/wallet-svc",
            "urn:eventzr:wallet-svc",
        )
    ),
    Row("source `reviews-svc`", PAYMENT, _PAY, "dead-lettered", "source 'reviews-svc'", {"source": "reviews-svc"}),
    Row(
        "a ticket's payment of source `box-office`",
        PAYMENT,
        '{"id": "p", "ticketId": "t"}',
        "skipped",
        "",
        {"source": "box-office"},
    ),
    Row("no time", PAYMENT, _PAY, "done", _PAID, {"time": None}),
    Row("time without a fraction", PAYMENT, _PAY, "done", _PAID, {"time": "2026-03-02T12:00:00Z"}),
    Row("time in nanoseconds", PAYMENT, _PAY, "done", _PAID, {"time": "2026-03-02T12:00:00.123456789Z"}),
    Row("time with an offset", PAYMENT, _PAY, "done", _PAID, {"time": "2026-03-02T13:00:00+01:00"}),
    Row(
        "a subject, a schema and foreign extensions",
        PAYMENT,
        _PAY,
        "done",
        _PAID,
        {
            "subject": "payment:p",
            "dataschema": "https://wallet/schemas/1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "sequence": 7,
            "replayed": False,
        },
    ),
    Row(
        "datacontenttype with a charset",
        PAYMENT,
        _PAY,
        "done",
        _PAID,
        {"datacontenttype": "application/json; charset=utf-8"},
    ),
    Row(
        "datacontenttype `application/vnd.wallet+json`",
        PAYMENT,
        _PAY,
        "done",
        _PAID,
        {"datacontenttype": "application/vnd.wallet+json"},
    ),
    Row(
        "header `application/cloudevents+json`",
        PAYMENT,
        _PAY,
        "done",
        _PAID,
        headers=((_CE, "application/cloudevents+json; charset=UTF-8"),),
    ),
    Row(
        "foreign headers only",
        PAYMENT,
        _PAY,
        "done",
        _PAID,
        headers=(("traceparent", "00-0af7"), ("retries", "0"), ("__TypeId__", "com.wallet.Paid")),
    ),
    Row("binary mode", PAYMENT, _PAY, "done", _PAID, headers=((_CE, "application/json"),), binary=True),
    Row("binary mode without a content type", PAYMENT, _PAY, "done", _PAID, binary=True),
    Row(
        "binary mode, a ticket's payment",
        PAYMENT,
        '{"id": "p", "ticketId": "t"}',
        "skipped",
        binary=True,
        headers=((_CE, "application/json"),),
    ),
    Row(
        "a whole event beside the header `application/json`",
        PAYMENT,
        _PAY,
        "done",
        _PAID,
        headers=((_CE, "application/json"),),
    ),
    Row(
        "batch of events",
        PAYMENT,
        _PAY,
        "dead-lettered",
        "application/cloudevents+json",
        headers=((_CE, "application/cloudevents-batch+json"),),
    ),
    Row("no key", PAYMENT, _PAY, "dead-lettered", "key", key=None),
    Row("another tenant's key", PAYMENT, _PAY, "dead-lettered", "key", key="tenant-z"),
    Row("no tenant", PAYMENT, _PAY, "dead-lettered", "tenantid", {"tenantid": None}),
    Row("another topic's type", PAYMENT, _PAY, "dead-lettered", "type", {"type": ESCROW}),
    Row("data as a JSON string", PAYMENT, json.dumps(_PAY), "dead-lettered", "data"),
    Row("data is a list", PAYMENT, f"[{_PAY}]", "dead-lettered", "data"),
)
_ESCROWS: Final = (
    Row("escrow of a delivered order", ESCROW, _RELEASE, "done", _RELEASED),
    Row(
        "escrow with ids as integers",
        ESCROW,
        '{"id": 55, "orderId": 4712, "sellerId": 7, "amount": 200, "currency": "USD"}',
        "done",
        "the payout of 4712 is complete",
    ),
    Row("escrow with its order alone", ESCROW, '{"id": "e", "orderId": "order-2"}', "done", _RELEASED),
    Row(
        "escrow with null in optional fields",
        ESCROW,
        '{"id": "e", "orderId": "order-2", "sellerId": null, "amount": null, "currency": null, "releasedAt": null}',
        "done",
        _RELEASED,
    ),
    Row(
        "escrow with an amount of JavaScript", ESCROW, _RELEASE.replace("200", "200.00000000000003"), "done", _RELEASED
    ),
    Row(
        "escrow before payment and delivery",
        ESCROW,
        _RELEASE.replace("order-2", "order-1"),
        "done",
        "the escrow of order-1 is kept",
    ),
    Row(
        "escrow of a booking: no order",
        ESCROW,
        '{"id": "e", "bookingId": "b-3", "payeeId": "x", "amount": 80, "currency": "EUR"}',
        "skipped",
    ),
    Row(
        "escrow to another seller",
        ESCROW,
        _RELEASE.replace("seller-1", "thief"),
        "dead-lettered",
        "names another seller than its order",
    ),
)
_REVIEWS: Final = (
    Row("review of a listing", REVIEW, _STARS, "done", _RATED),
    Row(
        "review with ids as integers",
        REVIEW,
        '{"id": 3, "sellerId": 7, "listingId": 12, "rating": 5}',
        "done",
        "7 has 5 stars; 12 has quality 100",
    ),
    Row(
        "review with the listing alone", REVIEW, '{"id": "r", "listingId": "listing-1", "rating": 4.5}', "done", _RATED
    ),
    Row(
        "review of the seller alone",
        REVIEW,
        '{"id": "r", "sellerId": "seller-1", "rating": 4.5, "listingId": null}',
        "done",
        "seller-1 has 4.5 stars",
    ),
    Row(
        "review of a buyer's order", REVIEW, _STARS[:-1] + ', "orderId": "order-2", "createdAt": null}', "done", _RATED
    ),
    Row("review with nine of ten points", REVIEW, _STARS.replace("4.5", '9, "ratingScale": 10'), "done", _RATED),
    Row("review with its rating as a string", REVIEW, _STARS.replace("4.5", '"4.5"'), "done", _RATED),
    Row(
        "review with 4.499999999999999 of JavaScript",
        REVIEW,
        _STARS.replace("4.5", "4.499999999999999"),
        "done",
        _RATED,
    ),
    Row(
        "review with no star",
        REVIEW,
        _STARS.replace("4.5", "0"),
        "done",
        "seller-1 has 0 stars; listing-1 has quality 0",
    ),
    Row(
        "review with text, author and pictures",
        REVIEW,
        _STARS[:-1] + ', "text": "Lovely", "author": {"id": 1}, "pictures": []}',
        "done",
        _RATED,
    ),
    Row("review with the scale null", REVIEW, _STARS[:-1] + ', "ratingScale": null}', "done", _RATED),
    Row("review with the scale as a float", REVIEW, _STARS[:-1] + ', "ratingScale": 5.0}', "done", _RATED),
    Row("review of a venue", REVIEW, '{"id": "r", "venueId": "v", "rating": 5}', "skipped"),
    Row("review of a venue, without a rating", REVIEW, '{"id": "r", "venueId": "v", "text": "Cold"}', "skipped"),
    Row(
        "review without a rating",
        REVIEW,
        '{"id": "r", "sellerId": "seller-1", "listingId": "listing-1"}',
        "dead-lettered",
        "rating: Field required",
    ),
    Row(
        "review with six of five stars",
        REVIEW,
        _STARS.replace("4.5", "6"),
        "dead-lettered",
        "refused by a validator of the payload class",
    ),
    Row(
        "review of another seller's listing",
        REVIEW,
        _STARS.replace("seller-1", "rival"),
        "dead-lettered",
        "names another seller than its listing",
    ),
)
_SUBSCRIPTIONS: Final = (
    Row(
        "subscription, whole",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": ["featured"], "listingLimit": 50}}',
        "done",
        "seller-1: pro, featured, 50 listings",
    ),
    Row(
        "subscription without a limit",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": ["featured"], "listingLimit": null}}',
        "done",
        "seller-1: pro, featured, any listings",
    ),
    Row("subscription with its tier alone", SUBSCRIPTION, f"{{{_PRO}}}", "done", "seller-1: pro, -, 5 listings"),
    Row(
        "subscription with one entitlement as a text",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": "featured", "listingLimit": 50}}',
        "done",
        "seller-1: pro, featured, 50 listings",
    ),
    Row(
        "subscription with no entitlements",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": [], "listingLimit": 50}}',
        "done",
        "seller-1: pro, -, 50 listings",
    ),
    Row(
        "subscription with null entitlements",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": null, "listingLimit": 50}}',
        "done",
        "seller-1: pro, -, 50 listings",
    ),
    Row(
        "subscription with a null tier",
        SUBSCRIPTION,
        '{"id": "s", "sellerId": "seller-1", "tier": null, "listingLimit": 50}',
        "done",
        "seller-1: free, -, 50 listings",
    ),
    Row(
        "subscription with ids as integers, limit as a float",
        SUBSCRIPTION,
        '{"id": 8, "sellerId": 7, "tier": "pro", "entitlements": [], "listingLimit": 50.0}',
        "done",
        "7: pro, -, 50 listings",
    ),
    Row(
        "subscription with its limit as a string",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": [], "listingLimit": "50"}}',
        "done",
        "seller-1: pro, -, 50 listings",
    ),
    Row(
        "subscription with its start in a year",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": [], "listingLimit": 50, "effectiveAt": "2099-01-01T00:00:00Z"}}',
        "done",
        "seller-1: a change for later",
    ),
    Row(
        "subscription of an organizer",
        SUBSCRIPTION,
        '{"id": "s", "organizerId": "o", "tier": "pro", "entitlements": {"events": 3}}',
        "skipped",
    ),
    Row(
        "subscription of an organizer, seller null",
        SUBSCRIPTION,
        '{"id": "s", "sellerId": null, "organizerId": "o", "tier": 3}',
        "skipped",
    ),
    Row(
        "subscription with a negative limit",
        SUBSCRIPTION,
        f'{{{_PRO}, "entitlements": [], "listingLimit": -1}}',
        "dead-lettered",
        "listingLimit",
    ),
)
_PROFILES: Final = (
    Row(
        "profile, whole",
        PROFILE,
        '{"id": "seller-1", "displayName": "Ann", "avatarUrl": "https://a/1", "bio": "Cooks"}',
        "done",
        "seller-1 is shown as Ann, https://a/1",
    ),
    Row(
        "profile with the name alone",
        PROFILE,
        '{"id": "seller-1", "displayName": "Ann"}',
        "done",
        "seller-1 is shown as Ann, -",
    ),
    Row(
        "profile with a picture that was removed",
        PROFILE,
        '{"id": "seller-1", "displayName": "Ann", "avatarUrl": null}',
        "done",
        "seller-1 is shown as Ann, -",
    ),
    Row("profile with an integer id", PROFILE, '{"id": 7, "displayName": "Bo"}', "done", "7 is shown as Bo, -"),
    Row(
        "profile of a member who sells nothing",
        PROFILE,
        '{"id": "buyer", "displayName": "Cy", "roles": ["buyer"]}',
        "done",
        "buyer is shown as Cy, -",
    ),
    Row(
        "profile with nothing that listings show",
        PROFILE,
        '{"id": "seller-1", "email": "a@b.c", "phone": 49}',
        "done",
        "",
    ),
    Row(
        "profile with a name in another script",
        PROFILE,
        '{"id": "seller-1", "displayName": "\\u5c71\\u7530"}',
        "done",
        "seller-1 is shown as 山田, -",
    ),
    Row(
        "profile without an id",
        PROFILE,
        '{"userId": "seller-1", "displayName": "Ann"}',
        "dead-lettered",
        "id: Field required",
    ),
)
_EVENTS: Final = (
    Row(
        "fair with a number of slots",
        EVENT,
        '{"id": "fair", "exhibitorSlots": 2, "sponsorshipOpportunities": []}',
        "done",
        "fair: 2 slots",
    ),
    Row("fair as a float", EVENT, '{"id": "fair", "exhibitorSlots": 2.0}', "done", "fair: 2 slots"),
    Row("fair as a string", EVENT, '{"id": "fair", "exhibitorSlots": "2"}', "done", "fair: 2 slots"),
    Row(
        "fair as a list of slots",
        EVENT,
        '{"id": "fair", "exhibitorSlots": [{"id": 1, "size": 9, "price": null}, {"id": "A2", "price": 10.5}]}',
        "done",
        "fair: 2 slots",
    ),
    Row(
        "fair as an object",
        EVENT,
        '{"id": "fair", "exhibitorSlots": {"count": 3, "slots": [{"id": 1}]}}',
        "done",
        "fair: 3 slots",
    ),
    Row("fair as a list of names", EVENT, '{"id": "fair", "exhibitorSlots": ["A1", "A2"]}', "done", "fair: 2 slots"),
    Row(
        "fair with an integer id",
        EVENT,
        '{"id": 31, "exhibitorSlots": 1, "startsAt": null, "title": null}',
        "done",
        "31: 1 slots",
    ),
    Row(
        "fair with sponsorships",
        EVENT,
        '{"id": "fair", "sponsorshipOpportunities": [{"title": "Gold", "price": 10, "currency": "USD", "perks": []}]}',
        "done",
        "fair: 0 slots; Gold 10 USD",
    ),
    Row(
        "fair with a price on request",
        EVENT,
        '{"id": "fair", "exhibitorSlots": 1, "sponsorshipOpportunities": [{"id": 4, "title": "Gold", "price": null}]}',
        "done",
        "fair: 1 slots; Gold on request",
    ),
    Row(
        "fair with titles of sponsorships",
        EVENT,
        '{"id": "fair", "exhibitorSlots": 0, "sponsorshipOpportunities": ["Gold"]}',
        "done",
        "fair: 0 slots; Gold on request",
    ),
    Row(
        "fair with one sponsorship, not in a list",
        EVENT,
        '{"id": "fair", "exhibitorSlots": 0, "sponsorshipOpportunities": {"title": "Gold"}}',
        "done",
        "fair: 0 slots; Gold on request",
    ),
    Row(
        "fair with a sponsorship without a title",
        EVENT,
        '{"id": "fair", "exhibitorSlots": 0, "sponsorshipOpportunities": [{"price": 5, "currency": "EUR"}]}',
        "done",
        "fair: 0 slots; None 5 EUR",
    ),
    Row(
        "fair with a date and no time",
        EVENT,
        '{"id": "fair", "exhibitorSlots": 1, "startsAt": "2026-05-01"}',
        "done",
        "fair: 1 slots",
    ),
    Row(
        "wedding: neither slots nor sponsorships",
        EVENT,
        '{"id": "w", "title": "Wedding", "startsAt": "2026-05-01", "guests": 80}',
        "skipped",
    ),
    Row(
        "wedding: both null", EVENT, '{"id": "w", "exhibitorSlots": null, "sponsorshipOpportunities": null}', "skipped"
    ),
    Row(
        "fair with negative slots",
        EVENT,
        '{"id": "fair", "exhibitorSlots": -1}',
        "dead-lettered",
        "a number of slots, or a list of slots",
    ),
    Row(
        "fair with a million slots",
        EVENT,
        '{"id": "fair", "exhibitorSlots": 1000000}',
        "dead-lettered",
        "at most 10000 are allowed",
    ),
)
_SECTIONS: Final = {
    "Payments": _PAYMENTS,
    "Envelopes, headers and keys": _ENVELOPES,
    "Escrows": _ESCROWS,
    "Reviews": _REVIEWS,
    "Subscriptions": _SUBSCRIPTIONS,
    "Profiles": _PROFILES,
    "Events of the calendar": _EVENTS,
}
ROWS: Final = tuple(row for rows in _SECTIONS.values() for row in rows)

_HEAD: Final = """# What neighbours may send

Written by `python -m tests.example.neighbours`; a test sends each row to the handlers of the
[example service](../../examples/marketplace_service), and compares what they do with this page.

- *handled*: the event has its effect.
- *skipped*: the event is for others ([`when`](../how-to/trust.md#skipping)). It is counted; no error is logged.
- *poison*: the event can never be right. It becomes a dead letter with the reason given.

Every tenant has the listings `listing-1` of `seller-1` and `12` of `7`, with orders that are created or delivered.
"""
_POISON: Final = """
## What is poison

Everything in the tables that is poison is one of these:

- *Its meaning is open*: no tenant, a time without a zone, a number from 10^15 on, a review without a rating.
- *It contradicts what is known*: another amount, another seller, an order that does not exist, more stars than the
  scale has.
- *It breaks the platform's rules*: another source, a key that is not the tenant, another topic's type.
- *It is in a form that CloudEvents does not have on Kafka*: a batch; data as a string.
"""


def render() -> str:
    """Return the page."""
    count = Counter(row.outcome for row in ROWS)
    sums = f"{len(ROWS)} events: {', '.join(f'{count[outcome]} {_WORDS[outcome]}' for outcome in _WORDS)}.\n"
    return f"{_HEAD}\n{sums}{''.join(_section(*part) for part in _SECTIONS.items())}{_POISON}"


def _section(title: str, rows: Iterable[Row]) -> str:
    head = [f"\n## {title}\n", "| Event | Sent | Outcome | Effect or reason |", "|---|---|---|---|"]
    cells = [(_cell(row.title), _sent(row), _WORDS[row.outcome], _cell(row.result) or "-") for row in rows]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in cells), ""])


def _sent(row: Row) -> str:
    """What is special about a record: its attributes, headers and key, else its data."""
    parts = [f"{name}: {'absent' if value is None else json.dumps(value)}" for name, value in row.envelope.items()]
    parts += [f"{name}: {value}" for name, value in row.headers]
    parts += [f"key: {row.key or 'absent'}"] if row.key != "" else []
    return "<br>".join(f"`{_cell(part)}`" for part in [*parts, row.data])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
