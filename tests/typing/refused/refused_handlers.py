"""Handlers that type checkers refuse; the line is that of the decorator."""
# ruff: noqa: B018 -- an attribute is read only to be refused

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from eventzr_kafka import CloudEvent, EventData, MessageContext, kafka_consumer, on_batch, on_message
from eventzr_marketplace_events import ListingCreated, ListingUpdated, OrderCompleted


class Narrower(ListingCreated): ...


class OwnEvent(CloudEvent[ListingCreated]): ...


class Handler:
    @on_message(ListingCreated)  # refused
    async def wrong_class(self, event: CloudEvent[OrderCompleted]) -> None: ...

    @on_message(ListingCreated)  # refused
    def wrong_class_sync(self, event: CloudEvent[OrderCompleted]) -> None: ...

    @on_message(ListingCreated)  # refused
    async def wrong_class_with_context(self, event: CloudEvent[OrderCompleted], context: MessageContext) -> None: ...

    @on_message(ListingCreated)  # refused
    async def narrower_class(self, event: CloudEvent[Narrower]) -> None: ...

    @on_message(ListingCreated)  # refused
    async def another_union(self, event: CloudEvent[OrderCompleted | ListingUpdated]) -> None: ...

    @on_message(ListingCreated)  # refused
    async def plain_dict(self, event: CloudEvent[dict[str, Any]]) -> None: ...

    @on_message(ListingCreated)  # refused
    async def payload_in_place_of_the_event(self, event: ListingCreated) -> None: ...

    @on_message("eventzr.marketplace.listing.created.v1")  # refused
    async def payload_for_a_topic(self, event: ListingCreated) -> None: ...

    @on_message("eventzr.marketplace.listing.created.v1")  # refused
    async def own_event_class(self, event: OwnEvent) -> None: ...

    @on_message(ListingCreated)  # refused
    async def no_event(self) -> None: ...

    @on_message(ListingCreated)  # refused
    async def event_by_keyword_only(self, *, event: CloudEvent[ListingCreated]) -> None: ...

    @on_message(ListingCreated)  # refused
    async def wrong_context(self, event: CloudEvent[ListingCreated], context: int) -> None: ...

    @on_message("acme.thing.happened.v1")  # refused
    async def wrong_context_for_a_topic(self, event: CloudEvent, context: str) -> None: ...

    @on_message(ListingCreated)  # refused
    async def context_first(self, context: MessageContext, event: CloudEvent[ListingCreated]) -> None: ...

    @on_message(ListingCreated)  # refused
    async def one_more(self, event: CloudEvent[ListingCreated], context: MessageContext, session: int) -> None: ...

    @on_message(ListingCreated)  # refused
    async def async_value(self, event: CloudEvent[ListingCreated]) -> int:
        raise NotImplementedError

    @on_message(ListingCreated)  # refused
    def value(self, event: CloudEvent[ListingCreated]) -> str:
        return event.data.id

    @on_message("acme.thing.happened.v1")  # refused
    async def value_for_a_topic(self, event: CloudEvent, context: MessageContext) -> bool:
        raise NotImplementedError

    @on_message(ListingCreated)  # refused
    async def async_generator(self, event: CloudEvent[ListingCreated]) -> AsyncIterator[int]:
        yield len(event.data.id)

    @on_message(ListingCreated)  # refused
    def generator(self, event: CloudEvent[ListingCreated]) -> Iterator[int]:
        yield len(event.data.id)

    @on_message(ListingCreated)  # refused
    @staticmethod
    async def static(event: CloudEvent[ListingCreated]) -> None: ...

    @on_message(int)  # refused
    async def no_payload_class(self, event: CloudEvent[int]) -> None: ...

    @on_message(CloudEvent[ListingCreated])  # refused
    async def event_class(self, event: CloudEvent[ListingCreated]) -> None: ...

    @on_message()  # refused
    async def nothing(self, event: CloudEvent[ListingCreated]) -> None: ...

    @on_message  # refused
    async def no_parentheses(self, event: CloudEvent[ListingCreated]) -> None: ...


@on_message(ListingCreated)  # refused
async def function(event: CloudEvent[ListingCreated]) -> None: ...


@kafka_consumer(group_id="refused")
class Right:
    def __init__(self, name: str) -> None: ...

    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None:
        event.data.unknown  # refused
        event.data.price.unknown  # refused
        event.data.sellerId  # refused
        event.tenant_id  # refused
        event.data.title.append("")  # refused

    @on_message(ListingUpdated)
    async def session(self, _event: CloudEvent[ListingUpdated], context: MessageContext[Right]) -> None:
        context.session.unknown  # refused
        context.session = Right("two")  # refused

    @on_message("acme.thing.happened.v1")
    async def base(self, event: CloudEvent[EventData]) -> None:
        event.data.title  # refused


Right()  # refused
Right(1)  # refused
Right("one").unknown  # refused
Right("one").handle()  # refused
Right("one").handle(event=CloudEvent.of(ListingCreated).validate_json(""))  # refused


async def call_directly(updated: CloudEvent[ListingUpdated]) -> None:
    await Right("one").handle(updated)  # refused


class RefusedBatches:
    @on_batch(ListingCreated)  # refused
    async def no_list(self, event: CloudEvent[ListingCreated]) -> None: ...

    @on_batch(ListingCreated)  # refused
    async def another(self, events: list[CloudEvent[ListingUpdated]]) -> None: ...

    @on_batch(ListingCreated)  # refused
    async def one_context(self, events: list[CloudEvent[ListingCreated]], context: MessageContext) -> None: ...

    @on_batch(ListingCreated)  # refused
    async def returns(self, _events: list[CloudEvent[ListingCreated]]) -> int:
        return 1

    @on_batch(ListingCreated, max_size="1")  # refused
    async def wrong_size(self, events: list[CloudEvent[ListingCreated]]) -> None: ...


async def later(event: CloudEvent[Any]) -> bool:
    return bool(event.data)


on_message(ListingCreated, when=later)  # refused
on_message(ListingCreated, when=lambda event: event.id)  # refused
on_batch(ListingCreated, when="orderId")  # refused
on_message(ListingCreated, sources="marketplace-svc")  # refused
kafka_consumer()  # refused
kafka_consumer("group")  # refused
kafka_consumer(group_id=1)  # refused
kafka_consumer(group_id="group", ordering="topic")  # refused
kafka_consumer(group_id="group", max_concurrency="8")  # refused
kafka_consumer(group_id="group", max_concurrency=None)  # refused
kafka_consumer(group_id="group", limits=1)  # refused
kafka_consumer(group_id="group", sources="marketplace-svc")  # refused
kafka_consumer(group_id="group", unknown=1)  # refused
kafka_consumer(group_id="group")(call_directly)  # refused
