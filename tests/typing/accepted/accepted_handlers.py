"""Handlers that type checkers and the decorators accept."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar, assert_type

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from eventzr_kafka import (
    BatchItemError,
    CloudEvent,
    EventData,
    MessageContext,
    Record,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.inbox import SqlInbox
from eventzr_marketplace_events import (
    DisputeOpened,
    ListingClosed,
    ListingCreated,
    ListingPublished,
    ListingUpdated,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    QuoteAccepted,
    QuoteSubmitted,
)


@kafka_consumer(
    group_id="accepted",
    ordering="subject",
    max_concurrency=8,
    tenant_concurrency=None,
    drain_timeout=5,
    sources={"marketplace-svc"},
)
class Handler:
    def __init__(self, name: str, *, retries: int = 0) -> None:
        self.name = name
        self.retries = retries

    @on_message(ListingCreated)
    async def class_form(self, event: CloudEvent[ListingCreated]) -> None:
        assert_type(event.data, ListingCreated)
        assert_type(event.data.price, Decimal | None)
        assert_type(event.data.seller_name, str | None)
        assert_type(event.tenantid, str)
        assert_type(event.subject, str | None)
        assert_type(event.traceparent, str | None)

    @on_message("eventzr.wallet.payment.completed.v1", when=lambda event: "orderId" in event.data, sources="any")
    async def chosen(self, event: CloudEvent[Any]) -> None:
        assert_type(event.data, Any)

    @on_message("eventzr.marketplace.order.completed.v1")
    async def topic_form(self, event: CloudEvent[OrderCompleted]) -> None:
        assert_type(event.data.final_amount, Decimal | None)

    @on_message(ListingUpdated)
    async def bare(self, event: CloudEvent) -> None:
        assert_type(event.data, Any)

    @on_message("eventzr.marketplace.listing.published.v1")
    async def bare_topic(self, event: CloudEvent) -> None:
        assert_type(event, CloudEvent[Any])

    @on_message(ListingClosed)
    async def plain_json(self, event: CloudEvent[Any]) -> None:
        event.data["whatever"]

    @on_message(OrderCreated)
    async def base_class(self, event: CloudEvent[EventData]) -> None:
        assert_type(event.data.default_subject(), str | None)

    @on_message(OrderCancelled)
    async def broader_base_class(self, event: CloudEvent[BaseModel]) -> None:
        event.data.model_dump()

    @on_message(QuoteSubmitted)
    async def union(self, event: CloudEvent[QuoteSubmitted | QuoteAccepted]) -> None:
        assert_type(event.data, QuoteSubmitted | QuoteAccepted)

    @on_message(QuoteAccepted)
    async def with_context(self, event: CloudEvent[QuoteAccepted], context: MessageContext) -> None:
        assert_type(event.data, QuoteAccepted)
        assert_type(context.record, Record)
        assert_type(context.group_id, str)
        assert_type(context.session, Any)

    @on_message("eventzr.marketplace.dispute.resolved.v1")
    def sync_with_context(self, event: CloudEvent[dict[str, Any]], context: MessageContext) -> None:
        assert_type(event.data[context.record.topic], Any)

    @on_message(DisputeOpened)
    def sync(self, event: CloudEvent[DisputeOpened]) -> None: ...


@kafka_consumer(group_id="batches")
class Batches:
    @on_batch(ListingCreated, max_size=100, max_wait=0.5)
    async def created(self, events: list[CloudEvent[ListingCreated]]) -> None:
        assert_type(events[0].data.price, Decimal | None)
        raise BatchItemError(events[0])

    @on_batch(ListingPublished)
    def published(self, events: list[CloudEvent[ListingPublished]], contexts: list[MessageContext]) -> None: ...

    @on_batch("eventzr.marketplace.quote.accepted.v1")
    async def accepted(self, events: list[CloudEvent[QuoteAccepted]]) -> None: ...

    @on_batch(DisputeOpened)
    async def any_sequence(self, events: Sequence[CloudEvent[DisputeOpened]]) -> None: ...


@kafka_consumer(group_id="sessions", inbox=SqlInbox(async_sessionmaker()))
class Sessions:
    @on_message(ListingCreated)
    async def one(self, _event: CloudEvent[ListingCreated], context: MessageContext[AsyncSession]) -> None:
        assert_type(context.session, AsyncSession)
        await context.session.flush()

    @on_batch(ListingPublished)
    async def many(
        self, _events: list[CloudEvent[ListingPublished]], contexts: list[MessageContext[AsyncSession]]
    ) -> None:
        assert_type(contexts[0].session, AsyncSession)


PayloadT = TypeVar("PayloadT", bound=EventData)


class Audit(Generic[PayloadT]):
    @on_message("eventzr.marketplace.listing.published.v1")
    async def audit(self, event: CloudEvent[PayloadT]) -> None:
        assert_type(event.data, PayloadT)


@kafka_consumer(group_id="audit")
class PublishedAudit(Audit[ListingPublished]):
    """A generic handler gets its class from the subclass."""


# The decorated class keeps its type and its constructor, the decorated method its type.
handler = Handler("one", retries=3)
assert_type(handler, Handler)
assert_type(handler.name, str)
created: Callable[[CloudEvent[ListingCreated]], Coroutine[Any, Any, None]] = handler.class_form
accepted: Callable[[CloudEvent[QuoteAccepted], MessageContext], Coroutine[Any, Any, None]] = handler.with_context
opened: Callable[[CloudEvent[DisputeOpened]], None] = handler.sync
unbound: Callable[[Handler, CloudEvent[ListingCreated]], Coroutine[Any, Any, None]] = Handler.class_form


async def call_directly(event: CloudEvent[ListingCreated]) -> None:
    """As a unit test of a handler does."""
    await handler.class_form(event)
    await PublishedAudit().audit(event)  # a topic string carries any event, as far as types go
