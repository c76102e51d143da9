"""Declaring, building, reading and writing events."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar, assert_type

from eventzr_kafka import CloudEvent, EventData, Limits, OutgoingRecord, Record, Written, WrittenOrNone, decode, encode
from eventzr_marketplace_events import ListingCreated, ListingUpdated, example

T = TypeVar("T")


class Address(EventData):
    street_name: str


class ThingMoved(
    EventData,
    topic="acme.thing.moved.v1",
    source="thing-svc",
    subject="thing:{id}",
    dataschema="https://acme.example/thing.json",
):
    id: str
    to: Address
    weight: Decimal | None = None


class ThingChanged(EventData, topic="acme.thing.changed.v1", partial=True):
    id: str


class ThingSold(EventData, topic="acme.thing.sold.v1"):
    id: str
    buyer_name: Written[str]
    price: WrittenOrNone[Decimal]


class ThingSoldAgain(ThingSold, topic="acme.thing.sold.again.v1"):
    times: Written[int]


class Box(EventData, Generic[T]):
    content: Written[T]


# What is written has a value; who reads must think of None.
sold = ThingSoldAgain(id="1", buyer_name="Ann", price=None, times=2)
assert_type(sold.buyer_name, str | None)
assert_type(sold.price, Decimal | None)
assert_type(Box[int](content=1).content, int | None)

moved = ThingMoved(id="1", to=Address(street_name="Long Lane"))
assert_type(moved.to.street_name, str)
assert_type(moved.weight, Decimal | None)
assert_type(moved.default_subject(), str | None)
assert_type(ThingChanged.__topic__, str | None)

# Only what is required; the rest has defaults.
event = CloudEvent[ThingMoved](id="e1", source="thing-svc", type="acme.thing.moved.v1", tenantid="t1", data=moved)
assert_type(event.data, ThingMoved)
assert_type(event.time, datetime | None)
assert_type(event.has_data, bool)
assert_type(event.with_extensions(traceparent="00-1-2-03"), CloudEvent[ThingMoved])
assert_type(event.replace(subject="thing:1"), CloudEvent[ThingMoved])
assert_type(CloudEvent.of(ThingMoved).validate_json(event.to_json()), CloudEvent[ThingMoved])
assert_type(event.to_dict(), dict[str, Any])
assert_type(event.correlationid, str | None)
assert_type(event.expirytime, datetime | None)


class Moved(CloudEvent[ThingMoved]):
    def street(self) -> str:
        return self.data.to.street_name


own = Moved(id="e1", source="s", type="t", tenantid="t1", data=moved, correlationid="c1")
assert_type(own.with_extensions(region="eu").street(), str)
inferred = CloudEvent(id="e1", source="s", type="t", tenantid="t1", time=datetime.now(UTC), data=moved)
assert_type(inferred.data.to, Address)
without_data = CloudEvent[Any](id="e2", source="s", type="t", tenantid="t1")
any_data: CloudEvent = without_data

# CloudEvent is covariant: whoever takes any event takes this one.
broader: CloudEvent[EventData] = event
broadest: CloudEvent[object] = broader

outgoing = encode(event, "binary")
assert_type(outgoing, OutgoingRecord)
record = Record(outgoing.topic, 0, 0, outgoing.key, outgoing.value, outgoing.headers)
assert_type(decode(record, ThingMoved), CloudEvent[ThingMoved])
assert_type(decode(record, ThingMoved).data.to.street_name, str)
assert_type(decode(record, limits=Limits(max_headers=8)).data, Any)
assert_type(decode(record, dict[str, Any]), CloudEvent[dict[str, Any]])

listing = example(ListingCreated)
assert_type(listing, ListingCreated)
assert_type(ListingUpdated(id="l1").model_fields_set, set[str])
