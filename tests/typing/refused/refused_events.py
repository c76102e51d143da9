"""Events that type checkers refuse to declare, build, read or publish."""
# ruff: noqa: B018, F841 -- an attribute is read, a variable assigned, only to be refused

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from eventzr_kafka import CloudEvent, EventData, EventProducer, Record, Written, WrittenOrNone, decode, encode
from eventzr_kafka.outbox import Outbox
from eventzr_kafka.testing import Events
from eventzr_marketplace_events import ListingCreated, OrderCompleted


class Thing(EventData, topic="acme.thing.happened.v1"):
    id: str
    weight_in_kg: int = 0


class Sold(EventData, topic="acme.thing.sold.v1"):
    buyer_name: Written[str]
    price: WrittenOrNone[int]


class SoldAgain(Sold, topic="acme.thing.sold.again.v1"):
    times: Written[int]


Sold(buyer_name="Ann")  # refused
Sold(price=1)  # refused
Sold(buyer_name=1, price=1)  # refused
SoldAgain(buyer_name="Ann", price=1)  # refused
Sold(buyer_name="Ann", price=1).buyer_name.upper()  # refused
Thing()  # refused
Thing(id=1)  # refused
Thing("1")  # refused
Thing(id="1", unknown=1)  # refused
Thing(id="1", weightInKg=2)  # refused
thing = Thing(id="1")

CloudEvent[Thing](id="1", source="s", type="t", data=thing)  # refused
CloudEvent[Thing](id="1", source="s", tenantid="t", data=thing)  # refused
CloudEvent[Thing](id="1", source="s", type="t", tenantid="t", data={})  # refused
CloudEvent[Thing](id="1", source="s", type="t", tenantid="t", data=thing, specversion="0.3")  # refused
CloudEvent[Thing](id="1", source="s", type="t", tenantid="t", data=thing, _rest=None)  # refused
CloudEvent(id="1", source="s", type="t", tenantid="t", data=thing).model_dump()  # refused
CloudEvent[Thing](id=1, source="s", type="t", tenantid="t", data=thing)  # refused
CloudEvent[Thing](id="1", source="s", type="t", tenantid="t", data=thing, time="2026-03-02T12:00:00Z")  # refused


def look(event: CloudEvent[Thing], anything: CloudEvent[EventData]) -> None:
    event.data.unknown  # refused
    event.with_extensions(traceparent=1.5)  # refused
    narrower: CloudEvent[Thing] = anything  # refused
    other: CloudEvent[OrderCompleted] = event  # refused


def read(record: Record, event: CloudEvent[Thing]) -> None:
    decode(record, ListingCreated).data.unknown  # refused
    wrong: CloudEvent[OrderCompleted] = decode(record, ListingCreated)  # refused
    decode(b"")  # refused
    decode(record, "ListingCreated")  # refused
    encode(ListingCreated)  # refused
    encode(thing)  # refused
    encode(event, "avro")  # refused


async def publish(producer: EventProducer, payload: dict[str, Any], event: CloudEvent[Thing]) -> None:
    await producer.publish(thing, "tenant")  # refused
    await producer.publish(thing, tenant_id=None)  # refused
    await producer.publish(thing, tenant_id="t", tenantid="t")  # refused
    await producer.publish(thing, tenant_id="t", key="k")  # refused
    await producer.publish(thing, tenant_id="t", subject=1)  # refused
    await producer.publish(thing, tenant_id="t", extensions={"traceparent": 1.5})  # refused
    await producer.publish(event, tenant_id="t")  # refused
    await producer.publish(payload)  # refused
    await producer.publish(payload, tenant_id="t")  # refused
    await producer.publish(thing, allow_cross_tenant="b")  # refused
    await producer.publish("acme.thing.happened.v1", payload)  # refused
    await producer.publish(Thing, tenant_id="t")  # refused
    await producer.publish(tenant_id="t")  # refused
    producer.enqueue(thing, tenant_id=None)  # refused
    producer.enqueue(thing, tenant_id="t", event_ids="e")  # refused
    producer.enqueue(payload, tenant_id="t")  # refused
    producer.enqueue(event, tenant_id="t")  # refused
    await producer.enqueue(thing, tenant_id="t").result()  # refused


def publish_later(outbox: Outbox, session: Session, connection: Connection) -> None:
    outbox.publish(session, thing, tenant_id=None)  # refused
    outbox.publish(session, thing, tenant_id="t", tenantid="t")  # refused
    outbox.publish(session, thing, tenant_id="t", subject=1)  # refused
    outbox.publish(connection, thing, tenant_id="t")  # refused


async def emit(events: Events) -> None:
    await events.emit(thing, tenant_id=None)  # refused
    await events.emit(thing, tenant_id="t", event_ids="e")  # refused
    await events.emit(thing)  # refused


EventProducer("marketplace-svc")  # refused
EventProducer(mode="avro")  # refused
EventProducer(transport=None, key="k")  # refused
