"""The event of the platform's guide, letter for letter."""

from typing import Final

GUIDE_EVENT: Final = """\
{
"specversion": "1.0",
"id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
"type": "eventzr.marketplace.listing.created.v1",
"source": "marketplace-svc",
"time": "2026-03-02T12:00:00.000Z",
"datacontenttype": "application/json",
"subject": "listing:uuid",
"tenantid": "00000000-0000-0000-0000-000000000001",
"data": {
"id": "listing-uuid",
"title": "Premium Catering Service",
"lane": "vendora",
"sellerId": "seller-uuid",
"price": 5000,
"currency": "USD"
}
}"""
