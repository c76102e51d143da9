"""Handlers for the six events of other services.

1. An effect, its mark in the inbox, the events that it publishes and its line in the feed are one transaction.
2. An event that comes before what it waits for is kept in the tables, and what comes later finishes it. Examples: an
   escrow that is released before its order is delivered; a subscription that changes next month. A retry would be of no
   use: people take hours, and the tenant's other events would wait meanwhile.
3. An event that can never be right is a `Reject`: it becomes a dead letter at once. Examples: a wrong amount; an order
   that does not exist. Ids of orders and listings are made here, and announced when they are committed, so an event
   cannot name one that will exist later.
4. Events count in the order of their own times, whenever they are handled.
5. A topic carries what concerns other services too, such as the payment of a ticket, which names no order: skipped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from pydantic.alias_generators import to_camel
from sqlalchemy import update

from eventzr_kafka import CloudEvent, MessageContext, Reject, RetryPolicy, kafka_consumer, on_message
from eventzr_kafka.inbox import SqlInbox
from eventzr_marketplace_events import (
    EscrowReleased,
    EventCreated,
    PaymentCompleted,
    ReviewCreated,
    SubscriptionChanged,
    UserProfileUpdated,
)
from examples.marketplace_service.activity import DeadLetter
from examples.marketplace_service.database import now, sessions
from examples.marketplace_service.domain import event_contexts, orders, payouts, sellers
from examples.marketplace_service.domain.errors import DomainError
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["GROUP", "PATIENT", "NeighbourEvents"]

GROUP = "marketplace-svc"
PATIENT = RetryPolicy(attempts=5, wait_initial=4.0, jitter=False)
"""58 seconds in all: a shorter outage of the database does not cause dead letters."""


def _names(*fields: str) -> Callable[[CloudEvent[Any]], bool]:
    """Make a condition: the payload has one of these fields, neither null nor empty.

    It is also true for what should become a dead letter: a payload that is not an object, and ``order_id`` in place of
    ``orderId``, which the class does not read.
    """
    spellings = {*fields, *map(to_camel, fields)}

    def is_wanted(event: CloudEvent[Any]) -> bool:
        data: object = event.data
        if not isinstance(data, dict):
            return True
        payload = cast("dict[str, Any]", data)
        return any(payload.get(name) not in (None, "") for name in spellings)

    return is_wanted


@kafka_consumer(
    group_id=GROUP,
    inbox=SqlInbox(sessions),
    retry=PATIENT,
    max_concurrency=8,
)
class NeighbourEvents:
    """One method for each event; the rules are in ``domain``."""

    @on_message(EventCreated, when=_names("exhibitor_slots", "sponsorship_opportunities"))
    async def on_event_created(self, event: CloudEvent[EventCreated], context: MessageContext) -> None:
        async with _effect_of(event, context) as unit:
            await event_contexts.apply_event(unit, event.data)

    @on_message(ReviewCreated, when=_names("seller_id", "listing_id"))
    async def on_review_created(self, event: CloudEvent[ReviewCreated], context: MessageContext) -> None:
        async with _effect_of(event, context) as unit:
            await sellers.apply_review(unit, event.data)

    @on_message(PaymentCompleted, when=_names("order_id"))
    async def on_payment_completed(self, event: CloudEvent[PaymentCompleted], context: MessageContext) -> None:
        async with _effect_of(event, context) as unit:
            await orders.apply_payment(unit, event.data)

    @on_message(EscrowReleased, when=_names("order_id"))
    async def on_escrow_released(self, event: CloudEvent[EscrowReleased], context: MessageContext) -> None:
        async with _effect_of(event, context) as unit:
            await payouts.apply_escrow_release(unit, event.data)

    @on_message(SubscriptionChanged, when=_names("seller_id"))
    async def on_subscription_changed(self, event: CloudEvent[SubscriptionChanged], context: MessageContext) -> None:
        async with _effect_of(event, context) as unit:
            announced_at = event.data.changed_at or _time_of(event, context)
            await sellers.apply_subscription(unit, event.data, change_id=event.id, announced_at=announced_at)

    @on_message(UserProfileUpdated)
    async def on_profile_updated(self, event: CloudEvent[UserProfileUpdated], context: MessageContext) -> None:
        async with _effect_of(event, context) as unit:
            await sellers.apply_profile(unit, event.data, event.data.updated_at or _time_of(event, context))


def _time_of(event: CloudEvent[Any], context: MessageContext) -> datetime:
    """Return the event's own time, or that of its record."""
    return event.time or datetime.fromtimestamp(max(context.record.timestamp, 0) / 1_000, UTC)


@asynccontextmanager
async def _effect_of(event: CloudEvent[Any], context: MessageContext) -> AsyncGenerator[UnitOfWork]:
    """Open the tenant's unit of work in the inbox's transaction, and turn broken rules into rejections."""
    unit = UnitOfWork(context.session, event.tenantid)
    try:
        yield unit
    except DomainError as error:
        raise Reject(str(error)) from error
    unit.note("in", event.type, event.id, event.subject)
    await _close_dead_letter(unit, event)


async def _close_dead_letter(unit: UnitOfWork, event: CloudEvent[Any]) -> None:
    """Close the dead letter of an event that was replayed; tenant, source and id identify it."""
    letters = update(DeadLetter).where(
        DeadLetter.tenant_id == unit.tenant_id,
        DeadLetter.source.in_([event.source, ""]),  # empty in rows of an earlier release
        DeadLetter.event_id == event.id,
    )
    await unit.session.execute(letters.values(replayed_at=now()))
